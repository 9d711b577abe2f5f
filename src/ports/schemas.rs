//! Where schemas that we do not know are asked for.

use std::future::Future;
use std::pin::Pin;

use crate::codec::SchemaRef;

/// The answer of a registry.
pub type SchemaFuture<'a> = Pin<Box<dyn Future<Output = Result<SchemaAnswer, RegistryAway>> + Send + 'a>>;

/// A registry of schemas. Names never change their meaning, so nobody needs to ask twice for what was found.
pub trait SchemaSource: Send + Sync + 'static {
    /// Returns a schema as Avro's JSON, whole: what it refers to is in it.
    fn schema(&self, name: SchemaRef) -> SchemaFuture<'_>;
}

/// What a registry says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaAnswer {
    /// It stands for this schema.
    Found {
        /// Avro's JSON.
        text: String,
        /// The GUID that it is known by as well, where the registry says so.
        guid: Option<[u8; 16]>,
    },
    /// It stands for nothing, yet.
    Unknown,
    /// It stands for a schema of another language, such as `PROTOBUF`: its data are no Avro and never will be.
    Foreign(String),
    /// It stands for a schema that can never be put together, and why: its references go round, or are too many.
    Unusable(String),
}

/// The registry did not answer, or not as one does: ask again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema registry is not available: {0}")]
pub struct RegistryAway(pub String);
