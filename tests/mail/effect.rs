//! The whole effect in the real core: from requests to a relay.

use std::sync::Arc;
use std::time::Duration;

use postroom::Group;
use postroom::config::OnUnknown;
use postroom::core::Reason;
use postroom::effects::Mail;
use postroom::ports::Param;
use postroom::testkit::{Report, TestBench};

use crate::relay::{Content, Relay, Script};
use crate::{NOW, request, smtp, stationery};

/// Plays requests to `(id, address)`.
pub(crate) fn play(relay: &Relay, on_unknown: OnUnknown, people: &[(String, String)]) -> Report {
    let mail = Mail {
        mailer: Arc::new(smtp(relay.port)),
        stationery: stationery(),
        budget: Duration::from_secs(2 * 86_400),
        on_unknown,
        owner: "us".to_owned(),
        now: || NOW,
    };
    let bench = TestBench::new(Group::each("mail", mail));
    people.iter().fold(bench, |bench, (id, address)| bench.given(&request(id, address))).run()
}

pub(crate) fn people<const N: usize>(names: [&str; N]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), format!("{name}@example.org"))).collect()
}

#[test]
fn a_refused_recipient_is_one_dead_letter_and_the_others_get_one_mail_each() {
    let relay = Relay::start(Script {
        recipient: |address, _| if address.starts_with("bo@") { "550 5.1.1 no such user" } else { "250 ok" },
        ..Script::default()
    });

    let report = play(&relay, OnUnknown::Resend, &people(["ana", "bo", "cy"]));

    let dead = report.dead_letters();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].0, Reason::Rejected);
    assert!(dead[0].1.contains("550 5.1.1 no such user"), "{}", dead[0].1);
    let mut to: Vec<_> = relay.mails().iter().map(|mail| mail.to.clone()).collect();
    to.sort();
    assert_eq!(to, [["ana@example.org"], ["cy@example.org"]]);
    assert_eq!((report.committed(), report.retries()), (3, 0));
    // All three rows of the outbox are closed, the refused one's before its dead letter is acknowledged.
    let closed = report.rows("SELECT id FROM dedupe ORDER BY id");
    let ids = ["ana", "bo/closed/blog.mail/0/1", "cy"].map(|id| vec![Param::Text(id.to_owned())]);
    assert_eq!(closed, ids);
}

#[test]
fn a_greylisted_mail_that_no_outbox_asked_for_is_tried_again_in_memory() {
    let relay = Relay::start(Script {
        recipient: |address, nth| match (address, nth) {
            ("ana@example.org", 1..=3) | ("bo@example.org", _) => "451 4.7.1 greylisted",
            _ => "250 ok",
        },
        ..Script::default()
    });

    let report = play(&relay, OnUnknown::Resend, &people(["ana", "bo"]));

    assert_eq!(relay.mails().iter().map(|mail| mail.to[0].as_str()).collect::<Vec<_>>(), ["ana@example.org"]);
    let dead = report.dead_letters();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].0, Reason::Exhausted);
    assert!(dead[0].1.contains("451 4.7.1 greylisted"), "{}", dead[0].1);
    assert_eq!(report.retries(), 3 + 7);
}

#[test]
fn a_relay_that_is_closing_costs_no_attempt_and_gets_the_mail_when_it_is_back() {
    let relay = Relay::start(Script {
        recipient: |_, nth| if nth <= 12 { "421 4.3.2 closing" } else { "250 ok" },
        ..Script::default()
    });

    let report = play(&relay, OnUnknown::Resend, &people(["ana"]));

    assert!(report.dead_letters().is_empty(), "{:?}", report.dead_letters());
    assert_eq!(relay.mails().len(), 1);
    assert_eq!(report.committed(), 1);
}

#[test]
fn a_lost_reply_is_parked_where_at_most_one_mail_is_wanted() {
    let relay = Relay::start(Script { content: Content::Drop, ..Script::default() });

    let report = play(&relay, OnUnknown::Park, &people(["ana"]));

    assert_eq!(relay.mails().len(), 1);
    assert_eq!(report.dead_letters().len(), 1);
    assert!(report.dead_letters()[0].1.contains("unknown"), "{:?}", report.dead_letters());
}
