//! Events from what a person types: `field=value`, or JSON.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a library's many kinds of schema: what is not named is refused"
)]

use apache_avro::Schema;
use apache_avro::schema::{NamesRef, RecordField};
use apache_avro::types::Value;
use serde_json::{Map, Value as Json};

use crate::codec::fit::named;
use crate::codec::resolve::default_value;
use crate::codec::typed::{Datum, Event};
use crate::codec::verify::verify;
use crate::codec::writer::ready_for;
use crate::codec::{Codec, SchemaRef};
use crate::event::{EventType, time};

/// What is wrong with the fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FieldError(String);

/// What fills fields that were not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    /// For the field `event_id`.
    pub event_id: String,
    /// For the field `occurred_at`: the time now, in milliseconds since the Unix epoch.
    pub now: i64,
}

impl Codec {
    /// Makes an event of the kind `name` (`post.published`, or `post_published`) from fields. Texts are read as
    /// what the schema wants: numbers, `true` and `false`, times as RFC 3339, lists as JSON or with commas.
    ///
    /// # Errors
    /// No such kind, no such field (with the nearest name), a field missing or not fitting.
    pub fn event_from_fields<E: Event>(
        &self,
        name: &str,
        given: &Map<String, Json>,
        fill: &Fill,
    ) -> Result<E, FieldError> {
        let event_type = kind_of::<E>(name)?;
        let ready = ready_for(event_type.schema).map_err(|error| FieldError(error.to_string()))?;
        let Schema::Record(record) = &ready.writer.schema else {
            return Err(FieldError(format!("{} is no record", event_type.name)));
        };
        let known: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
        for name in given.keys() {
            if !known.contains(&name.as_str()) {
                return Err(unknown(&format!("{} has no field", event_type.name), name, &known));
            }
        }
        let names = ready.names.get_names();
        let mut fields = Vec::with_capacity(record.fields.len());
        let mut lacking = Vec::new();
        for field in &record.fields {
            match field_value(field, given.get(&field.name), names, fill)? {
                Some(value) => fields.push((field.name.clone(), value)),
                None => lacking.push(field.name.as_str()),
            }
        }
        if !lacking.is_empty() {
            return Err(FieldError(format!("{} needs {}", event_type.name, lacking.join(", "))));
        }
        let unfit = |why: String| FieldError(format!("{}: {why}", event_type.name));
        let bytes = ready
            .encoder
            .write_value_to_vec(Value::Record(fields))
            .map_err(|error| unfit(error.to_string()))?;
        let budget = self.budget();
        verify(&ready.writer.shape, &bytes, budget).map_err(|error| unfit(error.to_string()))?;
        let datum = Datum { bytes: &bytes, schema: SchemaRef::Id(0), ready, budget };
        E::decode(event_type, &datum).map_err(|error| unfit(error.to_string()))
    }
}

fn kind_of<E: Event>(name: &str) -> Result<&'static EventType, FieldError> {
    let wanted = name.replacen('_', ".", 1);
    let names: Vec<&str> = E::types().iter().map(|known| known.name).collect();
    E::types()
        .iter()
        .find(|known| known.name == name || known.name == wanted)
        .ok_or_else(|| unknown("there is no event type", name, &names))
}

fn field_value(
    field: &RecordField,
    given: Option<&Json>,
    names: &NamesRef<'_>,
    fill: &Fill,
) -> Result<Option<Value>, FieldError> {
    if let Some(given) = given {
        let wrong = || {
            FieldError(format!("{} cannot be {given}: it is {}", field.name, wanted(&field.schema, names)))
        };
        return coerce(given, &field.schema, names).map(Some).ok_or_else(wrong);
    }
    Ok(match (field.name.as_str(), &field.default) {
        ("event_id", _) => coerce(&Json::from(fill.event_id.as_str()), &field.schema, names),
        ("occurred_at", _) => coerce(&Json::from(fill.now), &field.schema, names),
        (_, Some(default)) => default_value(default, &field.schema, names),
        (_, None) => None,
    })
}

fn coerce(given: &Json, schema: &Schema, names: &NamesRef<'_>) -> Option<Value> {
    Some(match (named(schema, names), given) {
        (Schema::Union(union), given) => {
            let branches = union.variants().iter().enumerate();
            // The text `null` is null where the schema allows it.
            let mut taken =
                branches.filter_map(|(place, branch)| Some((place, coerce(given, branch, names)?)));
            let (place, value) = taken.next()?;
            Value::Union(u32::try_from(place).ok()?, Box::new(value))
        }
        (Schema::Array(array), Json::String(text)) => match serde_json::from_str(text) {
            Ok(list @ Json::Array(_)) => coerce(&list, schema, names)?,
            _ => Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| coerce(&Json::from(item), &array.items, names))
                    .collect::<Option<_>>()?,
            ),
        },
        (Schema::Array(array), Json::Array(items)) => {
            Value::Array(items.iter().map(|item| coerce(item, &array.items, names)).collect::<Option<_>>()?)
        }
        (Schema::TimestampMillis, Json::String(text)) => {
            Value::TimestampMillis(time::parse(text).ok().or_else(|| text.parse().ok())?)
        }
        (Schema::TimestampMillis, Json::Number(millis)) => Value::TimestampMillis(millis.as_i64()?),
        (
            Schema::String | Schema::Bytes | Schema::Fixed(_) | Schema::Enum(_) | Schema::Uuid(_),
            Json::String(_),
        ) => default_value(given, schema, names)?,
        (Schema::Map(_) | Schema::Record(_), Json::String(text)) => {
            coerce(&serde_json::from_str(text).ok()?, schema, names)?
        }
        (_, Json::String(text)) => default_value(&serde_json::from_str(text).ok()?, schema, names)?,
        _ => default_value(given, schema, names)?,
    })
}

fn wanted(schema: &Schema, names: &NamesRef<'_>) -> String {
    match named(schema, names) {
        Schema::Boolean => "true or false".to_owned(),
        Schema::Int | Schema::Long => "an integer".to_owned(),
        Schema::Float | Schema::Double => "a number".to_owned(),
        Schema::String => "a text".to_owned(),
        Schema::TimestampMillis => "a time like 2021-03-14T15:09:26Z".to_owned(),
        Schema::Enum(schema) => format!("one of {}", schema.symbols.join(", ")),
        Schema::Array(array) => format!("a list, each {}", wanted(&array.items, names)),
        Schema::Null => "null".to_owned(),
        Schema::Union(union) => {
            let branches: Vec<String> = union.variants().iter().map(|branch| wanted(branch, names)).collect();
            branches.join(" or ")
        }
        Schema::Record(record) => format!("a {} as JSON", record.name),
        other => format!("{:?}", apache_avro::schema::SchemaKind::from(other)).to_lowercase(),
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> FieldError {
    let nearest =
        known.iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    match nearest {
        Some(nearest) if strsim::jaro_winkler(nearest, name) > 0.75 => {
            FieldError(format!("{what} {name:?}: did you mean {nearest:?}?"))
        }
        _ => FieldError(format!("{what} {name:?}; there are {}", known.join(", "))),
    }
}
