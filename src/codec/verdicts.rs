//! The verdicts of another implementation of Avro, where its recorded cases are at hand.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "tests"
)]

use apache_avro::Schema;
use serde_json::Value;

use crate::codec::SchemaError;
use crate::codec::canonical::{canonical_form, fingerprint};
use crate::codec::fit::Fit;
use crate::codec::json::render;
use crate::codec::resolve::{pair, resolve};
use crate::codec::shape::MAX_SCHEMA_BYTES;
use crate::codec::verify::{Budget, Walk, verify};
use crate::codec::writer::{Ready, ready};

const FOLDER: &str = "../shared/data/avro-cases";
const JAVA_CASES: &str = "../shared/data/avro/share/test/data/schema-tests.txt";
const BUDGET: Budget = Budget { max_length: 1024 * 1024, max_values: 1_000_000 };

fn cases(file: &str) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(format!("{FOLDER}/{file}")) else {
        eprintln!("SKIPPED: {FOLDER}/{file} is missing");
        return Vec::new();
    };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn schema(value: &Value) -> Result<&'static Ready, SchemaError> {
    ready(&value.to_string(), MAX_SCHEMA_BYTES)
}

fn is_refused_as_recursive(schema: &str) -> bool {
    matches!(ready(schema, MAX_SCHEMA_BYTES), Err(SchemaError::Recursive(_)))
}

#[test]
fn fingerprints_are_those_of_everybody_else() {
    for case in cases("fingerprint.jsonl") {
        let text = case["schema"].as_str().unwrap();
        // The recorded implementation repeats the definition of a named type, against the specification.
        let repeats = text.contains("HandshakeRequest");
        if case["algorithm"] != "CRC-64-AVRO, little-endian" || is_refused_as_recursive(text) || repeats {
            continue;
        }
        let ready = ready(text, MAX_SCHEMA_BYTES).unwrap();
        let hex: String = ready.writer.rabin.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, case["hex"].as_str().unwrap(), "{text}");
    }
}

#[test]
fn canonical_forms_are_those_of_the_java_implementation() {
    let Ok(text) = std::fs::read_to_string(JAVA_CASES) else {
        eprintln!("SKIPPED: {JAVA_CASES} is missing");
        return;
    };
    let mut schema = None;
    let mut checked = 0;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(input) = line.strip_prefix("<<INPUT") {
            let mut long =
                || lines.by_ref().take_while(|line| *line != "INPUT").collect::<Vec<_>>().join("\n");
            let input = if input.is_empty() { long() } else { input.to_owned() };
            schema = Some(Schema::parse_str(&input).unwrap());
        } else if let (Some(canonical), Some(schema)) = (line.strip_prefix("<<canonical "), &schema) {
            assert_eq!(canonical_form(schema), canonical);
            checked += 1;
        } else if let (Some(number), Some(schema)) = (line.strip_prefix("<<fingerprint "), &schema) {
            assert_eq!(fingerprint(schema).cast_signed(), number.parse::<i64>().unwrap());
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} cases were found");
}

#[test]
fn schemas_are_compatible_where_others_say_so() {
    for case in cases("compat.jsonl") {
        let schemas = (schema(&case["writer"]), schema(&case["reader"]));
        let (Ok(writer), Ok(reader)) = schemas else {
            assert!(
                [&schemas.0, &schemas.1]
                    .into_iter()
                    .any(|schema| matches!(schema, Err(SchemaError::Recursive(_)))),
                "{case}"
            );
            continue;
        };
        let fit = pair(writer, reader).fit();
        let fits = matches!(fit, Fit::Same | Fit::Convert);
        assert_eq!(fits, case["compatible"].as_bool().unwrap(), "{fit:?} {case}");
    }
}

#[test]
fn data_decode_as_others_decode_them() {
    for case in cases("decode.jsonl") {
        // That suite sets the cap on items very low; ours is tested elsewhere. To read an index beyond the enum's
        // symbols as its default is arguable: to us such bytes are damaged.
        let arguable = case["error"] == "AvroCollectionSizeException" || case["hex"] == "04";
        if arguable || is_refused_as_recursive(&case["writer"].to_string()) {
            continue;
        }
        let hex = case["hex"].as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let writer = schema(&case["writer"]).unwrap();
        let reader = if case["reader"].is_null() { writer } else { schema(&case["reader"]).unwrap() };
        let verdict = verify(&writer.writer.shape, &bytes, BUDGET)
            .and_then(|()| resolve(writer, reader, &bytes, BUDGET));
        assert_eq!(verdict.is_err(), case.get("error").is_some(), "{verdict:?} {case:.400}");
        // Values that JSON has no word for are recorded with a `$`.
        if case.to_string().contains("\"$") {
            continue;
        }
        let Ok(value) = verdict else { continue };
        let encoded = reader.encoder.write_value_to_vec(value).unwrap();
        let mut walk = Walk::new(&encoded, BUDGET);
        let shown = render(&reader.writer.schema, reader.names.get_names(), &mut walk).unwrap();
        let same =
            shown == case["value"] || shown.as_f64().is_some_and(|shown| case["value"] == shown as i64);
        assert!(same, "{shown} {case}");
    }
}

#[test]
fn schemas_are_valid_where_others_say_so() {
    // Names of primitive types as names of enums, and records of type `error`, are judged otherwise by the library.
    let judged_otherwise =
        [r#"{"type": "enum", "name": "int", "symbols": ["A", "B"]}"#, r#"{"type": "error""#];
    for case in cases("schemas.jsonl") {
        let text = case["schema"].as_str().unwrap();
        if is_refused_as_recursive(text) || judged_otherwise.iter().any(|start| text.starts_with(start)) {
            continue;
        }
        assert_eq!(ready(text, MAX_SCHEMA_BYTES).is_ok(), case["valid"].as_bool().unwrap(), "{case}");
    }
}
