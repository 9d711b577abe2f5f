//! A user's own event type works exactly as ours do, over all that its schema may go through.

use postroom::codec::{Codec, DecodeError, Detail, Framing, Limits, SchemaError, SchemaRef};
use postroom::event::{BlogEvent, EventRecord, EventType};
use postroom_core::Reason;
use serde::{Deserialize, Serialize};

use crate::manifest::record;
use crate::records::polled;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Mood {
    Good,
    Bad,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rated {
    item: String,
    stars: i64,
    #[serde(default)]
    language: String,
    mood: Mood,
    price: f64,
    #[serde(default)]
    place: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    town: String,
}

impl EventRecord for Rated {
    const TYPE: EventType = EventType {
        name: "item.rated",
        record: "shop.Rated",
        topic: "shop.ratings",
        schema: r#"{"type": "record", "name": "Rated", "namespace": "shop", "aliases": ["old.Rating"], "fields": [
            {"name": "item", "type": "string", "aliases": ["article"]},
            {"name": "stars", "type": "long"},
            {"name": "language", "type": "string", "default": "en"},
            {"name": "mood", "type": {"type": "enum", "name": "Mood", "symbols": ["Good", "Bad", "Unknown"], "default": "Unknown"}},
            {"name": "price", "type": "double"},
            {"name": "place", "type": ["null", {"type": "record", "name": "Place", "fields": [{"name": "town", "type": "string"}]}], "default": null}
        ]}"#,
    };

    fn check(&self) -> Result<(), String> {
        if self.price.is_finite() { Ok(()) } else { Err(format!("{} is no price", self.price)) }
    }
}

const MOOD: &str = r#"{"type": "enum", "name": "Mood", "symbols": ["Good", "Bad", "Unknown"]}"#;

fn writer(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "Rated", "namespace": "shop", "fields": [{fields}]}}"#)
}

fn read(avsc: &str, datum: &[u8]) -> Result<Rated, DecodeError> {
    let codec = Codec::new(Limits::default());
    codec.add_schema(Some(500), None, avsc).unwrap();
    let mut value = vec![0, 0, 0, 1, 0xf4];
    value.extend_from_slice(datum);
    let record = record(None, Some(&value), None, &[("ce_type", Some(b"item.rated"))]);
    codec.envelope::<Rated>(&record).map(|envelope| envelope.unwrap().event)
}

fn rated() -> Rated {
    Rated {
        item: "i".to_owned(),
        stars: 3,
        language: "en".to_owned(),
        mood: Mood::Good,
        price: 1.5,
        place: None,
    }
}

const PRICE: [u8; 8] = 1.5_f64.to_le_bytes();

fn datum(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn it_is_encoded_and_decoded_once_its_schema_is_added() {
    let codec = Codec::new(Limits::default());
    let event = Rated { place: Some(Place { town: "Ulm".to_owned() }), ..rated() };
    assert!(codec.encode(&event, Framing::ConfluentV0).is_err());

    codec.add_schema(Some(500), Some([5; 16]), Rated::TYPE.schema).unwrap();

    for framing in [Framing::ConfluentV0, Framing::HeaderGuid] {
        let outgoing = codec.encode(&event, framing).unwrap();
        assert_eq!((outgoing.topic.as_str(), &outgoing.key), ("shop.ratings", &None));
        let envelope = codec.envelope::<Rated>(&polled(&outgoing)).unwrap().unwrap();
        assert_eq!(envelope.event, event);
        assert_eq!(envelope.id.as_str(), "blog.posts/3/42");
        assert!(codec.envelope::<BlogEvent>(&polled(&outgoing)).unwrap().is_none());
    }
}

#[test]
fn a_default_is_the_schema_s_not_the_struct_s() {
    let avsc = writer(&format!(
        r#"{{"name": "item", "type": "string"}}, {{"name": "stars", "type": "long"}}, {{"name": "mood", "type": {MOOD}}}, {{"name": "price", "type": "double"}}"#
    ));

    let event = read(&avsc, &datum(&[b"\x02i\x06", b"\x00", &PRICE])).unwrap();

    assert_eq!(event, rated());
}

#[test]
fn fields_may_be_reordered_renamed_widened_and_added() {
    let avsc = format!(
        r#"{{"type": "record", "name": "Rating", "namespace": "old", "fields": [
            {{"name": "price", "type": "float"}},
            {{"name": "extra", "type": {{"type": "map", "values": {{"type": "array", "items": "bytes"}}}}}},
            {{"name": "mood", "type": {MOOD}}},
            {{"name": "stars", "type": "int"}},
            {{"name": "place", "type": {{"type": "record", "name": "Place", "fields": [{{"name": "town", "type": "string"}}]}}}},
            {{"name": "article", "type": "string"}}
        ]}}"#
    );
    let datum = datum(&[
        &1.5_f32.to_le_bytes(),
        b"\x02\x02k\x02\x02b\x00\x00",
        b"\x00",
        b"\x06",
        b"\x06Ulm",
        b"\x02i",
    ]);

    let event = read(&avsc, &datum).unwrap();

    assert_eq!(event, Rated { place: Some(Place { town: "Ulm".to_owned() }), ..rated() });
}

