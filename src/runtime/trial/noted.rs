//! What the journal is told of single events.

use std::num::NonZeroU32;

use super::handlers::{Batches, Each};
use super::*;
use crate::telemetry::{DeedEnd, RecordPlace};

fn each(log: Log) -> Group {
    Group::each("likes", Each(log)).max_attempts(NonZeroU32::new(3).unwrap()).deadline(DEADLINE)
}

/// Returns what was noted of a record, each deed as outcome and attempt.
fn noted(journal: &Journal, offset: i64) -> Vec<(&'static str, u32)> {
    let place = RecordPlace { topic: "likes".to_owned(), partition: 0, offset };
    let event = journal.at(&place).unwrap();
    event.deeds.iter().map(|deed| (deed.end.word(), deed.attempt)).collect()
}

#[tokio::test]
async fn each_end_of_an_event_is_noted_with_its_attempts() {
    for (word, expected) in [
        ("ok=e1", vec![("ok", 1)]),
        ("skip=e1", vec![("skipped", 1)]),
        ("retry=e1", vec![("retry", 1), ("retry", 2), ("dead_lettered", 3)]),
        ("dead=e1", vec![("dead_lettered", 1)]),
    ] {
        let trial = Trial::start(each);
        trial.assign(1, None);
        trial.poll(1, 0, &[word]);
        trial.committed(1).await;

        assert_eq!(noted(&trial.journal, 0), expected, "{word}");
        let event = trial.journal.of_id("e1").pop().unwrap();
        assert_eq!(event.described.event_type, "like.added");
        assert_eq!(trial.journal.passed_over(), 0);
        assert_eq!(trial.end().await, Ending::Drained);
    }
}

#[tokio::test]
async fn a_bad_record_in_a_batch_is_noted_as_such_and_its_neighbours_as_done() {
    let trial = Trial::start_on(store_with_table().await, |log| Group::batches("likes", Batches(log)));
    trial.assign(1, None);
    trial.poll(1, 0, &["ok=a", "poison", "ok=b"]);
    trial.committed(3).await;

    assert_eq!(noted(&trial.journal, 0), [("ok", 1)]);
    assert_eq!(noted(&trial.journal, 1), [("dead_lettered", 0)]);
    assert_eq!(noted(&trial.journal, 2), [("ok", 1)]);
    let deed = trial.journal.latest(3).into_iter().flat_map(|event| event.deeds);
    let reasons: Vec<_> = deed
        .filter_map(|deed| match deed.end {
            DeedEnd::DeadLettered { reason } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, ["undecodable"]);
    assert_eq!(trial.end().await, Ending::Drained);
}
