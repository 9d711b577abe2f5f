//! What changed from one schema to another, for people: fields, types, defaults, symbols.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a library's many kinds of schema: the rest have a name or a word"
)]

use std::collections::BTreeSet;

use apache_avro::Schema;
use apache_avro::schema::{NamesRef, RecordField, RecordSchema};

use crate::codec::SchemaError;
use crate::codec::fit::named;
use crate::codec::shape::MAX_SCHEMA_BYTES;
use crate::codec::writer::ready;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What kind of difference.
    pub kind: ChangeKind,
    /// Where, such as `author.name`; empty for the schema itself.
    pub path: String,
    /// What it was and is.
    pub what: String,
}

/// What kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is something else than it was.
    Changed,
    /// It is gone.
    Removed,
}

impl ChangeKind {
    /// Returns the word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// Returns the differences between two schemas; documentation does not count.
///
/// # Errors
/// One of them is refused.
pub fn changes(before: &str, after: &str) -> Result<Vec<Change>, SchemaError> {
    let (before, after) = (ready(before, MAX_SCHEMA_BYTES)?, ready(after, MAX_SCHEMA_BYTES)?);
    let mut comparison =
        Comparison { before: before.names.get_names(), after: after.names.get_names(), found: Vec::new() };
    comparison.schemas(&before.writer.schema, &after.writer.schema, "");
    Ok(comparison.found)
}

struct Comparison<'s> {
    before: &'s NamesRef<'s>,
    after: &'s NamesRef<'s>,
    found: Vec<Change>,
}

impl<'s> Comparison<'s> {
    fn note(&mut self, kind: ChangeKind, path: &str, what: String) {
        self.found.push(Change { kind, path: path.to_owned(), what });
    }

    fn schemas(&mut self, before: &'s Schema, after: &'s Schema, path: &str) {
        match (named(before, self.before), named(after, self.after)) {
            (Schema::Record(before), Schema::Record(after)) => self.records(before, after, path),
            (Schema::Array(before), Schema::Array(after)) => {
                self.schemas(&before.items, &after.items, &format!("{path}[]"));
            }
            (Schema::Map(before), Schema::Map(after)) => {
                self.schemas(&before.types, &after.types, &format!("{path}{{}}"));
            }
            (Schema::Union(before), Schema::Union(after)) => {
                self.unions(before.variants(), after.variants(), path);
            }
            (Schema::Enum(before), Schema::Enum(after)) if before.name == after.name => {
                self.symbols(&before.symbols, &after.symbols, path);
                if before.default != after.default {
                    let [was, is] = [&before.default, &after.default].map(|default| {
                        default.as_ref().map_or_else(|| "none".to_owned(), |symbol| format!("{symbol:?}"))
                    });
                    self.note(ChangeKind::Changed, path, format!("default {was} -> {is}"));
                }
            }
            (was, is) => {
                let [was, is] = [type_text(was), type_text(is)];
                if was != is {
                    self.note(ChangeKind::Changed, path, format!("{was} -> {is}"));
                }
            }
        }
    }

    fn records(&mut self, before: &'s RecordSchema, after: &'s RecordSchema, path: &str) {
        if before.name != after.name {
            self.note(ChangeKind::Changed, path, format!("record {} -> {}", before.name, after.name));
        }
        let at = |field: &RecordField| {
            if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) }
        };
        let mut taken = BTreeSet::new();
        for field in &after.fields {
            let names = std::iter::once(&field.name).chain(&field.aliases);
            let was = names.filter_map(|name| before.fields.iter().find(|was| was.name == *name)).next();
            let Some(was) = was else {
                self.note(ChangeKind::Added, &at(field), with_default(field));
                continue;
            };
            taken.insert(was.name.as_str());
            if was.name != field.name {
                let what = format!("named {} before (an alias says so)", was.name);
                self.note(ChangeKind::Changed, &at(field), what);
            }
            self.schemas(&was.schema, &field.schema, &at(field));
            if was.default != field.default {
                let [was, is] = [&was.default, &field.default]
                    .map(|default| default.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string));
                self.note(ChangeKind::Changed, &at(field), format!("default {was} -> {is}"));
            }
        }
        for field in before.fields.iter().filter(|field| !taken.contains(field.name.as_str())) {
            self.note(ChangeKind::Removed, &at(field), with_default(field));
        }
    }

    fn unions(&mut self, before: &'s [Schema], after: &'s [Schema], path: &str) {
        for branch in after {
            match before.iter().find(|was| type_text(was) == type_text(branch)) {
                Some(was) => self.schemas(was, branch, path),
                None => self.note(ChangeKind::Added, path, format!("branch {}", type_text(branch))),
            }
        }
        for was in before.iter().filter(|was| !after.iter().any(|is| type_text(is) == type_text(was))) {
            self.note(ChangeKind::Removed, path, format!("branch {}", type_text(was)));
        }
    }

    fn symbols(&mut self, before: &[String], after: &[String], path: &str) {
        for symbol in after.iter().filter(|symbol| !before.contains(symbol)) {
            self.note(ChangeKind::Added, path, format!("symbol {symbol}"));
        }
        for symbol in before.iter().filter(|symbol| !after.contains(symbol)) {
            self.note(ChangeKind::Removed, path, format!("symbol {symbol}"));
        }
    }
}

fn with_default(field: &RecordField) -> String {
    match &field.default {
        Some(default) => format!("{}, default {default}", type_text(&field.schema)),
        None => format!("{}, no default", type_text(&field.schema)),
    }
}

/// A type in few words.
fn type_text(schema: &Schema) -> String {
    match schema {
        Schema::Array(array) => format!("array of {}", type_text(&array.items)),
        Schema::Map(map) => format!("map of {}", type_text(&map.types)),
        Schema::Union(union) => {
            let branches: Vec<_> = union.variants().iter().map(type_text).collect();
            format!("[{}]", branches.join(", "))
        }
        Schema::Decimal(decimal) => format!("decimal({}, {})", decimal.precision, decimal.scale),
        other => match other.name() {
            Some(name) => name.to_string(),
            None => kind_text(other),
        },
    }
}

/// The word of Avro for a type without a name.
fn kind_text(schema: &Schema) -> String {
    let kind = format!("{:?}", apache_avro::schema::SchemaKind::from(schema));
    let mut text = String::new();
    for letter in kind.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
