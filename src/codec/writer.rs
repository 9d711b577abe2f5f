//! Schemas made ready: parsed, checked, with their reader and writer built once.
//!
//! A schema never changes and never goes: each distinct text is parsed once and kept for the life of the
//! process, so that readers can borrow from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::ResolvedSchema;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::codec::SchemaError;
use crate::codec::canonical::fingerprint;
use crate::codec::fit::Fit;
use crate::codec::resolve::pair;
use crate::codec::shape::{MAX_SCHEMA_BYTES, Shape, layout};

/// A schema made ready.
pub(crate) struct Writer {
    /// As it was given.
    pub(crate) schema: Schema,
    /// What its data look like.
    pub(crate) shape: Arc<Shape>,
    /// The full name of its record; `None` where it is no record.
    pub(crate) record: Option<String>,
    /// The full names of records that it also reads.
    pub(crate) aliases: Vec<String>,
    /// The place of the text field `event_id`.
    pub(crate) event_id: Option<usize>,
    /// What it says, whatever its layout and its documentation: unlike the fingerprint it tells apart schemas
    /// that differ in defaults, aliases or logical types.
    pub(crate) identity: [u8; 32],
    /// CRC-64-AVRO of the parsing canonical form.
    pub(crate) rabin: u64,
    plans: RwLock<Vec<Planned>>,
}

/// How data of a schema are read by one reader, whose text is known by its address.
#[derive(Clone)]
struct Planned {
    schema: &'static str,
    reader: &'static Ready,
    fit: Fit,
}

/// A schema with what reads and writes its data.
pub(crate) struct Ready {
    /// The schema.
    pub(crate) writer: &'static Writer,
    /// All names in it.
    pub(crate) names: ResolvedSchema<'static>,
    /// Reads its data as they are.
    pub(crate) reader: GenericDatumReader<'static>,
    /// Writes such data.
    pub(crate) encoder: GenericDatumWriter<'static>,
}

/// How many distinct schemas a process keeps.
const MAX_SCHEMAS: usize = 10_000;
static READY: LazyLock<Mutex<HashMap<[u8; 32], &'static Ready>>> = LazyLock::new(Mutex::default);

/// Returns the schema of a kind of event made ready.
///
/// # Errors
/// Says why it is refused.
pub(crate) fn ready_for(schema: &'static str) -> Result<&'static Ready, SchemaError> {
    static BY_ADDRESS: LazyLock<RwLock<HashMap<(usize, usize), &'static Ready>>> =
        LazyLock::new(RwLock::default);
    let address = (schema.as_ptr().addr(), schema.len());
    let known = BY_ADDRESS.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(ready) = known.get(&address) {
        return Ok(ready);
    }
    drop(known);
    let made = ready(schema, MAX_SCHEMA_BYTES)?;
    BY_ADDRESS.write().unwrap_or_else(PoisonError::into_inner).insert(address, made);
    Ok(made)
}

/// Returns the schema made ready.
///
/// # Errors
/// Says why it is refused.
pub(crate) fn ready(avsc: &str, max_fixed: usize) -> Result<&'static Ready, SchemaError> {
    within("its text", avsc.len(), MAX_SCHEMA_BYTES)?;
    let text: [u8; 32] = Sha256::digest(avsc.as_bytes()).into();
    let mut known = READY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ready) = known.get(&text) {
        layout(&ready.writer.schema, max_fixed)?;
        return Ok(ready);
    }
    within("the number of schemas", known.len(), MAX_SCHEMAS)?;
    let ready = prepare(avsc, max_fixed)?;
    known.insert(text, ready);
    Ok(ready)
}

fn prepare(avsc: &str, max_fixed: usize) -> Result<&'static Ready, SchemaError> {
    let malformed = |error: apache_avro::Error| SchemaError::Malformed(explain(avsc, &error));
    let schema = Schema::parse_str(avsc).map_err(malformed)?;
    let shape = layout(&schema, max_fixed)?;
    let (mut record, mut aliases, mut event_id) = (None, Vec::new(), None);
    if let Schema::Record(schema) = &schema {
        record = Some(schema.name.fullname(None));
        aliases = schema.aliases.iter().flatten().map(|alias| alias.fullname(None)).collect();
        event_id = schema.fields.iter().position(|field| field.name == "event_id");
    }
    let rabin = fingerprint(&schema);
    let plans = RwLock::default();
    let writer: &'static Writer = Box::leak(Box::new(Writer {
        identity: identity(avsc),
        schema,
        shape,
        record,
        aliases,
        event_id,
        rabin,
        plans,
    }));
    let reader = GenericDatumReader::builder(&writer.schema).build().map_err(malformed)?;
    let encoder = GenericDatumWriter::builder(&writer.schema).build().map_err(malformed)?;
    let names = ResolvedSchema::new(&writer.schema).map_err(malformed)?;
    Ok(Box::leak(Box::new(Ready { writer, names, reader, encoder })))
}

impl Ready {
    /// Returns how data of this schema become values of the reader's `schema`, and that reader. Both are worked
    /// out once for each pair.
    ///
    /// # Errors
    /// The reader's schema is refused.
    pub(crate) fn read_by(&self, schema: &'static str) -> Result<(Fit, &'static Self), SchemaError> {
        let plans = self.writer.plans.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plans.iter().find(|known| std::ptr::eq(known.schema, schema)) {
            return Ok((known.fit.clone(), known.reader));
        }
        drop(plans);
        let reader = ready_for(schema)?;
        let fit = pair(self, reader).fit();
        let mut plans = self.writer.plans.write().unwrap_or_else(PoisonError::into_inner);
        plans.push(Planned { schema, reader, fit: fit.clone() });
        Ok((fit, reader))
    }
}

/// Hashes a schema's JSON with its names in order, without `doc` and without white space.
fn identity(avsc: &str) -> [u8; 32] {
    let json = serde_json::from_str(avsc).unwrap_or_default();
    let mut text = String::new();
    write_bare(&json, &mut text);
    Sha256::digest(text.as_bytes()).into()
}

fn write_bare(json: &Json, text: &mut String) {
    match json {
        Json::Object(fields) => {
            let sorted: BTreeMap<&String, &Json> = fields.iter().filter(|(name, _)| *name != "doc").collect();
            text.push('{');
            for (place, (name, value)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                text.push_str(&Json::from(name.as_str()).to_string());
                text.push(':');
                write_bare(value, text);
            }
            text.push('}');
        }
        Json::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_bare(item, text);
            }
            text.push(']');
        }
        leaf @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => {
            text.push_str(&leaf.to_string());
        }
    }
}

fn explain(avsc: &str, error: &apache_avro::Error) -> String {
    let message = error.to_string();
    match std::error::Error::source(error.details()) {
        Some(source) => format!("{message}: {source}"),
        None if avsc.contains('$') && message.contains('$') => {
            format!("{message} (names with `$`, as of nested Java classes, are not supported)")
        }
        None => message,
    }
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), SchemaError> {
    if size > limit { Err(SchemaError::TooLarge { what, size, limit }) } else { Ok(()) }
}
