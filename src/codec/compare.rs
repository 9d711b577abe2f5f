//! Two schemas side by side: what stands between a reader and a writer's data, and how to mend it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a library's many kinds of schema: what is not named has no natural default"
)]

use apache_avro::Schema;
use apache_avro::schema::{NamesRef, RecordField, RecordSchema, UnionSchema};

use crate::codec::SchemaError;
use crate::codec::fit::{Base, Fit, Pair, base, describe, named, same_name, writer_field};
use crate::codec::resolve::{default_value, pair};
use crate::codec::shape::MAX_SCHEMA_BYTES;
use crate::codec::writer::ready;

/// Something that keeps a reader from reading what a writer wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Where, such as `author.name`, `tags[]`; empty for the record itself.
    pub path: String,
    /// What is in the way, in one sentence.
    pub what: String,
    /// What to write into the reader's schema; `None` where no line helps.
    pub fix: Option<String>,
}

/// What a schema is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFacts {
    /// The full name of its record; `None` where it is no record.
    pub record: Option<String>,
    /// CRC-64-AVRO of its parsing canonical form.
    pub fingerprint: u64,
    /// The GUID that is made from what it says: see `docs/events.md`.
    pub guid: [u8; 16],
}

/// Returns what a schema is known by.
///
/// # Errors
/// It is refused, and why.
pub fn schema_facts(avsc: &str) -> Result<SchemaFacts, SchemaError> {
    let ready = ready(avsc, MAX_SCHEMA_BYTES)?;
    let mut guid = [0; 16];
    for (byte, known) in guid.iter_mut().zip(ready.writer.identity) {
        *byte = known;
    }
    if let Some(version) = guid.get_mut(6) {
        *version = *version & 0x0f | 0x80;
    }
    if let Some(variant) = guid.get_mut(8) {
        *variant = *variant & 0x3f | 0x80;
    }
    Ok(SchemaFacts { record: ready.writer.record.clone(), fingerprint: ready.writer.rabin, guid })
}

/// Says whether two texts mean the same schema: white space, the order of names and `doc` aside.
///
/// # Errors
/// One of them is refused.
pub fn same_schema(one: &str, other: &str) -> Result<bool, SchemaError> {
    let (one, other) = (ready(one, MAX_SCHEMA_BYTES)?, ready(other, MAX_SCHEMA_BYTES)?);
    Ok(one.writer.identity == other.writer.identity)
}

/// Returns everything that keeps the reader's schema from reading *all* data of the writer's. Empty means compatible:
/// data that could be read only sometimes are an obstacle.
///
/// # Errors
/// One of the schemas is refused.
pub fn obstacles(writer: &str, reader: &str) -> Result<Vec<Obstacle>, SchemaError> {
    let (writer, reader) = (ready(writer, MAX_SCHEMA_BYTES)?, ready(reader, MAX_SCHEMA_BYTES)?);
    let mut found = Vec::new();
    walk(pair(writer, reader), "", &mut found);
    Ok(found)
}

fn walk(pair: Pair<'_>, path: &str, found: &mut Vec<Obstacle>) {
    let pair = pair.of(pair.writer, pair.reader);
    match (pair.writer, pair.reader) {
        (Schema::Record(writer), Schema::Record(reader)) => records(pair, writer, reader, path, found),
        (Schema::Union(writer), _) => {
            for branch in writer.variants() {
                walk(pair.of(branch, pair.reader), path, found);
            }
        }
        (_, Schema::Union(reader)) => into_union(pair, reader, path, found),
        (Schema::Array(writer), Schema::Array(reader)) => {
            walk(pair.of(&writer.items, &reader.items), &format!("{path}[]"), found);
        }
        (Schema::Map(writer), Schema::Map(reader)) => {
            walk(pair.of(&writer.types, &reader.types), &format!("{path}{{}}"), found);
        }
        (writer, reader) => match pair.fit() {
            Fit::Same | Fit::Convert => {}
            Fit::Sometimes(what) | Fit::Never(what) => {
                let fix = leaf_fix(writer, reader);
                found.push(Obstacle { path: path.to_owned(), what, fix: Some(fix) });
            }
        },
    }
}

