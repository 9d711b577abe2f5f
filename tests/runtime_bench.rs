//! The bench for tests of one's own handlers, used as a user would.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::num::NonZeroU32;
use std::time::Duration;

use postroom::Group;
use postroom::core::Reason;
use postroom::event::{Envelope, EventRecord, EventType};
use postroom::handler::{BatchContext, BatchHandler, Context, Error, Handler};
use postroom::ports::Param;
use postroom::testkit::{Report, TestBench};

#[derive(serde::Deserialize, serde::Serialize)]
struct Ping {
    word: String,
}

impl EventRecord for Ping {
    const TYPE: EventType = EventType {
        name: "ping",
        record: "Ping",
        topic: "pings",
        schema: r#"{"type": "record", "name": "Ping", "fields": [{"name": "word", "type": "string"}]}"#,
    };

    fn key(&self) -> Option<&str> {
        Some(&self.word)
    }
}

struct Each;

impl Handler for Each {
    type Event = Ping;

    async fn handle(&self, ping: &Envelope<Ping>, context: &mut Context) -> Result<(), Error> {
        match ping.event.word.as_str() {
            "away" => Err(Error::outage("smtp", "nobody answers")),
            "back" if context.attempt() == 1 => Err(Error::retry("once")),
            "retry" => Err(Error::retry("never")),
            "fatal" => Err(Error::fatal("the key is wrong")),
            "panic" => panic!("as it was asked"),
            word => {
                context.execute("CREATE TABLE IF NOT EXISTS words (word TEXT)", []);
                context.execute("INSERT INTO words VALUES (?1)", [Param::Text(word.to_owned())]);
                Ok(())
            }
        }
    }
}

struct Batches;

impl BatchHandler for Batches {
    type Event = Ping;

    async fn handle(&self, pings: &[Envelope<Ping>], context: &mut BatchContext) -> Result<(), Error> {
        context.execute("CREATE TABLE IF NOT EXISTS words (word TEXT CHECK (word <> 'bad'))", []);
        for ping in pings {
            context.execute("INSERT INTO words VALUES (?1)", [Param::Text(ping.event.word.clone())]);
        }
        Ok(())
    }
}

fn played(group: Group, words: &[&str]) -> Report {
    let ping = |word: &&str| Ping { word: (*word).to_owned() };
    words.iter().map(ping).fold(TestBench::new(group), |bench, ping| bench.given(&ping)).run()
}

fn words(report: &Report) -> Vec<String> {
    let text = |row: Vec<Param>| match row.into_iter().next() {
        Some(Param::Text(text)) => text,
        other => panic!("no text: {other:?}"),
    };
    report.rows("SELECT word FROM words ORDER BY rowid").into_iter().map(text).collect()
}

#[test]
fn what_a_handler_wrote_can_be_read() {
    let report = played(Group::each("pings", Each), &["a", "back", "b"]);

    assert_eq!((report.committed(), report.retries(), report.halted()), (3, 1, None));
    let mut words = words(&report);
    words.sort_unstable();
    assert_eq!(words, ["a", "b", "back"]);
}

#[test]
fn a_batch_loses_only_the_event_at_fault() {
    let bench = TestBench::new(Group::batches("pings", Batches));
    let ping = |word: &str| Ping { word: word.to_owned() };
    let bench = bench.given(&ping("a")).given(&ping("bad")).given_bytes("pings", Some(b"{}"));

    let report = bench.given(&ping("b")).run();

    let reasons: Vec<_> = report.dead_letters().iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, [Reason::Rejected, Reason::Undecodable]);
    assert_eq!((words(&report), report.committed()), (vec!["a".to_owned(), "b".to_owned()], 4));
}

#[test]
fn a_budget_of_hours_passes_in_no_time_and_alike_each_time() {
    let group = || {
        Group::each("pings", Each)
            .backoff(Duration::from_secs(600), Duration::from_secs(3_600))
            .max_attempts(NonZeroU32::new(40).unwrap())
    };
    let [one, two] = [played(group(), &["retry"]), played(group(), &["retry"])];

    assert!(one.elapsed() > Duration::from_secs(3_600), "{:?}", one.elapsed());
    assert_eq!((one.calls(), one.retries()), (40, 39));
    assert_eq!(one.dead_letters(), [(Reason::Exhausted, "never".to_owned())]);
    assert_eq!((one.elapsed(), one.calls()), (two.elapsed(), two.calls()));
}

#[test]
fn a_panic_is_a_dead_letter_and_a_fatal_error_stops() {
    let report = played(Group::each("pings", Each), &["panic", "fatal"]);

    assert_eq!(report.dead_letters().len(), 1);
    assert_eq!(report.halted(), Some("the key is wrong"));
    assert_eq!(report.committed(), 1);
}

#[test]
fn nothing_given_ends_at_once() {
    let report = played(Group::each("pings", Each), &[]);
    assert_eq!((report.calls(), report.committed()), (0, 0));
}

#[test]
#[should_panic(expected = "smtp stays away")]
fn a_dependency_that_never_comes_back_stops_the_test() {
    played(Group::each("pings", Each), &["away"]);
}
