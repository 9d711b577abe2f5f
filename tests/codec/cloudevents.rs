//! The scenarios of the CloudEvents project for Kafka, as far as they concern Avro in binary mode.

use postroom::codec::{Codec, Detail, Framing, Limits};
use postroom::event::{EventRecord, EventType};
use serde::{Deserialize, Serialize};

use crate::manifest::record;
use crate::records::polled;

const SCENARIOS: &str = "../shared/data/cloudevents/features/kafka-protocol-binding.feature";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SomeEvent {
    message: String,
}

impl EventRecord for SomeEvent {
    const TYPE: EventType = EventType {
        name: "com.example.someevent",
        record: "com.example.SomeEvent",
        topic: "some",
        schema: r#"{"type": "record", "name": "SomeEvent", "namespace": "com.example", "fields": [{"name": "message", "type": "string"}]}"#,
    };

    fn event_id(&self) -> Option<&str> {
        Some("1234-1234-1234")
    }

    fn time(&self) -> Option<i64> {
        Some(1_522_900_584_000)
    }
}

fn codec() -> Codec {
    let codec = Codec::new(Limits::default());
    codec.add_schema(Some(700), None, SomeEvent::TYPE.schema).unwrap();
    codec
}

/// The first table after a line: two columns, without the head.
fn table<'t>(text: &'t str, after: &str) -> Vec<(&'t str, &'t str)> {
    let start = text.find(after).unwrap();
    let rows = text[start..].lines().skip(1).map(str::trim).take_while(|line| line.starts_with('|'));
    rows.skip(1)
        .map(|row| row.trim_matches('|').split_once('|').unwrap())
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect()
}

#[test]
fn headers_of_the_binary_mode_become_the_envelope() {
    let Ok(text) = std::fs::read_to_string(SCENARIOS) else {
        eprintln!("SKIPPED: {SCENARIOS} is missing");
        return;
    };
    let said = table(&text, "And Kafka headers:");
    let wanted = table(&text, "Then the attributes are:");
    let attribute = |name: &str| wanted.iter().find(|(key, _)| *key == name).unwrap().1;
    let codec = codec();
    let event = SomeEvent { message: "Hello World!".to_owned() };
    let value = codec.encode(&event, Framing::ConfluentV0).unwrap().value.unwrap();
    let headers: Vec<(&str, Option<&[u8]>)> = said
        .iter()
        .map(|(name, value)| {
            (*name, Some(if *name == "content-type" { "application/avro" } else { value }.as_bytes()))
        })
        .collect();

    let envelope = codec.envelope::<SomeEvent>(&record(None, Some(&value), None, &headers)).unwrap().unwrap();

    assert_eq!(envelope.id.as_str(), attribute("id"));
    assert_eq!(envelope.event_type, attribute("type"));
    assert_eq!(envelope.time, 1_522_900_584_000);
    assert_eq!(attribute("time"), "2018-04-05T03:56:24Z");
    assert_eq!(envelope.event, event);
}

#[test]
fn what_we_write_has_the_headers_that_the_binary_mode_asks_for() {
    let outgoing = codec().encode(&SomeEvent { message: String::new() }, Framing::ConfluentV0).unwrap();

    let record = polled(&outgoing);

    let header = |name: &str| record.header(name).map(|value| std::str::from_utf8(value).unwrap());
    assert_eq!(header("ce_specversion"), Some("1.0"));
    assert_eq!(header("ce_id"), Some("1234-1234-1234"));
    assert_eq!(header("ce_type"), Some("com.example.someevent"));
    assert_eq!(header("ce_time"), Some("2018-04-05T03:56:24Z"));
    assert_eq!(header("content-type"), Some("application/avro"));
    assert!(header("ce_source").is_some_and(|source| !source.is_empty()));
}

#[test]
fn the_structured_mode_is_a_dead_letter_that_says_so() {
    for content_type in ["application/cloudevents+json", "application/cloudevents+json; charset=utf-8"] {
        let headers = [("content-type", Some(content_type.as_bytes()))];
        let record =
            record(None, Some(br#"{"specversion":"1.0","type":"com.example.someevent"}"#), None, &headers);

        let error = codec().envelope::<SomeEvent>(&record).unwrap_err();

        assert_eq!(error.detail(), Detail::WrongFormat);
        assert!(error.to_string().contains(content_type.split(';').next().unwrap()), "{error}");
    }
}