fn into_union<'s>(pair: Pair<'s>, reader: &'s UnionSchema, path: &str, found: &mut Vec<Obstacle>) {
    if let Some((_, branch)) = pair.branch(reader) {
        return walk(pair.of(pair.writer, branch), path, found);
    }
    // A branch of the same kind says more precisely what is wrong.
    let kind = std::mem::discriminant(pair.writer);
    let near = reader.variants().iter().map(|branch| named(branch, pair.reader_names));
    if let Some(near) = near.into_iter().find(|near| std::mem::discriminant(*near) == kind) {
        return walk(pair.of(pair.writer, near), path, found);
    }
    let writer = describe(pair.writer);
    found.push(Obstacle {
        path: path.to_owned(),
        what: format!("the union has no branch for {writer}"),
        fix: Some(format!("add \"{writer}\" to the union")),
    });
}

fn records<'s>(
    pair: Pair<'s>,
    writer: &'s RecordSchema,
    reader: &'s RecordSchema,
    path: &str,
    found: &mut Vec<Obstacle>,
) {
    if !same_name(&writer.name, &reader.name, &reader.aliases) {
        found.push(Obstacle {
            path: path.to_owned(),
            what: format!("the record {} was named {}", reader.name, writer.name),
            fix: Some(format!("add \"aliases\": [\"{}\"] to the record {}", writer.name, reader.name)),
        });
    }
    for field in &reader.fields {
        let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
        match (writer_field(writer, field), &field.default) {
            (Some(written), _) => walk(pair.of(&written.schema, &field.schema), &path, found),
            (None, Some(default)) => {
                if default_value(default, &field.schema, pair.reader_names).is_none() {
                    let what = format!("its default {default} does not fit its type");
                    let fix = natural(&field.schema, pair.reader_names);
                    let fix = fix.map(|default| format!("write \"default\": {default}"));
                    found.push(Obstacle { path, what, fix });
                }
            }
            (None, None) => {
                let former = former_name(pair, writer, reader, field);
                found.push(no_default(path, field, former, pair.reader_names));
            }
        }
    }
}

fn no_default(path: String, field: &RecordField, former: Option<&str>, names: &NamesRef<'_>) -> Obstacle {
    let default = match natural(&field.schema, names) {
        Some(default) => format!("add \"default\": {default} to the field {}", field.name),
        None => format!("make {} a union with null first and add \"default\": null", field.name),
    };
    let fix = match former {
        Some(former) => {
            format!(
                "if it was named {former}: add \"aliases\": [\"{former}\"] to the field {}; else {default}",
                field.name
            )
        }
        None => default,
    };
    Obstacle { path, what: "the writer does not have it, and it has no default".to_owned(), fix: Some(fix) }
}

/// A field of the writer that nobody reads and that could be this one under its former name.
fn former_name<'s>(
    pair: Pair<'s>,
    writer: &'s RecordSchema,
    reader: &'s RecordSchema,
    field: &'s RecordField,
) -> Option<&'s str> {
    let is_read = |written: &RecordField| {
        let mut sources = reader.fields.iter().filter_map(|field| writer_field(writer, field));
        sources.any(|source| source.name == written.name)
    };
    let mut fields = writer.fields.iter().filter(|written| !is_read(written));
    let fits = |written: &&RecordField| {
        let fit = pair.of(&written.schema, &field.schema).fit();
        matches!(fit, Fit::Same | Fit::Convert)
    };
    fields.find(fits).map(|written| written.name.as_str())
}

