//! Every event survives the way to bytes and back, and no bytes at all are too odd.

use std::sync::LazyLock;

use postroom::codec::{Codec, Framing, Limits, SchemaRef};
use postroom::event::line::{Lines, write_line};
use postroom::event::{BlogEvent, EventId, PostPublished};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::manifest::{codec as corpus_codec, record};
use crate::records::polled;
use crate::strategies::{any_event, post};

fn codec() -> Codec {
    Codec::new(Limits::default())
}

fn back(codec: &Codec, event: &BlogEvent, framing: Framing) -> BlogEvent {
    let record = polled(&codec.encode(event, framing).unwrap());
    codec.envelope::<BlogEvent>(&record).unwrap().unwrap().event
}

proptest! {
    #[test]
    fn every_event_comes_back_as_it_was_in_both_framings(event in any_event()) {
        let codec = codec();

        for framing in [Framing::ConfluentV0, Framing::HeaderGuid] {
            prop_assert_eq!(&back(&codec, &event, framing), &event);
        }
    }

    #[test]
    fn the_envelope_says_what_the_event_says(event in any_event()) {
        let codec = codec();
        let outgoing = codec.encode(&event, Framing::ConfluentV0).unwrap();
        let record = polled(&outgoing);

        let envelope = codec.envelope::<BlogEvent>(&record).unwrap().unwrap();

        prop_assert_eq!(envelope.id.as_str(), event.event_id());
        prop_assert_eq!(envelope.event_type, event.event_type().name);
        prop_assert_eq!(envelope.time, event.occurred_at());
        prop_assert_eq!(outgoing.topic, event.event_type().topic);
        prop_assert_eq!(record.key(), Some(event.key().as_bytes()));
        let readable = codec.to_json(&record).unwrap().unwrap();
        prop_assert_eq!(readable.event_type, event.event_type().name);
        prop_assert_eq!(readable.fields["event_id"].as_str(), Some(event.event_id()));
    }

    #[test]
    fn what_an_older_producer_writes_is_read_with_defaults(post in post()) {
        let codec = codec();
        let event = BlogEvent::PostPublished(post);

        let record = polled(&codec.encode_with(&event, SchemaRef::Id(1)).unwrap());

        prop_assert_eq!(&codec.envelope::<BlogEvent>(&record).unwrap().unwrap().event, &event);
    }

    #[test]
    fn a_line_that_was_written_is_read_as_the_same_event(event in any_event()) {
        let empty = [event.key(), event.actor().unwrap_or("-")].iter().any(|text| text.is_empty());
        prop_assume!(!empty && !write_line(&event).contains("\":\"\""));

        let read = Lines::new(write_line(&event).as_bytes()).next().unwrap();

        prop_assert_eq!(read.unwrap(), event);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_bytes_make_it_panic(
        bytes in vec(any::<u8>(), 0..200),
        id in prop_oneof![1..14_u32, 9_001..9_020_u32],
        header in of_name(),
    ) {
        static CODEC: LazyLock<Codec> = LazyLock::new(corpus_codec);
        let codec = &*CODEC;
        let mut value = vec![0];
        value.extend_from_slice(&id.to_be_bytes());
        value.extend_from_slice(&bytes);

        for (value, header) in [(&value, None), (&bytes, header.as_deref())] {
            let headers: Vec<_> = header.map(|name| (name, Some(bytes.as_slice()))).into_iter().collect();
            let record = record(None, Some(value), None, &headers);
            drop(codec.envelope::<BlogEvent>(&record));
            drop(codec.to_json(&record));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_flipped_byte_makes_another_event_or_a_dead_letter(event in any_event(), at in any::<prop::sample::Index>(), to: u8) {
        let codec = codec();
        let mut outgoing = codec.encode(&event, Framing::ConfluentV0).unwrap();
        let value = outgoing.value.as_mut().unwrap();
        let at = at.index(value.len());
        value[at] = to;

        let outcome = codec.envelope::<BlogEvent>(&polled(&outgoing));

        if let Ok(Some(envelope)) = outcome
            && EventId::parse(envelope.event.event_id()).is_ok()
        {
            prop_assert_eq!(back(&codec, &envelope.event, Framing::ConfluentV0), envelope.event);
        }
    }
}

fn of_name() -> impl Strategy<Value = Option<String>> {
    let names = ["ce_id", "ce_type", "ce_time", "id", "content-type", "__value_schema_id", "x"];
    prop::option::of(prop::sample::select(names.map(str::to_owned).to_vec()))
}

#[test]
fn an_event_whose_id_would_be_refused_is_not_published() {
    for id in ["", "a\nb", &"x".repeat(256)] {
        let event = PostPublished { event_id: id.to_owned(), ..PostPublished::default() };

        assert!(codec().encode(&event, Framing::ConfluentV0).is_err(), "{id:?}");
    }
}

#[test]
fn the_id_is_the_first_of_header_field_and_place() {
    let codec = codec();
    let event = BlogEvent::PostPublished(PostPublished {
        event_id: "from the event".to_owned(),
        ..PostPublished::default()
    });
    let value = codec.encode(&event, Framing::ConfluentV0).unwrap().value.unwrap();
    let id = |headers: &[(&str, Option<&[u8]>)]| {
        let record = record(None, Some(&value), Some(7), headers);
        codec.envelope::<BlogEvent>(&record).unwrap().unwrap().id.to_string()
    };

    assert_eq!(id(&[("ce_id", Some(b"a")), ("id", Some(b"b"))]), "a");
    assert_eq!(id(&[("id", Some(b"b"))]), "b");
    assert_eq!(id(&[("ce_id", None)]), "from the event");
}

#[test]
fn the_time_is_the_header_s_else_the_record_s() {
    let codec = codec();
    let event =
        BlogEvent::PostPublished(PostPublished { event_id: "1".to_owned(), ..PostPublished::default() });
    let value = codec.encode(&event, Framing::ConfluentV0).unwrap().value.unwrap();
    let time = |timestamp, headers: &[(&str, Option<&[u8]>)]| {
        let record = record(None, Some(&value), timestamp, headers);
        codec.envelope::<BlogEvent>(&record).unwrap().unwrap().time
    };

    assert_eq!(time(Some(7), &[("ce_time", Some(b"1970-01-01T01:00:00.5+01:00"))]), 500);
    assert_eq!(time(Some(7), &[]), 7);
    assert_eq!(time(None, &[]), 0);
    assert_eq!(time(Some(i64::MAX), &[]), 253_402_300_799_999);
}
