//! From the bytes of a writer to values of a reader's schema.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a library's many kinds of schema: what is not named is refused"
)]

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, NamesRef, RecordSchema};
use apache_avro::types::Value;

use crate::codec::fit::{Base, Fit, Pair, base, named, writer_field};
use crate::codec::shape::Shape;
use crate::codec::verify::{Budget, Walk};
use crate::codec::writer::Ready;
use crate::codec::{DecodeError, Detail};

/// Reads a verified datum of `writer` as a value of `reader`.
///
/// # Errors
/// A value of the writer has no counterpart in the reader's schema.
pub(crate) fn resolve(
    writer: &Ready,
    reader: &Ready,
    datum: &[u8],
    budget: Budget,
) -> Result<Value, DecodeError> {
    convert(pair(writer, reader), &writer.writer.shape, &mut Walk::new(datum, budget))
}

/// Pairs two schemas.
pub(crate) fn pair<'s>(writer: &'s Ready, reader: &'s Ready) -> Pair<'s> {
    Pair {
        writer: &writer.writer.schema,
        writer_names: writer.names.get_names(),
        reader: &reader.writer.schema,
        reader_names: reader.names.get_names(),
    }
}

fn convert(pair: Pair<'_>, shape: &Shape, walk: &mut Walk<'_>) -> Result<Value, DecodeError> {
    walk.spend(1)?;
    let pair = pair.of(pair.writer, pair.reader);
    match (pair.writer, pair.reader) {
        (Schema::Union(writer), reader) => {
            let index = walk.branch_index(writer.variants().len())?;
            let branch = writer.variants().get(index).ok_or_else(|| mismatch("no such branch"))?;
            convert(pair.of(branch, reader), part(shape, index)?, walk)
        }
        (writer, Schema::Union(reader)) => {
            let Some((place, branch)) = pair.branch(reader) else {
                return Err(mismatch("the reader's union has no branch for it"));
            };
            let value = convert(pair.of(writer, branch), shape, walk)?;
            Ok(Value::Union(u32::try_from(place).unwrap_or(u32::MAX), Box::new(value)))
        }
        (Schema::Record(writer), Schema::Record(reader)) => record(pair, writer, reader, shape, walk),
        (Schema::Enum(writer), Schema::Enum(reader)) => {
            let symbol = walk.symbol(writer.symbols.len())?;
            symbol_of(reader, writer.symbols.get(symbol).map(String::as_str).unwrap_or_default())
        }
        (Schema::Array(writer), Schema::Array(reader)) => {
            let mut items = Vec::new();
            let item = pair.of(&writer.items, &reader.items);
            walk.blocks(|walk| {
                items.push(convert(item, part(shape, 0)?, walk)?);
                Ok(())
            })?;
            Ok(Value::Array(items))
        }
        (Schema::Map(writer), Schema::Map(reader)) => {
            let mut entries = HashMap::new();
            let value = pair.of(&writer.types, &reader.types);
            walk.blocks(|walk| {
                let key = walk.text()?.to_owned();
                entries.insert(key, convert(value, part(shape, 0)?, walk)?);
                Ok(())
            })?;
            Ok(Value::Map(entries))
        }
        (writer, reader) => leaf(pair, writer, reader, walk),
    }
}

fn record(
    pair: Pair<'_>,
    writer: &RecordSchema,
    reader: &RecordSchema,
    shape: &Shape,
    walk: &mut Walk<'_>,
) -> Result<Value, DecodeError> {
    let mut taken: HashMap<&str, Value> = HashMap::new();
    for (place, written) in writer.fields.iter().enumerate() {
        let wanted = reader
            .fields
            .iter()
            .find(|field| writer_field(writer, field).is_some_and(|source| std::ptr::eq(source, written)));
        match wanted {
            Some(field) => {
                let value = convert(pair.of(&written.schema, &field.schema), part(shape, place)?, walk)?;
                taken.insert(&field.name, value);
            }
            None => walk.value(part(shape, place)?)?,
        }
    }
    let mut fields = Vec::with_capacity(reader.fields.len());
    for field in &reader.fields {
        let value = match (taken.remove(field.name.as_str()), &field.default) {
            (Some(value), _) => value,
            (None, Some(default)) => default_value(default, &field.schema, pair.reader_names)
                .ok_or_else(|| mismatch(&format!("the default of {} does not fit its type", field.name)))?,
            (None, None) => return Err(mismatch(&format!("the writer has no field {}", field.name))),
        };
        fields.push((field.name.clone(), value));
    }
    Ok(Value::Record(fields))
}

fn part(shape: &Shape, place: usize) -> Result<&Shape, DecodeError> {
    shape.part(place).ok_or_else(|| mismatch("the schema has no such part"))
}

