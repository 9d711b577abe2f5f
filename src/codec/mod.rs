//! Avro bytes to events and back: no I/O, no panic on any bytes, bounded memory.

pub(crate) mod base64;
mod canonical;
mod changes;
mod compare;
mod decode;
mod directory;
mod encode;
mod error;
mod fields;
mod fit;
mod frame;
mod json;
mod resolve;
mod shape;
mod typed;
#[cfg(test)]
mod verdicts;
mod verify;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

pub use changes::{Change, ChangeKind, changes};
pub use compare::{Obstacle, SchemaFacts, guid_text, obstacles, same_schema, schema_facts};
pub use directory::{IndexEntry, IndexError, guid_from_text, parse_index};
pub(crate) use directory::{OUR_INDEX, OURS};
pub use encode::{Framing, Outgoing};
pub use error::{DecodeError, Detail, EncodeError, SchemaError, SchemaRef};
pub use fields::{FieldError, Fill};
pub use json::Readable;
pub use typed::{Datum, Encode, Event, Identity, WriterSchema};

use crate::codec::writer::{Ready, ready};

/// How large what is read may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest record, in bytes of key, value and headers. Larger ones are dead-lettered as `too_large`.
    pub max_record_bytes: usize,
    /// The most headers of one record.
    pub max_headers: usize,
    /// The most bytes in the headers of one record, names included.
    pub max_header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_record_bytes: 1024 * 1024 + 64 * 1024, max_headers: 1_000, max_header_bytes: 256 * 1024 }
    }
}

/// Decodes records and encodes events. Clones share the schemas that were added; any thread may use them.
#[derive(Clone)]
pub struct Codec {
    limits: Limits,
    schemas: Arc<RwLock<Schemas>>,
}

#[derive(Default)]
struct Schemas {
    by_id: HashMap<u32, &'static Ready>,
    by_guid: HashMap<[u8; 16], &'static Ready>,
    /// How data of a schema are framed, by its identity: the newest id and GUID.
    names: HashMap<[u8; 32], Names>,
}

#[derive(Clone, Copy, Default)]
struct Names {
    id: Option<u32>,
    guid: Option<[u8; 16]>,
}

impl Codec {
    /// Makes a codec that knows the schemas of our own events, with the ids and GUIDs of `schemas/index.toml`.
    pub fn new(limits: Limits) -> Self {
        let codec = Self::without_schemas(limits);
        directory::add_ours(&codec);
        codec
    }

    /// Makes a codec that knows no schema: for a registry server, whose ids mean something else.
    pub fn without_schemas(limits: Limits) -> Self {
        // The crate's own limit is one for the process: the first codec sets it. The walk over each datum bounds
        // what is built from it beforehand; this is the second wall.
        apache_avro::util::max_allocation_bytes(limits.max_record_bytes.saturating_mul(ALLOCATION_FACTOR));
        Self { limits, schemas: Arc::default() }
    }

    /// Returns the limits it was made with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Adds a writer's schema under the names it has: a registry's id, a GUID, or both. To add it again is no
    /// error.
    ///
    /// # Errors
    /// The schema is malformed, recursive or too large, or a name stands for another schema.
    pub fn add_schema(&self, id: Option<u32>, guid: Option<[u8; 16]>, avsc: &str) -> Result<(), SchemaError> {
        let ready = ready(avsc, self.limits.max_record_bytes)?;
        let mut schemas = self.schemas.write().unwrap_or_else(PoisonError::into_inner);
        let identity = ready.writer.identity;
        let other =
            |known: Option<&&'static Ready>| known.is_some_and(|known| known.writer.identity != identity);
        if let Some(id) = id.filter(|id| other(schemas.by_id.get(id))) {
            return Err(SchemaError::Taken(SchemaRef::Id(id)));
        }
        if let Some(guid) = guid.filter(|guid| other(schemas.by_guid.get(guid))) {
            return Err(SchemaError::Taken(SchemaRef::Guid(guid)));
        }
        let names = schemas.names.entry(ready.writer.identity).or_default();
        names.id = id.or(names.id);
        names.guid = guid.or(names.guid);
        if let Some(id) = id {
            schemas.by_id.insert(id, ready);
        }
        if let Some(guid) = guid {
            schemas.by_guid.insert(guid, ready);
        }
        Ok(())
    }

    /// Says whether a name stands for a schema here.
    pub fn knows(&self, schema: SchemaRef) -> bool {
        self.known(schema).is_ok()
    }

    fn known(&self, schema: SchemaRef) -> Result<&'static Ready, DecodeError> {
        let schemas = self.schemas.read().unwrap_or_else(PoisonError::into_inner);
        let found = match schema {
            SchemaRef::Id(id) => schemas.by_id.get(&id),
            SchemaRef::Guid(guid) => schemas.by_guid.get(&guid),
        };
        found.copied().ok_or(DecodeError::NeedsSchema(schema))
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A value in memory takes up to this many bytes for each byte in a record.
const ALLOCATION_FACTOR: usize = 16;
