//! From a record to an event in its envelope.

use crate::codec::frame::{Headers, unframe};
use crate::codec::typed::{Datum, Event};
use crate::codec::verify::{Budget, text_field, verify};
use crate::codec::writer::{Ready, ready_for};
use crate::codec::{Codec, DecodeError, Detail, SchemaRef};
use crate::event::{Envelope, EventId, EventRecord, EventType, RawRecord, time};

impl Codec {
    /// Decodes a record as an event of `E`. `None` is a record that `E` does not handle: a tombstone, or an event
    /// of another kind (its `ce_type`, else the full name of the record that it was written as).
    ///
    /// # Errors
    /// The schema is not known here, or the record is poison.
    pub fn envelope<E: Event>(&self, record: &RawRecord) -> Result<Option<Envelope<E>>, DecodeError> {
        self.envelope_of(record, E::types())
    }

    /// As [`envelope`](Self::envelope), for a reader that wants only some kinds of `E`: of the others nothing is
    /// decoded, so none of them is poison to it.
    ///
    /// # Errors
    /// The same.
    pub fn envelope_of<E: Event>(
        &self,
        record: &RawRecord,
        wanted: &[EventType],
    ) -> Result<Option<Envelope<E>>, DecodeError> {
        self.admit(record)?;
        let headers = Headers::read(record, &self.limits)?;
        let Some(value) = record.value() else { return Ok(None) };
        let named = match headers.event_type()? {
            None => None,
            Some(name) => match wanted.iter().find(|known| known.name == name) {
                None => return Ok(None),
                known => known,
            },
        };
        let framed = unframe(value, &headers)?;
        let ready = self.known(framed.schema)?;
        let event_type = match named {
            Some(event_type) => {
                same_kind(event_type, ready, framed.schema)?;
                event_type
            }
            None => match wanted.iter().find(|known| is_record(known, ready)) {
                None => return Ok(None),
                Some(known) => known,
            },
        };
        let shape = &ready.writer.shape;
        verify(shape, framed.datum, self.budget())?;
        let id = self.event_id(record, &headers, ready, framed.datum)?;
        let time = event_time(record, &headers)?;
        let budget = self.budget();
        let datum = Datum { bytes: framed.datum, schema: framed.schema, ready, budget };
        let event = E::decode(event_type, &datum)?;
        Ok(Some(Envelope { id, event_type: event_type.name, time, event, record: record.clone() }))
    }

    /// Decodes a value in Confluent's frame alone: for loops that have no record around it. No header is looked at.
    ///
    /// # Errors
    /// The schema is not known here, or the value is poison.
    pub fn value<E: EventRecord>(&self, value: &[u8]) -> Result<E, DecodeError> {
        let framed = unframe(value, &Headers::default())?;
        let ready = self.known(framed.schema)?;
        same_kind(&E::TYPE, ready, framed.schema)?;
        let budget = self.budget();
        verify(&ready.writer.shape, framed.datum, self.budget())?;
        Datum { bytes: framed.datum, schema: framed.schema, ready, budget }.read()
    }

    /// Returns how a record names the schema that it was written with; `None` where it does not.
    pub fn schema_of(&self, record: &RawRecord) -> Option<SchemaRef> {
        let headers = Headers::read(record, &self.limits).ok()?;
        unframe(record.value()?, &headers).ok().map(|framed| framed.schema)
    }

    /// Returns which of the wanted kinds a record is, as far as it says so; `None` where it is none of them.
    pub(crate) fn kind_among<'k>(
        &self,
        record: &RawRecord,
        wanted: &'k [EventType],
    ) -> Option<&'k EventType> {
        let headers = Headers::read(record, &self.limits).ok()?;
        if let Some(name) = headers.event_type().ok()? {
            return wanted.iter().find(|known| known.name == name);
        }
        let ready = self.known(unframe(record.value()?, &headers).ok()?.schema).ok()?;
        wanted.iter().find(|known| is_record(known, ready))
    }

    /// Returns the identity of a record of any kind; `None` where it has none that can be read.
    pub fn event_id_of(&self, record: &RawRecord) -> Option<EventId> {
        let headers = Headers::read(record, &self.limits).ok()?;
        if headers.ce_id.or(headers.id).is_none() {
            self.admit(record).ok()?;
            let framed = unframe(record.value()?, &headers).ok()?;
            let ready = self.known(framed.schema).ok()?;
            verify(&ready.writer.shape, framed.datum, self.budget()).ok()?;
            return self.event_id(record, &headers, ready, framed.datum).ok();
        }
        let id = headers.ce_id.or(headers.id)?;
        std::str::from_utf8(id).ok().and_then(|id| EventId::parse(id).ok())
    }

    pub(crate) fn admit(&self, record: &RawRecord) -> Result<(), DecodeError> {
        let (size, limit) = (record.size(), self.limits.max_record_bytes);
        if size > limit {
            let message = format!("the record has {size} bytes, the limit is {limit}");
            return Err(DecodeError::poison(Detail::TooLarge, message));
        }
        Ok(())
    }

    pub(crate) fn budget(&self) -> Budget {
        Budget { max_length: self.limits.max_record_bytes, max_values: self.limits.max_record_bytes / 4 }
    }

    fn event_id(
        &self,
        record: &RawRecord,
        headers: &Headers<'_>,
        ready: &Ready,
        datum: &[u8],
    ) -> Result<EventId, DecodeError> {
        let invalid = |message: &str| DecodeError::poison(Detail::InvalidId, message);
        if let Some(id) = headers.ce_id.or(headers.id) {
            let id = std::str::from_utf8(id).map_err(|_| invalid("the event id is not UTF-8"))?;
            return EventId::parse(id).map_err(invalid);
        }
        let field = ready.writer.event_id;
        let id = field.and_then(|field| text_field(&ready.writer.shape, datum, field, self.budget()));
        match id {
            Some(id) => EventId::parse(id).map_err(invalid),
            None => {
                let place = format!("{}/{}", record.partition(), record.offset());
                EventId::parse(&place).map_err(invalid)
            }
        }
    }
}

/// Says whether the writer's record is that of the kind: by its full name, or by an alias in the kind's schema.
fn is_record(event_type: &EventType, ready: &Ready) -> bool {
    let Some(record) = ready.writer.record.as_deref() else { return false };
    record == event_type.record
        || ready_for(event_type.schema)
            .is_ok_and(|reader| reader.writer.aliases.iter().any(|alias| alias == record))
}

fn same_kind(event_type: &EventType, ready: &Ready, schema: SchemaRef) -> Result<(), DecodeError> {
    if is_record(event_type, ready) {
        return Ok(());
    }
    let record = ready.writer.record.as_deref().unwrap_or("no record");
    let message = format!("the record says {}, but its schema ({schema}) is {record:.200}", event_type.name);
    Err(DecodeError::poison(Detail::WrongType, message))
}

fn event_time(record: &RawRecord, headers: &Headers<'_>) -> Result<i64, DecodeError> {
    let Some(text) = headers.ce_time else {
        return Ok(record.timestamp().unwrap_or_default().clamp(time::EARLIEST, time::LATEST));
    };
    let invalid = |message: &str| DecodeError::poison(Detail::TimeRange, message);
    let text = std::str::from_utf8(text).map_err(|_| invalid("the header ce_time is not UTF-8"))?;
    time::parse(text).map_err(|why| invalid(&format!("the header ce_time is no time: {why:.200}")))
}