fn symbol_of(reader: &EnumSchema, symbol: &str) -> Result<Value, DecodeError> {
    let known = |wanted: &str| {
        let place = reader.symbols.iter().position(|known| known == wanted)?;
        Some(Value::Enum(u32::try_from(place).ok()?, wanted.to_owned()))
    };
    known(symbol).or_else(|| known(reader.default.as_deref()?)).ok_or_else(|| {
        DecodeError::poison(Detail::Enum, format!("the reader's enum {} lacks {symbol:.100}", reader.name))
    })
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "Avro promotes so, whatever is lost")]
fn leaf(pair: Pair<'_>, writer: &Schema, reader: &Schema, walk: &mut Walk<'_>) -> Result<Value, DecodeError> {
    if let Fit::Never(why) = pair.fit() {
        return Err(mismatch(&why));
    }
    Ok(match writer {
        Schema::Null => Value::Null,
        Schema::Boolean => Value::Boolean(walk.boolean()?),
        Schema::Int | Schema::Date | Schema::TimeMillis => match (walk.int()?, reader) {
            (number, Schema::Float) => Value::Float(number as f32),
            (number, Schema::Double) => Value::Double(f64::from(number)),
            (number, Schema::Int | Schema::Date | Schema::TimeMillis) => Value::Int(number),
            (number, _) => Value::Long(i64::from(number)),
        },
        Schema::Float => match (f32::from_le_bytes(walk.array()?), reader) {
            (number, Schema::Double) => Value::Double(f64::from(number)),
            (number, _) => Value::Float(number),
        },
        Schema::Double => Value::Double(f64::from_le_bytes(walk.array()?)),
        Schema::Bytes | Schema::String | Schema::BigDecimal | Schema::Uuid(_) | Schema::Decimal(_)
            if fixed_size(writer).is_none() =>
        {
            run(reader, walk)?
        }
        other => match fixed_size(other) {
            Some(size) => Value::Fixed(size, walk.take(size)?.to_vec()),
            None => match (walk.long()?, reader) {
                (number, Schema::Float) => Value::Float(number as f32),
                (number, Schema::Double) => Value::Double(number as f64),
                (number, _) => Value::Long(number),
            },
        },
    })
}

fn run(reader: &Schema, walk: &mut Walk<'_>) -> Result<Value, DecodeError> {
    use apache_avro::schema::UuidSchema;
    match reader {
        Schema::String | Schema::Uuid(UuidSchema::String) => Ok(Value::String(walk.text()?.to_owned())),
        _ => Ok(Value::Bytes(walk.run()?.to_vec())),
    }
}

fn fixed_size(schema: &Schema) -> Option<usize> {
    use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, UuidSchema};
    match schema {
        Schema::Fixed(fixed)
        | Schema::Duration(fixed)
        | Schema::Uuid(UuidSchema::Fixed(fixed))
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => Some(fixed.size),
        _ => None,
    }
}

/// Turns the default of a reader's field, written as JSON in the schema, into a value.
pub(crate) fn default_value(
    default: &serde_json::Value,
    schema: &Schema,
    names: &NamesRef<'_>,
) -> Option<Value> {
    use serde_json::Value as Json;
    Some(match (named(schema, names), default) {
        (Schema::Union(union), default) => {
            let each = union.variants().iter().enumerate();
            let (place, value) = each
                .filter_map(|(place, branch)| Some((place, default_value(default, branch, names)?)))
                .next()?;
            Value::Union(u32::try_from(place).ok()?, Box::new(value))
        }
        (Schema::Null, Json::Null) => Value::Null,
        (Schema::Boolean, Json::Bool(truth)) => Value::Boolean(*truth),
        (Schema::Int | Schema::Date | Schema::TimeMillis, Json::Number(number)) => {
            Value::Int(i32::try_from(number.as_i64()?).ok()?)
        }
        (Schema::Float, number) => match float(number)? {
            number if number.is_finite() => Value::Float(number.to_string().parse().ok()?),
            number => {
                Value::Float(if number.is_nan() { f32::NAN } else { f32::INFINITY.copysign(sign(number)) })
            }
        },
        (Schema::Double, number) => Value::Double(float(number)?),
        (Schema::String | Schema::Uuid(_), Json::String(text)) => Value::String(text.clone()),
        (Schema::Bytes | Schema::Decimal(_) | Schema::BigDecimal, Json::String(text)) => {
            Value::Bytes(text.chars().map(u8::try_from).collect::<Result<_, _>>().ok()?)
        }
        (Schema::Fixed(fixed) | Schema::Duration(fixed), Json::String(text)) => {
            let bytes: Vec<u8> = text.chars().map(u8::try_from).collect::<Result<_, _>>().ok()?;
            if bytes.len() != fixed.size {
                return None;
            }
            Value::Fixed(fixed.size, bytes)
        }
        (Schema::Enum(schema), Json::String(symbol)) => symbol_of(schema, symbol).ok()?,
        (Schema::Array(array), Json::Array(items)) => Value::Array(
            items.iter().map(|item| default_value(item, &array.items, names)).collect::<Option<_>>()?,
        ),
        (Schema::Map(map), Json::Object(entries)) => Value::Map(
            entries
                .iter()
                .map(|(key, value)| Some((key.clone(), default_value(value, &map.types, names)?)))
                .collect::<Option<_>>()?,
        ),
        (Schema::Record(record), Json::Object(given)) => Value::Record(
            record
                .fields
                .iter()
                .map(|field| {
                    let value = given.get(&field.name).or(field.default.as_ref())?;
                    Some((field.name.clone(), default_value(value, &field.schema, names)?))
                })
                .collect::<Option<_>>()?,
        ),
        (long, Json::Number(number)) if is_long(long) => Value::Long(number.as_i64()?),
        _ => return None,
    })
}

fn is_long(schema: &Schema) -> bool {
    matches!(base(schema), Some(Base::Long))
}

fn float(number: &serde_json::Value) -> Option<f64> {
    match number {
        serde_json::Value::Number(number) => number.as_f64(),
        serde_json::Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn sign(number: f64) -> f32 {
    if number.is_sign_negative() { -1.0 } else { 1.0 }
}

fn mismatch(why: &str) -> DecodeError {
    DecodeError::poison(Detail::Incompatible, why)
}
