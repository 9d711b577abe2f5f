//! The corpus of bad input: each record becomes what the manifest says, in whatever shape it is cut.

use postroom::codec::{Codec, DecodeError, SchemaRef};
use postroom::event::{BlogEvent, RawRecord};
use postroom_core::{Class, Failure};

use crate::manifest::{Case, bytes, cases, codec};

fn outcome(codec: &Codec, record: &RawRecord) -> String {
    match codec.envelope::<BlogEvent>(record) {
        Ok(Some(_)) => "ok".to_owned(),
        Ok(None) => "skip".to_owned(),
        Err(error) => error.detail().code().to_owned(),
    }
}

#[test]
fn each_record_becomes_what_the_manifest_says() {
    let codec = codec();

    let wrong: Vec<String> = cases()
        .iter()
        .filter_map(|case| {
            let outcome = outcome(&codec, &case.record());
            let (row, name, expect) = (case.row, &case.name, &case.expect);
            let said = codec.envelope::<BlogEvent>(&case.record()).err();
            (outcome != *expect).then(|| format!("row {row}, {name}: {outcome}, not {expect}: {said:?}"))
        })
        .collect();

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_damage_is_a_dead_letter_with_a_reason_and_a_short_message() {
    let codec = codec();
    for case in cases() {
        let Err(error) = codec.envelope::<BlogEvent>(&case.record()) else { continue };

        let failure = Failure::from(error);

        assert!(matches!(failure.class, Class::Dead(_)), "{}: {failure}", case.name);
        assert!(!failure.message.is_empty() && failure.message.len() < 1_024, "{}: {failure}", case.name);
    }
}

#[test]
fn a_good_record_cut_anywhere_is_truncated() {
    let codec = codec();
    for case in cases().iter().filter(|case| case.expect == "ok") {
        let by_guid = case.headers.iter().any(|(name, _)| name == "__value_schema_id");
        let whole = bytes(case.value.as_deref().unwrap());

        for length in 0..whole.len() {
            let cut: String = whole[..length].iter().map(|byte| format!("{byte:02x}")).collect();
            let (name, expect, key) = (case.name.clone(), String::new(), None);
            let case = Case {
                row: 9,
                name,
                expect,
                key,
                headers: case.headers.clone(),
                value: Some(cut),
                timestamp: None,
            };

            let expected = match length {
                _ if by_guid => "truncated",
                0 => "empty",
                1..=4 => "short_header",
                _ => "truncated",
            };
            assert_eq!(outcome(&codec, &case.record()), expected, "{} cut to {length} bytes", case.name);
        }
    }
}

#[test]
fn an_unknown_schema_is_asked_for_by_the_name_that_the_record_gives() {
    let codec = codec();
    let unknown = cases().into_iter().find(|case| case.name == "schema id 2147483647").unwrap();

    let error = codec.envelope::<BlogEvent>(&unknown.record()).unwrap_err();

    assert_eq!(error, DecodeError::NeedsSchema(SchemaRef::Id(0x7fff_ffff)));
}
