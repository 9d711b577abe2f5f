//! Effects in the store happen once.

use super::handlers::{Batches, Each};
use postroom_core::Attempt;

use super::*;
use crate::kafka::REPLAY_OF;
use crate::ports::Store;

fn each(log: Log) -> Group {
    Group::each("likes", Each(log))
}

fn batches(log: Log) -> Group {
    Group::batches("likes", Batches(log))
}

#[tokio::test]
async fn a_record_that_is_delivered_twice_is_written_once() {
    let trial = Trial::start_on(store_with_table().await, each);
    trial.assign(1, None);
    trial.poll(1, 0, &["write=e1", "write=e2"]);
    trial.committed(2).await;
    trial.revoke(1, PATIENCE);

    trial.assign(2, Some(0));
    trial.poll(2, 0, &["write=e1", "write=e2", "write=e3"]);
    trial.committed(3).await;

    assert_eq!(trial.column("SELECT id FROM written ORDER BY id").await, ["e1", "e2", "e3"]);
    let totals = trial.metrics.totals();
    assert_eq!(totals.by_outcome.get("duplicate"), Some(&2), "{totals:?}");
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn attempts_at_records_below_kafkas_commit_are_forgotten_where_the_store_has_no_position() {
    let store = store_with_table().await;
    for offset in 0..10 {
        store.inner.count_attempt("test.likes", &likes(), Offset(offset), Attempt(3)).await.unwrap();
    }
    let trial = Trial::start_on(store, each);
    trial.assign(1, Some(7));
    trial.poll(1, 7, &["write=e7"]);
    trial.committed(8).await;

    let left = trial.column("SELECT record_offset FROM attempts ORDER BY record_offset").await;
    assert_eq!(left, ["7", "8", "9"]);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_batch_goes_on_where_the_store_stands_whatever_kafka_says() {
    let trial = Trial::start_on(store_with_table().await, batches);
    trial.assign(1, None);
    trial.poll(1, 0, &["a", "b"]);
    trial.committed(2).await;
    trial.revoke(1, PATIENCE);

    trial.assign(2, Some(0));
    trial.poll(2, 0, &["a", "b", "c"]);
    trial.committed(3).await;

    assert_eq!(trial.written().await, ["a", "b", "c"]);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_dead_record_at_the_end_is_not_taken_again_by_the_next_owner() {
    let trial = Trial::start_on(store_with_table().await, batches);
    trial.assign(1, None);
    trial.poll(1, 0, &["a", "poison"]);
    trial.committed(2).await;
    assert_eq!(trial.position().await, Some(Offset(2)), "the store is past the dead letter");
    trial.revoke(1, PATIENCE);

    trial.assign(2, Some(0));
    trial.poll(2, 0, &["a", "poison", "b"]);
    let asked = trial.committed(3).await;

    assert_eq!(letter(&asked), [("undecodable", 1, 0)], "one letter");
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_dead_letter_that_is_replayed_twice_is_applied_once() {
    let trial = Trial::start_on(store_with_table().await, batches);
    trial.assign_at(retry(), 1, None);
    let of = [(REPLAY_OF, "test.likes/likes/0/7")];
    trial.poll_at(&retry(), 1, 0, &["a"], &of);
    trial.poll_at(&retry(), 1, 1, &["a", "poison"], &of);
    trial.poll_at(&retry(), 1, 3, &["b"], &[(REPLAY_OF, "test.likes/likes/0/8")]);
    let asked = trial.edge.until(|asked| asked.contains(&Asked::Commit(retry(), Offset(4)))).await;

    assert_eq!(trial.written().await, ["a", "b"]);
    assert_eq!(letter(&asked), [("undecodable", 2, 0)]);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_dead_letter_that_two_members_replay_at_the_same_time_is_applied_once() {
    let store = store_with_table().await;
    let other = || TopicPartition::new(retry().topic, Partition(1));
    let members = [retry(), other()].map(|partition| {
        let trial = Trial::start_on(store.clone(), batches);
        trial.assign_at(partition.clone(), 1, None);
        trial.poll_at(&partition, 1, 0, &["a"], &[(REPLAY_OF, "test.likes/likes/0/7")]);
        (trial, partition)
    });

    for (trial, partition) in &members {
        trial.edge.until(|asked| asked.contains(&Asked::Commit(partition.clone(), Offset(1)))).await;
    }

    let [(one, _), (two, _)] = members;
    assert_eq!(one.written().await, ["a"]);
    let duplicates = [&one, &two].map(|trial| trial.metrics.totals().by_outcome.get("duplicate").copied());
    assert_eq!(duplicates.into_iter().flatten().sum::<u64>(), 1);
    assert_eq!((one.end().await, two.end().await), (Ending::Drained, Ending::Drained));
}

#[tokio::test]
async fn a_replay_of_an_event_without_an_id_counts_as_the_record_it_was() {
    let trial = Trial::start_on(store_with_table().await, each);
    trial.assign_at(retry(), 1, None);
    let of = [(REPLAY_OF, "test.likes/likes/0/7")];
    trial.poll_at(&retry(), 1, 0, &["write", "write"], &of);
    trial.edge.until(|asked| asked.contains(&Asked::Commit(retry(), Offset(2)))).await;

    // The record itself once more: a crash between its letter and its commit.
    trial.assign(2, Some(7));
    trial.poll(2, 7, &["write", "write"]);
    trial.committed(9).await;

    assert_eq!(trial.written().await, ["write", "write"], "one for the place 7, one for 8");
    assert_eq!(trial.end().await, Ending::Drained);
}