#[test]
fn a_symbol_of_a_newer_writer_becomes_the_reader_s_default() {
    let newer = r#"{"type": "enum", "name": "Mood", "symbols": ["Good", "Bad", "Unknown", "Ecstatic"]}"#;
    let avsc = writer(&format!(
        r#"{{"name": "item", "type": "string"}}, {{"name": "stars", "type": "long"}}, {{"name": "language", "type": "string"}}, {{"name": "mood", "type": {newer}}}, {{"name": "price", "type": "double"}}"#
    ));

    assert_eq!(read(&avsc, &datum(&[b"\x02i\x06\x04en", b"\x06", &PRICE])).unwrap().mood, Mood::Unknown);
    assert_eq!(read(&avsc, &datum(&[b"\x02i\x06\x04en", b"\x02", &PRICE])).unwrap().mood, Mood::Bad);
}

#[test]
fn a_price_that_is_no_number_is_invalid() {
    let reader = Rated::TYPE.schema;
    for price in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let datum = datum(&[b"\x02i\x06\x04en\x00", &price.to_le_bytes(), b"\x00"]);

        let error = read(reader, &datum).unwrap_err();

        assert_eq!((error.detail(), error.reason()), (Detail::Range, Reason::Invalid));
    }
}

#[test]
fn what_cannot_be_reconciled_is_named_with_both_schemas() {
    let avsc = writer(r#"{"name": "item", "type": "string"}, {"name": "stars", "type": "double"}"#);

    let error = read(&avsc, &datum(&[b"\x02i", &PRICE])).unwrap_err();

    assert_eq!((error.detail(), error.reason()), (Detail::Incompatible, Reason::Undecodable));
    let words = error.to_string();
    assert!(
        words.contains("id 500") && words.contains("item.rated") && words.contains("field stars"),
        "{words}"
    );
}

#[test]
fn schemas_that_cannot_be_bounded_are_refused() {
    let codec = Codec::new(Limits::default());
    let refusal = |avsc: &str| codec.add_schema(Some(600), None, avsc).unwrap_err();
    let fields = |count: usize| {
        let fields: Vec<String> =
            (0..count).map(|n| format!(r#"{{"name": "f{n}", "type": "int"}}"#)).collect();
        writer(&fields.join(","))
    };
    let nested = |depth: usize| {
        let (open, close) = (r#"{"type": "array", "items": "#.repeat(depth), "}".repeat(depth));
        format!("{open}\"int\"{close}")
    };
    // Each record holds the one before twice: a few hundred bytes that stand for 2^40 values.
    let mut doubled = r#"{"type": "record", "name": "R0", "fields": []}"#.to_owned();
    for level in 1..25 {
        let below = level - 1;
        doubled = format!(
            r#"{{"type": "record", "name": "R{level}", "fields": [{{"name": "a", "type": {doubled}}}, {{"name": "b", "type": "R{below}"}}]}}"#
        );
    }

    assert!(matches!(
        refusal(r#"{"type": "record", "name": "Tree", "fields": [{"name": "replies", "type": {"type": "array", "items": "Tree"}}]}"#),
        SchemaError::Recursive(name) if name == "Tree"
    ));
    for avsc in [
        fields(10_000),
        nested(100),
        doubled,
        r#"{"type": "fixed", "name": "F", "size": 4294967296}"#.to_owned(),
        format!(r#"{{"type": "fixed", "name": "{}", "size": 4}}"#, "n".repeat(100_000)),
        format!(r#"{{"type": "string", "doc": "{}"}}"#, "d".repeat(10_000_000)),
    ] {
        let error = refusal(&avsc);
        assert!(matches!(error, SchemaError::TooLarge { .. }), "{error:.200}");
    }
    for avsc in [
        "",
        "nonsense",
        "{",
        r#"{"type": "record", "name": "bad name", "fields": []}"#,
        &nested(2_000),
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Unheard"}]}"#,
    ] {
        assert!(matches!(refusal(avsc), SchemaError::Malformed(_)), "{avsc:.100}");
    }
    assert!(codec.add_schema(Some(600), None, &fields(4_000)).is_ok());
}

#[test]
fn a_name_stands_for_one_schema_for_good() {
    let codec = Codec::new(Limits::default());
    codec.add_schema(Some(600), Some([6; 16]), r#"{"type": "long"}"#).unwrap();

    assert_eq!(codec.add_schema(Some(600), None, r#"{ "type":"long", "doc": "same" }"#), Ok(()));
    let taken = codec.add_schema(Some(600), None, r#"{"type": "long", "logicalType": "timestamp-millis"}"#);
    assert_eq!(taken, Err(SchemaError::Taken(SchemaRef::Id(600))));
    let taken = codec.add_schema(None, Some([6; 16]), r#"{"type": "int"}"#);
    assert_eq!(taken, Err(SchemaError::Taken(SchemaRef::Guid([6; 16]))));
}
