//! Avro's parsing canonical form and its fingerprint.
//!
//! Our own, because the library keeps `{"type": "long"}` where a logical type was stripped: its fingerprints of
//! such schemas are not the ones that everybody else computes.

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::schema::{DecimalSchema, FixedSchema, InnerDecimalSchema, Name, UuidSchema};
use sha2::Digest;

/// Returns the CRC-64-AVRO fingerprint of a schema's parsing canonical form.
pub(crate) fn fingerprint(schema: &Schema) -> u64 {
    let hash = Rabin::digest(canonical_form(schema).as_bytes());
    hash.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Returns the parsing canonical form.
pub(crate) fn canonical_form(schema: &Schema) -> String {
    let mut form = String::new();
    write_form(schema, &mut form, &mut Vec::new());
    form
}

fn write_form(schema: &Schema, form: &mut String, defined: &mut Vec<Name>) {
    match schema {
        Schema::Null => form.push_str("\"null\""),
        Schema::Boolean => form.push_str("\"boolean\""),
        Schema::Int | Schema::Date | Schema::TimeMillis => form.push_str("\"int\""),
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => form.push_str("\"long\""),
        Schema::Float => form.push_str("\"float\""),
        Schema::Double => form.push_str("\"double\""),
        Schema::Bytes
        | Schema::BigDecimal
        | Schema::Uuid(UuidSchema::Bytes)
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Bytes, .. }) => {
            form.push_str("\"bytes\"")
        }
        Schema::String | Schema::Uuid(UuidSchema::String) => form.push_str("\"string\""),
        Schema::Fixed(fixed)
        | Schema::Duration(fixed)
        | Schema::Uuid(UuidSchema::Fixed(fixed))
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
            write_fixed(fixed, form, defined);
        }
        Schema::Ref { name } => write_text(name.as_ref(), form),
        Schema::Array(array) => {
            form.push_str("{\"type\":\"array\",\"items\":");
            write_form(&array.items, form, defined);
            form.push('}');
        }
        Schema::Map(map) => {
            form.push_str("{\"type\":\"map\",\"values\":");
            write_form(&map.types, form, defined);
            form.push('}');
        }
        Schema::Union(union) => {
            write_list(union.variants(), form, |branch, form| write_form(branch, form, defined));
        }
        Schema::Enum(schema) if begin_named(&schema.name, "enum", form, defined) => {
            form.push_str(",\"symbols\":");
            write_list(&schema.symbols, form, |symbol, form| write_text(symbol, form));
            form.push('}');
        }
        Schema::Record(record) if begin_named(&record.name, "record", form, defined) => {
            form.push_str(",\"fields\":");
            write_list(&record.fields, form, |field, form| {
                form.push_str("{\"name\":");
                write_text(&field.name, form);
                form.push_str(",\"type\":");
                write_form(&field.schema, form, defined);
                form.push('}');
            });
            form.push('}');
        }
        Schema::Enum(_) | Schema::Record(_) => {}
    }
}

fn write_fixed(fixed: &FixedSchema, form: &mut String, defined: &mut Vec<Name>) {
    if begin_named(&fixed.name, "fixed", form, defined) {
        form.push_str(",\"size\":");
        form.push_str(&fixed.size.to_string());
        form.push('}');
    }
}

/// Opens the definition of a named type; a type that was defined before is written as its name, and `false`.
fn begin_named(name: &Name, kind: &str, form: &mut String, defined: &mut Vec<Name>) -> bool {
    let first = !defined.contains(name);
    if first {
        defined.push(name.clone());
        form.push_str("{\"name\":");
    }
    write_text(name.as_ref(), form);
    if first {
        form.push_str(",\"type\":");
        write_text(kind, form);
    }
    first
}

fn write_list<T>(items: &[T], form: &mut String, mut write: impl FnMut(&T, &mut String)) {
    form.push('[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            form.push(',');
        }
        write(item, form);
    }
    form.push(']');
}

fn write_text(text: &str, form: &mut String) {
    form.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => form.extend(['\\', letter]),
            control if control.is_control() => {
                form.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => form.push(other),
        }
    }
    form.push('"');
}
