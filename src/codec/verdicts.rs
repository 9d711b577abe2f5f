//! The verdicts of another implementation of Avro, where its recorded cases are at hand.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "tests"
)]

use serde_json::Value;

use crate::codec::canonical::canonical_form;
use crate::codec::fit::Fit;
use crate::codec::json::render;
use crate::codec::resolve::{pair, resolve};
use crate::codec::shape::MAX_SCHEMA_BYTES;
use crate::codec::verify::{Budget, Walk, verify};
use crate::codec::writer::{Ready, ready};

const FOLDER: &str = "../shared/data/avro-cases";
const BUDGET: Budget = Budget { max_length: 1024 * 1024, max_values: 100_000 };

fn cases(file: &str) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(format!("{FOLDER}/{file}")) else {
        eprintln!("SKIPPED: {FOLDER}/{file} is missing");
        return Vec::new();
    };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn schema(value: &Value) -> Result<&'static Ready, crate::codec::SchemaError> {
    ready(&value.to_string(), MAX_SCHEMA_BYTES)
}

#[test]
fn fingerprints_are_those_of_everybody_else() {
    for case in cases("fingerprint.jsonl") {
        if case["algorithm"] != "CRC-64-AVRO, little-endian" {
            continue;
        }
        let text = case["schema"].as_str().unwrap();
        let Ok(ready) = ready(text, MAX_SCHEMA_BYTES) else {
            println!("refused {text}");
            continue;
        };
        let hex: String = ready.writer.rabin.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        println!(
            "{} {text} {} {}",
            hex == case["hex"].as_str().unwrap(),
            canonical_form(&ready.writer.schema),
            case["hex"]
        );
    }
}

#[test]
fn schemas_are_compatible_where_others_say_so() {
    for case in cases("compat.jsonl") {
        let (Ok(writer), Ok(reader)) = (schema(&case["writer"]), schema(&case["reader"])) else {
            println!("refused {case}");
            continue;
        };
        let fit = pair(writer, reader).fit();
        let fits = matches!(fit, Fit::Same | Fit::Convert);
        println!("{} {fit:?} {case}", fits == case["compatible"].as_bool().unwrap());
    }
}

#[test]
fn data_decode_as_others_decode_them() {
    for case in cases("decode.jsonl") {
        let Ok(writer) = schema(&case["writer"]) else {
            println!("refused {case}");
            continue;
        };
        let hex = case["hex"].as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let reader = if case["reader"].is_null() { writer } else { schema(&case["reader"]).unwrap() };
        let verdict = verify(&writer.writer.shape, &bytes, BUDGET)
            .and_then(|()| resolve(writer, reader, &bytes, BUDGET))
            .map(|value| {
                (
                    value,
                    render(&writer.writer.schema, writer.names.get_names(), &mut Walk::new(&bytes, BUDGET)),
                )
            });
        println!("{} {verdict:?} {case}", verdict.is_err() == case.get("error").is_some());
    }
}

#[test]
fn schemas_are_valid_where_others_say_so() {
    for case in cases("schemas.jsonl") {
        let ready = ready(case["schema"].as_str().unwrap(), MAX_SCHEMA_BYTES);
        println!("{} {:?} {case}", ready.is_ok() == case["valid"].as_bool().unwrap(), ready.map(|_| ()));
    }
}
