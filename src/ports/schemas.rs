//! Where schemas that we do not know are asked for.

use std::future::Future;
use std::pin::Pin;

use crate::codec::SchemaRef;

/// The answer of a registry.
pub type SchemaFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, RegistryAway>> + Send + 'a>>;

/// A registry of schemas. Names never change their meaning, so nobody needs to ask twice for what was found.
pub trait SchemaSource: Send + Sync + 'static {
    /// Returns a schema as Avro's JSON, whole: what it refers to is in it. `None` where the registry does not know it.
    fn schema(&self, name: SchemaRef) -> SchemaFuture<'_>;
}

/// The registry did not answer, or not as one does: ask again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema registry is not available: {0}")]
pub struct RegistryAway(pub String);