/// A default that a field of this type can have, as JSON.
fn natural(schema: &Schema, names: &NamesRef<'_>) -> Option<String> {
    Some(match named(schema, names) {
        Schema::Union(union) => natural(union.variants().first()?, names)?,
        Schema::Enum(schema) => format!("\"{}\"", schema.symbols.first()?),
        Schema::Array(_) => "[]".to_owned(),
        Schema::Map(_) => "{}".to_owned(),
        other => match base(other)? {
            Base::Null => "null".to_owned(),
            Base::Boolean => "false".to_owned(),
            Base::Int | Base::Long => "0".to_owned(),
            Base::Float | Base::Double => "0.0".to_owned(),
            Base::Bytes | Base::Text => "\"\"".to_owned(),
            Base::Fixed(..) => return None,
        },
    })
}

fn leaf_fix(writer: &Schema, reader: &Schema) -> String {
    match (writer, reader) {
        (Schema::Enum(writer), Schema::Enum(reader))
            if same_name(&writer.name, &reader.name, &reader.aliases) =>
        {
            let default = reader.symbols.first().map(String::as_str).unwrap_or_default();
            format!("keep the symbols, or add \"default\": \"{default}\" to the enum {}", reader.name)
        }
        (Schema::Enum(_) | Schema::Fixed(_), Schema::Enum(_) | Schema::Fixed(_)) => match writer.name() {
            Some(name) => format!("add \"aliases\": [\"{name}\"] to {}", describe(reader)),
            None => KEEP.to_owned(),
        },
        _ => format!("keep {}, {KEEP}", describe(writer)),
    }
}

const KEEP: &str = "or add a new field with a default beside it";

