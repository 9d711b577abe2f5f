//! Every record is counted once, and nothing is remembered for ever.

use postroom_core::{Attempt, Run, RunId, RunResult};
use tokio::sync::mpsc::unbounded_channel;

use super::handlers::{Batches, Each};
use super::*;
use crate::ports::Store;
use crate::runtime::group::Group;
use crate::runtime::worker::RunEnd;
use crate::runtime::workers::Workers;

#[tokio::test]
async fn every_record_ends_in_one_counter() {
    let trial = Trial::start_on(store_with_table().await, |log| {
        Group::each("likes", Each(log)).max_attempts(std::num::NonZeroU32::new(2).unwrap())
    });
    trial.assign(1, None);
    trial.poll(1, 0, &["a", "dead", "poison", "skip", "retry", "write=e1", "write=e1", "wait"]);
    trial.committed(7).await;
    trial.edge.tell(EdgeEvent::Input(Input::Lost { generations: vec![Generation(1)] }));

    // The next owner is this member again; what is below its position counted before.
    trial.assign(2, Some(6));
    trial.poll(2, 5, &["write=e1", "write=e1", "b"]);
    trial.committed(8).await;

    let totals = trial.metrics.totals();
    let count = |outcome: &str| totals.by_outcome.get(outcome).copied().unwrap_or_default();
    assert_eq!(totals.received, 10, "{totals:?}");
    let all: u64 = totals.by_outcome.values().sum();
    assert_eq!(all, totals.received, "{totals:?}");
    assert_eq!(count("dead_lettered"), 3, "{totals:?}");
    assert_eq!(count("given_back"), 1, "`wait`: {totals:?}");
    let types = &totals.by_event_type;
    assert_eq!(types.get("other").copied(), Some(2), "poison, and what was given back: {types:?}");
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn what_a_fence_drops_is_counted_as_given_back() {
    let trial = Trial::start_on(store_with_table().await, |log| Group::batches("likes", Batches(log)));
    trial.assign(1, None);
    trial.poll(1, 0, &["a"]);
    trial.committed(1).await;
    trial.store.inner.claim("test.likes", &likes()).await.unwrap();

    trial.poll(1, 1, &["b", "c"]);
    trial.edge.until(|asked| asked.contains(&Asked::Verify)).await;

    let metrics = Arc::clone(&trial.metrics);
    assert_eq!(trial.end().await, Ending::Drained);
    let totals = metrics.totals();
    assert_eq!(totals.by_outcome.get("given_back"), Some(&2), "{totals:?}");
}

#[tokio::test]
async fn what_the_claim_passes_over_is_counted_as_skipped() {
    let trial = Trial::start_on(store_with_table().await, |log| Group::batches("likes", Batches(log)));
    trial.assign(1, None);
    trial.poll(1, 0, &["a", "b"]);
    trial.committed(2).await;
    trial.revoke(1, PATIENCE);
    trial.edge.until(|asked| asked.contains(&Asked::Released(Generation(1)))).await;

    // Its answer comes after the records.
    trial.store.away(true);
    trial.assign(2, Some(0));
    trial.poll(2, 0, &["a", "b", "c"]);
    until("the records are taken", || trial.edge.taken.load(std::sync::atomic::Ordering::SeqCst) >= 5).await;
    trial.store.away(false);
    trial.committed(3).await;

    let totals = trial.metrics.totals();
    assert_eq!((totals.received, totals.by_outcome.values().sum()), (5, 5_u64), "{totals:?}");
    assert_eq!(totals.by_outcome.get("skipped"), Some(&2), "{totals:?}");
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_run_that_is_abandoned_before_it_began_is_cancelled_and_forgotten() {
    let log = Log::default();
    let group = Group::each("likes", Each(log.clone())).deadline(PATIENCE);
    let store = SqliteStore::in_memory().unwrap();
    let claim = store.claim("test.likes", &likes()).await.unwrap();
    let codec = Codec::new(Limits::default());
    codec.add_schema(Some(SCHEMA), None, Like::TYPE.schema).unwrap();
    let desk = Arc::new(Desk::new(&group, "test.", codec.clone(), Arc::new(store)));
    let (reports, mut reported) = unbounded_channel();
    let workers = Workers::new(Arc::clone(&group.worker), desk, group.placement, Handle::current(), reports);
    let claim = Arc::new(tokio::sync::Mutex::new(claim));
    let run = |id: u64, word: &str| {
        let event = Like { word: word.to_owned(), id: String::new() };
        let outgoing = codec.encode(&event, Framing::ConfluentV0).unwrap();
        let mut builder = RawBatchBuilder::new(likes());
        let value = outgoing.value.as_deref();
        builder.push(RawParts { offset: Offset(0), timestamp: None, key: None, value }, std::iter::empty());
        let record = builder.finish().remove(0);
        let run = Run {
            id: RunId(id),
            partition: likes(),
            generation: Generation(1),
            attempt: Attempt::FIRST,
            records: vec![(Offset(0), record)],
        };
        (run, Arc::clone(&claim))
    };

    // On one thread nothing of a task happens before the next await.
    workers.start(vec![run(1, "hang"), run(2, "a"), run(3, "b")]);
    workers.abandon(RunId(1));
    workers.abandon(RunId(2));

    let mut standing = Vec::new();
    while standing.is_empty() || workers.remembered() != (0, 0) {
        let completions = tokio::time::timeout(PATIENCE, reported.recv()).await.unwrap().unwrap();
        standing.extend(workers.standing(completions));
        tokio::task::yield_now().await;
    }
    assert_eq!(standing.len(), 1);
    assert_eq!(standing[0].run, RunId(3));
    assert!(matches!(standing[0].report.end, RunEnd::Ended(RunResult::Done)));
    assert_eq!(log.cancelled(), 1);
}
