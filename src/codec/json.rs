//! Records for people: any datum as JSON, with its writer's schema alone.

#![expect(clippy::wildcard_enum_match_arm, reason = "a library's many kinds of schema: the rest are longs")]

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, NamesRef, UuidSchema};
use serde_json::{Map, Value};

use crate::codec::fit::named;
use crate::codec::frame::{Headers, unframe};
use crate::codec::verify::{Walk, verify};
use crate::codec::{Codec, DecodeError, SchemaRef};
use crate::event::{RawRecord, time};

/// A record as a person reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Readable {
    /// Its kind: the `ce_type`, else the full name of the record that it was written as, else `unknown`.
    pub event_type: String,
    /// How it names its schema.
    pub schema: SchemaRef,
    /// Its fields, as the writer wrote them: times as RFC 3339, bytes as hexadecimal digits.
    pub fields: Value,
}

impl Codec {
    /// Returns the schema that has to be added before a record can be read; `None` where it is known, or where no schema
    /// would help.
    pub fn needs(&self, record: &RawRecord) -> Option<SchemaRef> {
        self.admit(record).ok()?;
        let headers = Headers::read(record, &self.limits).ok()?;
        let framed = unframe(record.value()?, &headers).ok()?;
        (!self.knows(framed.schema)).then_some(framed.schema)
    }

    /// Decodes a record of any kind into JSON; `None` is a tombstone.
    ///
    /// # Errors
    /// The schema is not known here, or the record is poison.
    pub fn to_json(&self, record: &RawRecord) -> Result<Option<Readable>, DecodeError> {
        self.admit(record)?;
        let headers = Headers::read(record, &self.limits)?;
        let Some(value) = record.value() else { return Ok(None) };
        let framed = unframe(value, &headers)?;
        let ready = self.known(framed.schema)?;
        verify(&ready.writer.shape, framed.datum, self.budget())?;
        let mut walk = Walk::new(framed.datum, self.budget());
        let fields = render(&ready.writer.schema, ready.names.get_names(), &mut walk)?;
        let event_type =
            headers.event_type()?.or(ready.writer.record.as_deref()).unwrap_or("unknown").to_owned();
        Ok(Some(Readable { event_type, schema: framed.schema, fields }))
    }
}

/// Renders the value at the walk's place.
pub(crate) fn render(
    schema: &Schema,
    names: &NamesRef<'_>,
    walk: &mut Walk<'_>,
) -> Result<Value, DecodeError> {
    Ok(match named(schema, names) {
        Schema::Null => Value::Null,
        Schema::Boolean => Value::from(walk.boolean()?),
        Schema::Int | Schema::Date | Schema::TimeMillis => Value::from(walk.int()?),
        Schema::TimestampMillis => Value::from(time::write(walk.long()?)),
        Schema::Float => shortest(f32::from_le_bytes(walk.array()?)),
        Schema::Double => Value::from(f64::from_le_bytes(walk.array()?)),
        Schema::String | Schema::Uuid(UuidSchema::String) => Value::from(walk.text()?),
        Schema::Bytes
        | Schema::BigDecimal
        | Schema::Uuid(UuidSchema::Bytes)
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Bytes, .. }) => hexadecimal(walk.run()?),
        Schema::Fixed(fixed)
        | Schema::Duration(fixed)
        | Schema::Uuid(UuidSchema::Fixed(fixed))
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
            hexadecimal(walk.take(fixed.size)?)
        }
        Schema::Enum(schema) => {
            let symbol = walk.symbol(schema.symbols.len())?;
            Value::from(schema.symbols.get(symbol).map(String::as_str))
        }
        Schema::Union(union) => {
            let branch = walk.branch_index(union.variants().len())?;
            match union.variants().get(branch) {
                Some(branch) => render(branch, names, walk)?,
                None => Value::Null,
            }
        }
        Schema::Array(array) => {
            let mut items = Vec::new();
            walk.blocks(|walk| {
                items.push(render(&array.items, names, walk)?);
                Ok(())
            })?;
            Value::Array(items)
        }
        Schema::Map(map) => {
            let mut entries = Map::new();
            walk.blocks(|walk| {
                let key = walk.text()?.to_owned();
                entries.insert(key, render(&map.types, names, walk)?);
                Ok(())
            })?;
            Value::Object(entries)
        }
        Schema::Record(record) => {
            let mut fields = Map::new();
            for field in &record.fields {
                fields.insert(field.name.clone(), render(&field.schema, names, walk)?);
            }
            Value::Object(fields)
        }
        _ => Value::from(walk.long()?),
    })
}

/// Writes 1.1 as 1.1, not as the digits of its nearest double.
fn shortest(number: f32) -> Value {
    Value::from(number.to_string().parse::<f64>().unwrap_or_else(|_| f64::from(number)))
}

fn hexadecimal(bytes: &[u8]) -> Value {
    Value::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
