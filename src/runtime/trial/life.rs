//! From the assignment to the end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use postroom_core::{Generation, HaltCause, Input, Offset};

use super::edge::Asked;
use super::handlers::{Batches, Each};
use super::*;
use crate::ports::{EdgeError, Store};

fn each(log: Log) -> Group {
    Group::each("likes", Each(log))
}

fn batches(log: Log) -> Group {
    Group::batches("likes", Batches(log))
}

fn commits(asked: &[Asked]) -> Vec<i64> {
    let each = |asked: &Asked| match asked {
        Asked::Commit(_, next) => Some(next.0),
        _ => None,
    };
    asked.iter().filter_map(each).collect()
}

#[tokio::test]
async fn a_commit_follows_the_effects() {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.poll(1, 0, &["a", "wait", "b"]);
    trial.log.until(|calls| calls.len() == 3).await;
    trial.committed(1).await;
    assert_eq!(commits(&trial.edge.asked()).into_iter().max(), Some(1), "`wait` has not ended");

    trial.log.gate.add_permits(1);
    trial.committed(3).await;

    assert_eq!(trial.edge.taken.load(Ordering::SeqCst), 3);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn nothing_is_dispatched_before_the_store_answers_and_it_is_asked_again() {
    let trial = Trial::start(each);
    trial.store.away(true);
    trial.assign(1, None);
    trial.poll(1, 0, &["a"]);
    until("the store is asked", || trial.store.refused.load(Ordering::SeqCst) >= 3).await;
    assert!(trial.log.calls().is_empty());

    trial.store.away(false);
    trial.committed(1).await;
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_revocation_waits_for_what_is_in_flight_and_starts_nothing() {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.poll(1, 0, &["wait", "wait"]);
    trial.log.until(|calls| calls.len() == 1).await;

    trial.revoke(1, PATIENCE);
    trial.log.gate.add_permits(1);
    let asked = trial.edge.until(|asked| asked.contains(&Asked::Released(Generation(1)))).await;

    assert_eq!(asked, [Asked::Commit(likes(), Offset(1)), Asked::Released(Generation(1))]);
    assert_eq!(trial.log.calls().len(), 1);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_revocation_that_takes_too_long_cancels() {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.poll(1, 0, &["a", "hang"]);
    trial.log.until(|calls| calls.len() == 2).await;
    trial.committed(1).await;

    trial.revoke(1, Duration::from_millis(10));
    let asked = trial.edge.until(|asked| asked.contains(&Asked::Released(Generation(1)))).await;

    assert_eq!(commits(&asked), [1]);
    until("the cancelling", || trial.log.cancelled() > 0).await;
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn what_is_lost_is_abandoned_and_not_committed() {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.poll(1, 0, &["wait"]);
    trial.log.until(|calls| calls.len() == 1).await;

    trial.edge.tell(EdgeEvent::Input(Input::Lost { generations: vec![Generation(1)] }));
    trial.log.gate.add_permits(1);
    let asked = trial.edge.until(|asked| asked.contains(&Asked::Released(Generation(1)))).await;

    assert_eq!(commits(&asked), Vec::<i64>::new());
    until("the cancelling", || trial.log.cancelled() > 0).await;
    let totals = trial.metrics.totals();
    assert_eq!(totals.by_outcome.get("ok"), None, "{totals:?}");
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn whoever_is_fenced_asks_whether_the_partition_is_its_own_and_claims_again() {
    let trial = Trial::start_on(store_with_table().await, batches);
    trial.assign(1, None);
    trial.poll(1, 0, &["a"]);
    trial.committed(1).await;

    trial.store.inner.claim("test.likes", &likes()).await.unwrap();
    trial.poll(1, 1, &["b"]);
    let asked = trial.edge.until(|asked| asked.contains(&Asked::Seek(Offset(1)))).await;
    assert!(asked.contains(&Asked::Verify));
    assert_eq!(trial.written().await, ["a"]);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_hung_handler_does_not_hold_up_the_end_beyond_the_deadline() {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.poll(1, 0, &["hang", "a"]);
    trial.log.until(|calls| calls.len() == 2).await;
    let log = trial.log.clone();

    trial.drain(Duration::from_millis(30));

    assert_eq!(trial.ended().await, Ending::DeadlinePassed { abandoned: 1 });
    until("the cancelling", || log.cancelled() > 0).await;
}

#[tokio::test]
async fn drained_twice_the_earlier_deadline_counts() {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.poll(1, 0, &["hang"]);
    trial.log.until(|calls| calls.len() == 1).await;

    trial.drain(10 * PATIENCE);
    trial.drain(Duration::from_millis(10));

    assert_eq!(trial.ended().await, Ending::DeadlinePassed { abandoned: 1 });
}

#[tokio::test]
async fn a_group_without_partitions_drains_at_once_and_hands_back_what_comes_late() {
    let trial = Trial::start(each);
    trial.drain(PATIENCE);
    trial.assign(1, None);

    assert_eq!(trial.ended().await, Ending::Drained);
}

#[tokio::test]
async fn a_fatal_failure_leaves_the_record_and_drains() {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.poll(1, 0, &["a", "fatal"]);
    let edge = Arc::clone(&trial.edge);

    let ending = trial.ended().await;

    let Ending::Halted(HaltCause::Fatal(failure)) = ending else { panic!("{ending:?}") };
    assert_eq!(failure.message, "nothing goes any more");
    assert_eq!(commits(&edge.asked()).last(), Some(&1));
    assert!(letter(&edge.asked()).is_empty());
}

#[tokio::test]
async fn an_edge_that_dies_ends_the_group_and_cancels_what_runs() {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.poll(1, 0, &["hang"]);
    trial.log.until(|calls| calls.len() == 1).await;
    let log = trial.log.clone();

    trial.edge.vanish();

    let ending = trial.ended().await;
    assert!(matches!(ending, Ending::Edge(EdgeError::Client(_))), "{ending:?}");
    until("the cancelling", || log.cancelled() > 0).await;
}

#[tokio::test]
async fn a_group_that_nobody_holds_leaves_by_itself() {
    let Trial { control, driver, .. } = Trial::start(each);

    drop(control);

    assert_eq!(tokio::time::timeout(PATIENCE, driver).await.unwrap().unwrap(), Ending::Drained);
}

#[tokio::test]
async fn a_commit_of_another_store_stops_the_group_before_anything_is_done() {
    let trial = Trial::start_on(store_with_table().await, batches);
    let committed = CommittedPosition {
        next: Offset(3),
        finished: Vec::new(),
        store: Some(crate::ports::StoreId("theirs".to_owned())),
    };
    let committed = Some(committed);
    trial.edge.tell(EdgeEvent::Assigned { partition: likes(), generation: Generation(1), committed });
    trial.poll(1, 3, &["a"]);
    let log = trial.log.clone();

    let ending = trial.ended().await;

    assert!(matches!(ending, Ending::Refused(_)), "{ending:?}");
    assert!(log.calls().is_empty());
}

#[tokio::test]
async fn the_answer_to_a_claim_of_what_was_lost_meanwhile_has_no_effect() {
    let trial = Trial::start_on(store_with_table().await, batches);
    trial.store.slow.store(true, Ordering::SeqCst);
    let store = Some(crate::ports::StoreId("theirs".to_owned()));
    let committed = Some(CommittedPosition { next: Offset(3), finished: Vec::new(), store });
    trial.edge.tell(EdgeEvent::Assigned { partition: likes(), generation: Generation(1), committed });
    trial.edge.tell(EdgeEvent::Input(Input::Lost { generations: vec![Generation(1)] }));

    trial.assign(2, None);
    trial.poll(2, 0, &["a"]);
    trial.committed(1).await;

    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn the_edge_hears_where_an_assignment_begins_behind_the_seek_to_it() {
    let trial = Trial::start(each);
    trial.assign(1, None);
    trial.assign_at(TopicPartition::new(likes().topic, Partition(1)), 2, Some(7));

    until("both claims", || trial.edge.claimed.lock().unwrap().len() == 2).await;

    let mut claimed = trial.edge.claimed.lock().unwrap().clone();
    claimed.sort();
    assert_eq!(claimed[0], (Generation(1), Offset(0), 1), "a seek came before");
    assert_eq!((claimed[1].0, claimed[1].1), (Generation(2), Offset(7)));
    assert_eq!(trial.edge.asked().iter().filter(|asked| matches!(asked, Asked::Seek(_))).count(), 1);
    assert_eq!(trial.end().await, Ending::Drained);
}
