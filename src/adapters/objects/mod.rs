//! Object stores: folders, and buckets of S3 and of what speaks its dialect (feature `s3`).

mod folder;
mod key;
#[cfg(feature = "s3")]
mod s3;

use std::sync::Arc;

pub use folder::Folder;
#[cfg(feature = "s3")]
pub use s3::{S3, S3Settings};

use crate::config::{Place, S3Section};
use crate::ports::Objects;

/// Makes the store of a place. `environment` holds the process's variables, for what `[s3]` leaves to those of AWS.
///
/// # Errors
/// Says what is wrong with the settings, or that this build lacks S3.
pub fn open(
    place: &Place,
    s3: &S3Section,
    environment: &[(String, String)],
) -> Result<Arc<dyn Objects>, String> {
    match place {
        Place::Folder(path) => Ok(Arc::new(Folder::new(path))),
        Place::S3 { bucket, prefix } => bucket_of(bucket, prefix, s3, environment),
    }
}

#[cfg(feature = "s3")]
fn bucket_of(
    bucket: &str,
    prefix: &str,
    settings: &S3Section,
    environment: &[(String, String)],
) -> Result<Arc<dyn Objects>, String> {
    let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
    let settings =
        S3Settings { bucket, prefix, settings: settings.clone(), environment: environment.to_vec() };
    Ok(Arc::new(S3::new(settings)?))
}

#[cfg(not(feature = "s3"))]
fn bucket_of(
    bucket: &str,
    _prefix: &str,
    _settings: &S3Section,
    _environment: &[(String, String)],
) -> Result<Arc<dyn Objects>, String> {
    Err(format!("the bucket {bucket} is in S3, and this program was built without the feature s3"))
}
