//! The schema registry: one that fails in every way, and the commands that ask it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it is wrong, and its servers have threads"
)]

#[path = "../certificates/mod.rs"]
mod certificates;
mod commands;
mod failing;
mod folders;
mod tls;
#[path = "../web_host/mod.rs"]
mod web_host;

use std::time::Duration;

use postroom::adapters::registry::{Credentials, RegistryServer, RegistrySettings};

use web_host::{Host, Script, Seen, status};

/// A client of this address, which waits as long as it takes.
fn client(url: &str) -> RegistryServer {
    RegistryServer::new(settings(url)).unwrap()
}

fn settings(url: &str) -> RegistrySettings {
    RegistrySettings {
        url: url.parse().unwrap(),
        credentials: None,
        authorities: Vec::new(),
        timeout: Duration::from_secs(60),
    }
}

fn with(credentials: Credentials, url: &str) -> RegistryServer {
    RegistryServer::new(RegistrySettings { credentials: Some(credentials), ..settings(url) }).unwrap()
}

/// What a registry says of a thing that it does not have.
fn not_found() -> Script {
    status(
        404,
        &[("content-type", "application/json")],
        r#"{"error_code": 40403, "message": "Schema not found"}"#,
    )
}

/// A registry that gives this body for every schema.
async fn always(code: u16, body: &'static str) -> Host {
    Host::start(move |_: &Seen| status(code, &[], body)).await
}
