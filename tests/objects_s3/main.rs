//! Objects in S3: against a server that follows a script, and against a real one where there is one.
#![cfg(feature = "s3")]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

mod faults;
mod moto;
mod pictures;
mod real;
mod scripted;

use std::time::Duration;

use postroom::adapters::objects::{S3, S3Settings};
use postroom::config::{S3Section, Secret};

/// Settings for a server on this machine; the key is one that nobody knows.
fn section(port: u16) -> S3Section {
    S3Section {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        region: Some("eu-north-1".to_owned()),
        access_key_id: Some(Secret::new("AKIDEXAMPLE")),
        secret_access_key: Some(Secret::new("a/key+that=is-none")),
        timeout: Duration::from_secs(30),
        ..S3Section::default()
    }
}

fn bucket(bucket: &str, prefix: &str, settings: S3Section) -> S3 {
    let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
    S3::new(S3Settings { bucket, prefix, settings, environment: Vec::new() }).unwrap()
}
