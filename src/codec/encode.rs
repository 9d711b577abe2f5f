//! From an event to a record.

use std::sync::PoisonError;

use crate::codec::frame::{SCHEMA_HEADER, frame_with_id, guid_header};
use crate::codec::resolve::resolve;
use crate::codec::typed::{Encode, WriterSchema};
use crate::codec::writer::{Ready, ready_for};
use crate::codec::{Codec, EncodeError, Names, SchemaRef};
use crate::event::{EventId, time};

/// How the record names the schema that its datum was written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// `0x00` and the registry's id before the datum: Confluent's frame of version 0.
    #[default]
    ConfluentV0,
    /// The GUID in the header `__value_schema_id`, the datum as it is.
    HeaderGuid,
}

/// A record to be produced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The topic.
    pub topic: String,
    /// The key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// The headers, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since the Unix epoch; `None` leaves it to the client.
    pub timestamp: Option<i64>,
}

impl Codec {
    /// Encodes an event with the newest schema of its kind, in the binary mode of CloudEvents.
    ///
    /// # Errors
    /// The schema is not registered here, or the event does not fit it.
    pub fn encode<E: Encode>(&self, event: &E, framing: Framing) -> Result<Outgoing, EncodeError> {
        let kind = event.kind();
        let unregistered = EncodeError::Unregistered(kind.name);
        let Ok(ready) = ready_for(kind.schema) else { return Err(unregistered) };
        let schemas = self.schemas.read().unwrap_or_else(PoisonError::into_inner);
        let names = schemas.names.get(&ready.writer.identity).copied().unwrap_or_default();
        drop(schemas);
        match (framing, names) {
            (Framing::ConfluentV0, Names { id: Some(id), .. }) => written(event, ready, SchemaRef::Id(id)),
            (Framing::HeaderGuid, Names { guid: Some(guid), .. }) => {
                written(event, ready, SchemaRef::Guid(guid))
            }
            (Framing::ConfluentV0 | Framing::HeaderGuid, _) => Err(unregistered),
        }
    }

    /// Encodes an event with an older schema of its kind, as an older producer would: what that schema lacks is
    /// left out.
    ///
    /// # Errors
    /// The schema is not registered here, or the event does not fit it.
    pub fn encode_with<E: Encode>(&self, event: &E, schema: SchemaRef) -> Result<Outgoing, EncodeError> {
        let kind = event.kind();
        let unregistered = EncodeError::Unregistered(kind.name);
        let Ok(newest) = ready_for(kind.schema) else { return Err(unregistered) };
        let Ok(older) = self.known(schema) else { return Err(unregistered) };
        let unfit = |message: String| EncodeError::Unfit { event_type: kind.name.to_owned(), message };
        let datum = event.write(&WriterSchema(newest))?;
        let value =
            resolve(newest, older, &datum, self.budget()).map_err(|error| unfit(error.to_string()))?;
        let datum = older.encoder.write_value_to_vec(value).map_err(|error| unfit(error.to_string()))?;
        outgoing(event, &datum, schema)
    }
}

fn written<E: Encode>(event: &E, ready: &'static Ready, schema: SchemaRef) -> Result<Outgoing, EncodeError> {
    let datum = event.write(&WriterSchema(ready))?;
    outgoing(event, &datum, schema)
}

fn outgoing<E: Encode>(event: &E, datum: &[u8], schema: SchemaRef) -> Result<Outgoing, EncodeError> {
    let kind = event.kind();
    let identity = event.identity();
    if let Some(Err(why)) = identity.event_id.map(EventId::parse) {
        return Err(EncodeError::Unfit { event_type: kind.name.to_owned(), message: why.to_owned() });
    }
    let mut headers = Vec::with_capacity(8);
    let mut say = |name: &str, value: Vec<u8>| headers.push((name.to_owned(), Some(value)));
    say("ce_specversion", b"1.0".to_vec());
    if let Some(id) = identity.event_id {
        say("ce_id", id.as_bytes().to_vec());
    }
    say("ce_source", SOURCE.to_vec());
    say("ce_type", kind.name.as_bytes().to_vec());
    if let Some(key) = identity.key {
        say("ce_subject", key.as_bytes().to_vec());
    }
    if let Some(time) = identity.time {
        say("ce_time", time::write(time).into_bytes());
    }
    say("content-type", b"application/avro".to_vec());
    let value = match schema {
        SchemaRef::Id(id) => {
            let mut framed = frame_with_id(id);
            framed.extend_from_slice(datum);
            framed
        }
        SchemaRef::Guid(guid) => {
            say(SCHEMA_HEADER, guid_header(&guid));
            datum.to_vec()
        }
    };
    Ok(Outgoing {
        topic: kind.topic.to_owned(),
        key: identity.key.map(|key| key.as_bytes().to_vec()),
        headers,
        value: Some(value),
        // The log is cut by record timestamps: history that is published today must not be gone tomorrow.
        timestamp: None,
    })
}

const SOURCE: &[u8] = b"/postroom";
