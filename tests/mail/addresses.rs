//! Addresses that others collected, with their verdicts: valid ones get exactly one mail, invalid ones a dead letter.

use std::collections::BTreeMap;
use std::fs;

use postroom::config::OnUnknown;
use postroom::core::Reason;
use postroom::testkit::Report;
use serde_json::Value;

use crate::effect::play;
use crate::relay::{Relay, Script};
use crate::shared;

#[test]
fn valid_addresses_get_exactly_one_mail_and_invalid_ones_a_dead_letter_each() {
    let Some(file) = shared("email-addresses/addresses.jsonl") else { return };
    let cases: Vec<Value> =
        fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |case: &Value, field: &str| case[field].as_str().unwrap_or_default().to_owned();
    // The collection writes control characters as the pictures that Unicode has for them.
    let address = |case: &Value| {
        let drawn = |char: char| match u32::from(char) {
            code @ 0x2400..=0x2420 => char::from_u32(code - 0x2400).unwrap(),
            _ => char,
        };
        text(case, "address").chars().map(drawn).collect::<String>()
    };
    let people: Vec<_> =
        cases.iter().enumerate().map(|(nth, case)| (format!("case-{nth}"), address(case))).collect();
    let relay = Relay::start(Script::default());

    // A few at a time: a group whose records are mostly dead letters stops itself.
    let reports: Vec<_> = people.chunks(20).map(|people| play(&relay, OnUnknown::Resend, people)).collect();
    let dead: Vec<_> = reports.iter().flat_map(Report::dead_letters).collect();

    let mut mailed: BTreeMap<String, usize> = BTreeMap::new();
    for mail in relay.mails() {
        assert_eq!(mail.to.len(), 1);
        let head = String::from_utf8_lossy(&mail.data).into_owned();
        let id = head.lines().find_map(|line| line.strip_prefix("List-Unsubscribe: <")).unwrap();
        let id = id.split_once("who=").unwrap().1.split_once('&').unwrap().0.to_owned();
        *mailed.entry(id).or_default() += 1;
    }
    assert!(mailed.values().all(|count| *count == 1), "{mailed:?}");
    assert!(dead.iter().all(|(reason, _)| *reason == Reason::Invalid));
    assert_eq!(mailed.len() + dead.len(), cases.len());
    let mut wrong = Vec::new();
    for ((id, address), case) in people.iter().zip(&cases) {
        let is_mailed = mailed.contains_key(id);
        // What only the grammar of headers allows (comments, folding, obsolete forms) no relay can be told: either way
        // is right for it.
        let verdict = match text(case, "category").as_str() {
            "ISEMAIL_VALID_CATEGORY" | "ISEMAIL_DNSWARN" => Some(true),
            "ISEMAIL_ERR" => Some(false),
            _ => None,
        };
        if verdict.is_some_and(|valid| valid != is_mailed) {
            wrong.push(format!("{address:?} {} mailed: {is_mailed}", text(case, "diagnosis")));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