/// Writes a GUID as people do: `6f1c0a52-…`.
pub fn guid_text(guid: &[u8; 16]) -> String {
    crate::codec::SchemaRef::Guid(*guid).to_string().trim_start_matches("guid ").to_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use apache_avro::schema_compatibility::SchemaCompatibility;
    use serde_json::Value;

    use super::*;

    /// Changed schemas, and whether the one after reads what the one before wrote. `tests/python/e2e_registry.py` holds
    /// a real registry to the same.
    fn cases() -> Vec<Value> {
        serde_json::from_str(include_str!("../../tests/corpus/schema_changes.json")).unwrap()
    }

    #[test]
    fn the_verdict_on_every_change_is_right_and_every_obstacle_has_a_place() {
        for case in cases() {
            let (before, after) = (case["before"].to_string(), case["after"].to_string());

            let found = obstacles(&before, &after).unwrap();

            assert_eq!(Value::from(found.is_empty()), case["compatible"], "{}: {found:?}", case["change"]);
            let is_compatible = matches!(pair_fit(&before, &after), Fit::Same | Fit::Convert);
            assert_eq!(
                found.is_empty(),
                is_compatible,
                "the reading itself judges so too: {}",
                case["change"]
            );
        }
    }

    fn pair_fit(before: &str, after: &str) -> Fit {
        let (before, after) =
            (ready(before, MAX_SCHEMA_BYTES).unwrap(), ready(after, MAX_SCHEMA_BYTES).unwrap());
        pair(before, after).fit()
    }

    /// Why the library's own check is not used: its verdicts are neither those of registries nor of our reading.
    #[test]
    fn the_librarys_check_is_wrong_where_it_is_known_to_be() {
        let mut wrong = Vec::new();
        for case in cases() {
            let [before, after] =
                ["before", "after"].map(|side| Schema::parse_str(&case[side].to_string()).unwrap());
            use apache_avro::schema_compatibility::Compatibility::Full;
            let verdict = SchemaCompatibility::can_read(&before, &after).is_ok_and(|found| found == Full);
            if case["compatible"] != verdict {
                wrong.push(case["change"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(
            wrong,
            [
                "an enum is renamed with an alias",
                "a record is renamed with an alias",
                "milliseconds become microseconds"
            ]
        );
    }

    #[test]
    fn each_obstacle_comes_with_the_line_that_mends_it() {
        let record = |fields: &str| format!(r#"{{"type": "record", "name": "Post", "fields": [{fields}]}}"#);
        let title = r#"{"name": "title", "type": "string"}"#;
        for (before, after, path, fix) in [
            (title, r#"{"name": "mood", "type": "int"}"#, "mood", r#"add "default": 0 to the field mood"#),
            (
                "",
                r#"{"name": "tags", "type": {"type": "array", "items": "string"}}"#,
                "tags",
                r#""default": []"#,
            ),
            (
                "",
                r#"{"name": "at", "type": ["null", "string"]}"#,
                "at",
                r#"add "default": null to the field at"#,
            ),
            (
                "",
                r#"{"name": "h", "type": {"type": "fixed", "name": "H", "size": 2}}"#,
                "h",
                "make h a union with null first",
            ),
            (
                title,
                r#"{"name": "headline", "type": "string"}"#,
                "headline",
                r#"if it was named title: add "aliases": ["title"] to the field headline; else add "default": "" to the field headline"#,
            ),
            (
                r#"{"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}}"#,
                r#"{"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A"]}}"#,
                "e",
                r#"keep the symbols, or add "default": "A" to the enum E"#,
            ),
            (
                r#"{"name": "n", "type": "long"}"#,
                r#"{"name": "n", "type": "int"}"#,
                "n",
                "keep long, or add a new field",
            ),
            (
                r#"{"name": "n", "type": ["null", "long"]}"#,
                r#"{"name": "n", "type": ["null", "string"]}"#,
                "n",
                r#"add "long" to the union"#,
            ),
            ("", r#"{"name": "n", "type": "int", "default": "none"}"#, "n", r#"write "default": 0"#),
        ] {
            let Ok(found) = obstacles(&record(before), &record(after)) else {
                // The library refuses a default that does not fit before we can name it.
                assert!(after.contains("none"), "{after}");
                continue;
            };
            assert_eq!(found.len(), 1, "{after}: {found:?}");
            assert_eq!(found[0].path, path);
            assert!(found[0].fix.as_ref().unwrap().contains(fix), "{:?}", found[0].fix);
        }
    }

    #[test]
    fn a_renamed_record_is_mended_by_an_alias_that_then_fits() {
        let before = r#"{"type": "record", "name": "blog.Post", "fields": []}"#;
        let after = r#"{"type": "record", "name": "blog.Entry", "fields": []}"#;

        let found = obstacles(before, after).unwrap();
        let mended = after.replace("\"fields\"", "\"aliases\": [\"blog.Post\"], \"fields\"");

        assert_eq!(
            found[0].fix.as_deref(),
            Some("add \"aliases\": [\"blog.Post\"] to the record blog.Entry")
        );
        assert!(obstacles(before, &mended).unwrap().is_empty());
    }

    #[test]
    fn changes_are_told_field_by_field() {
        use crate::codec::{ChangeKind, changes};
        let before = r#"{"type": "record", "name": "Post", "fields": [
            {"name": "title", "type": "string"}, {"name": "n", "type": "int", "default": 0},
            {"name": "gone", "type": "boolean"},
            {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
            {"name": "who", "type": ["null", {"type": "record", "name": "Who", "fields": []}]}]}"#;
        let after = r#"{"type": "record", "name": "Post", "doc": "new", "fields": [
            {"name": "headline", "type": "string", "aliases": ["title"]}, {"name": "n", "type": "long", "default": 1},
            {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "C"]}},
            {"name": "who", "type": ["null", {"type": "record", "name": "Who", "fields": [
                {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 0}]}, "string"]}]}"#;

        let told = changes(before, after).unwrap();

        let told: Vec<_> = told.iter().map(|one| (one.kind, one.path.as_str(), one.what.as_str())).collect();
        assert_eq!(
            told,
            [
                (ChangeKind::Changed, "headline", "named title before (an alias says so)"),
                (ChangeKind::Changed, "n", "int -> long"),
                (ChangeKind::Changed, "n", "default 0 -> 1"),
                (ChangeKind::Added, "e", "symbol C"),
                (ChangeKind::Removed, "e", "symbol B"),
                (ChangeKind::Added, "who.at", "timestamp-millis, default 0"),
                (ChangeKind::Added, "who", "branch string"),
                (ChangeKind::Removed, "gone", "boolean, no default"),
            ]
        );
        assert!(changes(before, before).unwrap().is_empty());
    }
}
