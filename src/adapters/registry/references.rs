//! Schemas that refer to others: put together into one, since a datum is read with one schema.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Puts the definitions of named types where they are used first. `others` are the texts of the schemas referred to,
/// those that others need before those that need them.
///
/// # Errors
/// A text is not JSON.
pub(super) fn whole(text: &str, others: &[String]) -> Result<String, serde_json::Error> {
    let mut definitions = BTreeMap::new();
    for other in others {
        let other: Value = serde_json::from_str(other)?;
        collect(&other, None, &mut definitions);
    }
    let mut schema: Value = serde_json::from_str(text)?;
    let mut placed = BTreeSet::new();
    place(&mut schema, None, &definitions, &mut placed, 0);
    serde_json::to_string(&schema)
}

/// Notes every named type in a schema by its full name.
fn collect(schema: &Value, space: Option<&str>, definitions: &mut BTreeMap<String, Value>) {
    match schema {
        Value::Array(branches) => {
            branches.iter().for_each(|branch| collect(branch, space, definitions));
        }
        Value::Object(object) => {
            let inner = named(object).map(|name| full_name(name, object, space));
            let space = inner.as_deref().map_or(space, |name| name.rsplit_once('.').map(|(space, _)| space));
            for child in children(object) {
                collect(child, space, definitions);
            }
            if let Some(name) = inner {
                let mut definition = object.clone();
                // It may be used from another namespace.
                definition.insert("name".to_owned(), Value::String(name.clone()));
                definitions.entry(name).or_insert(Value::Object(definition));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Replaces the first use of each defined name by its definition.
fn place(
    schema: &mut Value,
    space: Option<&str>,
    definitions: &BTreeMap<String, Value>,
    placed: &mut BTreeSet<String>,
    depth: usize,
) {
    if depth > DEEPEST {
        return;
    }
    match schema {
        Value::String(name) => {
            let local = space.map(|space| format!("{space}.{name}"));
            let full = local.filter(|local| !name.contains('.') && definitions.contains_key(local));
            let full = full.unwrap_or_else(|| name.clone());
            let Some(definition) = definitions.get(&full) else { return };
            if placed.insert(full.clone()) {
                let space = full.rsplit_once('.').map(|(space, _)| space.to_owned());
                let mut definition = definition.clone();
                place_within(&mut definition, space.as_deref(), definitions, placed, depth + 1);
                *schema = definition;
            } else {
                *schema = Value::String(full);
            }
        }
        Value::Array(branches) => {
            for branch in branches {
                place(branch, space, definitions, placed, depth + 1);
            }
        }
        Value::Object(object) => {
            let name = named(object).map(|name| full_name(name, object, space));
            if let Some(name) = &name
                && !placed.insert(name.clone())
            {
                *schema = Value::String(name.clone());
                return;
            }
            let inner = name.as_deref().map_or(space, |name| name.rsplit_once('.').map(|(space, _)| space));
            let inner = inner.map(str::to_owned);
            place_within(schema, inner.as_deref(), definitions, placed, depth + 1);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn place_within(
    schema: &mut Value,
    space: Option<&str>,
    definitions: &BTreeMap<String, Value>,
    placed: &mut BTreeSet<String>,
    depth: usize,
) {
    let Value::Object(object) = schema else { return };
    for key in ["type", "items", "values"] {
        if let Some(child) = object.get_mut(key)
            && !(key == "type" && is_kind(child))
        {
            place(child, space, definitions, placed, depth);
        }
    }
    if let Some(Value::Array(fields)) = object.get_mut("fields") {
        for field in fields.iter_mut().filter_map(|field| field.get_mut("type")) {
            place(field, space, definitions, placed, depth);
        }
    }
}

fn children(object: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let parts = ["type", "items", "values"].into_iter().filter_map(|key| object.get(key));
    let fields = object.get("fields").and_then(Value::as_array).into_iter().flatten();
    parts.chain(fields.filter_map(|field| field.get("type")))
}

/// Returns the name of a record, enum or fixed.
fn named(object: &Map<String, Value>) -> Option<&str> {
    let kind = object.get("type")?.as_str()?;
    matches!(kind, "record" | "error" | "enum" | "fixed").then(|| object.get("name")?.as_str()).flatten()
}

fn full_name(name: &str, object: &Map<String, Value>, space: Option<&str>) -> String {
    let space = object.get("namespace").and_then(Value::as_str).or(space).unwrap_or_default();
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

/// Says whether a `type` is a word of Avro's own.
fn is_kind(value: &Value) -> bool {
    value.as_str().is_some_and(|word| {
        matches!(
            word,
            "record"
                | "error"
                | "enum"
                | "fixed"
                | "array"
                | "map"
                | "null"
                | "boolean"
                | "int"
                | "long"
                | "float"
                | "double"
                | "bytes"
                | "string"
        )
    })
}

/// Deeper nesting is left as it is: the codec refuses it.
const DEEPEST: usize = 64;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::codec::{Codec, Limits};

    #[test]
    fn a_name_is_defined_where_it_is_used_first_and_named_afterwards() {
        let person = r#"{"type": "record", "name": "Person", "namespace": "blog", "fields": [{"name": "id", "type": "string"}]}"#;
        let post = r#"{"type": "record", "name": "Post", "namespace": "blog", "fields": [
            {"name": "author", "type": "Person"}, {"name": "editor", "type": ["null", "blog.Person"]}]}"#;

        let whole = whole(post, &[person.to_owned()]).unwrap();

        assert_eq!(whole.matches(r#""fields""#).count(), 2, "{whole}");
        Codec::new(Limits::default()).add_schema(Some(99), None, &whole).unwrap();
    }

    #[test]
    fn references_of_references_and_other_namespaces_are_found() {
        let place = r#"{"type": "enum", "name": "geo.Place", "symbols": ["HERE"]}"#;
        let person = r#"{"type": "record", "name": "Person", "namespace": "people", "fields": [{"name": "at", "type": "geo.Place"}]}"#;
        let post = r#"{"type": "record", "name": "Post", "fields": [
            {"name": "authors", "type": {"type": "array", "items": "people.Person"}}, {"name": "at", "type": "geo.Place"}]}"#;

        let whole = whole(post, &[place.to_owned(), person.to_owned()]).unwrap();

        assert_eq!(whole.matches("HERE").count(), 1, "{whole}");
        Codec::new(Limits::default()).add_schema(Some(99), None, &whole).unwrap();
    }

    #[test]
    fn a_schema_without_references_keeps_its_meaning() {
        for (_, avsc) in crate::codec::OURS {
            let codec = Codec::without_schemas(Limits::default());
            codec.add_schema(Some(1), None, avsc).unwrap();
            codec.add_schema(Some(1), None, &whole(avsc, &[]).unwrap()).unwrap();
        }
    }
}
