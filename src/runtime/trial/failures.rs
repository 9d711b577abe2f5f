//! What becomes of records that fail.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::handlers::{Batches, Each};
use super::*;
use crate::telemetry::Health;

fn each(log: Log) -> Group {
    Group::each("likes", Each(log)).max_attempts(NonZeroU32::new(3).unwrap()).deadline(DEADLINE)
}

fn batches(log: Log) -> Group {
    Group::batches("likes", Batches(log)).max_attempts(NonZeroU32::new(3).unwrap()).deadline(DEADLINE)
}

/// Plays one word and a good one behind it, and returns what was asked until both are committed.
async fn played(word: &str) -> (Vec<Asked>, Vec<String>) {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.poll(1, 0, &[word, "ok"]);
    let asked = trial.committed(2).await;
    let calls = trial.log.calls();
    assert_eq!(trial.end().await, Ending::Drained);
    (asked, calls)
}

#[tokio::test]
async fn each_kind_of_error_ends_as_it_says() {
    for (word, expected, calls) in [
        ("retry", Some(("exhausted", 0, 3)), 3),
        ("parse", Some(("exhausted", 0, 3)), 3),
        ("hang", Some(("timed_out", 0, 3)), 3),
        ("panic", Some(("panicked", 0, 1)), 1),
        ("dead", Some(("rejected", 0, 1)), 1),
        ("invalid", Some(("invalid", 0, 0)), 1),
        ("poison", Some(("undecodable", 0, 0)), 0),
        ("skip", None, 1),
        ("flaky", None, 1),
        ("ok", None, 1),
    ] {
        let (asked, called) = played(word).await;
        assert_eq!(letter(&asked), expected.into_iter().collect::<Vec<_>>(), "{word}");
        let good = usize::from(word == "ok");
        assert_eq!(called.iter().filter(|call| *call == word).count(), calls + good, "{word}: {called:?}");
        let finished = asked.iter().filter(|asked| matches!(asked, Asked::Letter { .. })).count();
        assert_eq!(finished, usize::from(expected.is_some()), "{word}: one letter");
    }
}

#[tokio::test]
async fn an_error_of_the_standard_library_is_told_in_the_letter() {
    let (asked, _) = played("parse").await;
    assert_eq!(message(&asked).message, "invalid digit found in string");
}

#[tokio::test]
async fn a_panic_says_what_it_said() {
    let (asked, _) = played("panic").await;
    assert_eq!(message(&asked).message, "the handler panicked: as the event asked");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test measures a wait")]
async fn an_attempt_waits_as_long_as_the_other_side_said() {
    let begun = Instant::now();
    let (asked, calls) = played("later").await;

    assert_eq!((letter(&asked), calls.len()), (vec![("exhausted", 0, 3)], 4));
    assert!(begun.elapsed() >= Duration::from_millis(160), "two waits of 80 ms");
}

#[tokio::test]
async fn a_letter_that_is_refused_is_sent_again_and_the_record_stays_until_then() {
    let trial = Trial::start(batches);
    trial.edge.refusals.store(2, Ordering::SeqCst);
    trial.assign(1, None);
    trial.poll(1, 0, &["poison"]);

    let asked = trial.committed(1).await;

    assert_eq!(letter(&asked), [("undecodable", 0, 0); 3]);
    assert!(matches!(asked.last(), Some(Asked::Commit(..))), "{asked:?}");
    let failures = trial.metrics.totals();
    assert_eq!(failures.dead_letters.get("undecodable"), Some(&1), "counted once: {failures:?}");
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_store_that_is_away_is_an_outage_and_no_letter_is_written() {
    let trial = Trial::start_on(store_with_table().await, batches);
    trial.assign(1, None);
    trial.poll(1, 0, &["a"]);
    trial.committed(1).await;

    trial.store.away(true);
    trial.poll(1, 1, &["b"]);
    // More often than a record has attempts.
    until("the store is asked", || trial.store.refused.load(Ordering::SeqCst) >= 6).await;
    let is_told = |ill: &[String]| ill.iter().any(|line| line.ends_with("the store does not answer"));
    until(
        "the process is not ready",
        || matches!(trial.board.readiness(), Health::Ill(ill) if is_told(&ill)),
    )
    .await;
    trial.store.away(false);

    let asked = trial.committed(2).await;
    assert!(letter(&asked).is_empty(), "{asked:?}");
    assert_eq!(trial.written().await, ["a", "b"]);
    until("the process is ready", || trial.board.readiness() == Health::Well).await;
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn poison_in_the_middle_of_a_batch_is_set_aside_alone() {
    let trial = Trial::start_on(store_with_table().await, batches);
    trial.assign(1, None);
    trial.poll(1, 0, &["a", "b", "poison", "c"]);

    let asked = trial.committed(4).await;

    assert_eq!(letter(&asked), [("undecodable", 2, 0)]);
    assert_eq!(trial.written().await, ["a", "b", "c"]);
    assert_eq!(trial.position().await, Some(Offset(4)));
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_batch_that_the_store_refuses_is_split_down_to_the_bad_event() {
    let trial = Trial::start_on(store_with_table().await, batches);
    trial.assign(1, None);
    trial.poll(1, 0, &["a", "b", "unwritable", "c", "d"]);

    let asked = trial.committed(5).await;

    assert_eq!(letter(&asked), [("rejected", 2, 1)]);
    assert_eq!(message(&asked).detail, "store_refused");
    assert_eq!(trial.written().await, ["a", "b", "c", "d"]);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_batch_that_panics_or_is_late_loses_only_the_event_at_fault() {
    for (word, reason, attempts) in [("panic", "panicked", 1), ("hang", "timed_out", 3)] {
        let trial = Trial::start_on(store_with_table().await, batches);
        trial.assign(1, None);
        trial.poll(1, 0, &["a", word, "b"]);

        let asked = trial.committed(3).await;

        assert_eq!(letter(&asked), [(reason, 1, attempts)]);
        assert_eq!(trial.written().await, ["a", "b"]);
        assert_eq!(trial.end().await, Ending::Drained);
    }
}

#[tokio::test]
async fn handlers_that_share_a_task_fail_alone() {
    let trial = Trial::start(|log| each(log).non_blocking());
    trial.assign(1, None);
    trial.poll(1, 0, &["panic", "hang", "a", "wait", "b"]);
    trial.log.gate.add_permits(1);

    let asked = trial.committed(5).await;

    let mut letters = letter(&asked);
    letters.sort_unstable();
    assert_eq!(letters, [("panicked", 0, 1), ("timed_out", 1, 3)]);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_store_that_takes_its_time_is_no_handler_that_is_too_slow() {
    for group in [each, batches] {
        let trial = Trial::start_on(store_with_table().await, group);
        trial.store.slow.store(true, Ordering::SeqCst);
        trial.assign(1, None);
        trial.poll(1, 0, &["write=e1"]);

        trial.committed(1).await;

        let totals = trial.metrics.totals();
        assert_eq!((totals.retries, totals.by_outcome.get("ok")), (0, Some(&1)), "{totals:?}");
        assert_eq!(trial.end().await, Ending::Drained);
    }
}
