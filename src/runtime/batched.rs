//! Runs of many records whose effects live in the store: applied together with the position, exactly once.

use std::future::Future;
use std::sync::Arc;

use postroom_core::{Failure, Outcome, Run, RunResult};

use crate::codec::Event;
use crate::effects::{self, Changes, StoreEffect};
use crate::event::{Envelope, RawRecord};
use crate::handler::{BatchContext, BatchHandler};
use crate::ports::{Change, Guard, Unit};
use crate::runtime::decoded::Decoded;
use crate::runtime::tally::Tally;
use crate::runtime::worker::{Desk, RunEnd, RunFuture, RunReport, SharedClaim, Worker};

/// Turns events into changes: what a batch handler and a store effect have in common.
pub(crate) trait Collect: Send + Sync + 'static {
    type Event: Event;

    /// Collects the changes of a batch, or says from which event on it failed.
    fn collect(
        &self,
        events: &[Envelope<Self::Event>],
        context: &mut BatchContext,
    ) -> impl Future<Output = Result<(), Stopped>> + Send;
}

/// Where a batch stopped.
pub(crate) enum Stopped {
    /// Events before `index` have their changes in the context, this one failed, later ones were not looked at.
    At { index: usize, failure: Failure },
    /// The batch as a whole failed; its changes are void.
    Whole(Failure),
    /// The handler passed over the batch; its changes are void.
    Skipped,
}

/// A user's batch handler.
pub(crate) struct UserBatch<H>(pub(crate) H);

impl<H: BatchHandler> Collect for UserBatch<H> {
    type Event = H::Event;

    async fn collect(
        &self,
        events: &[Envelope<H::Event>],
        context: &mut BatchContext,
    ) -> Result<(), Stopped> {
        match self.0.handle(events, context).await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.failure().map_or(Stopped::Skipped, Stopped::Whole)),
        }
    }
}

/// A side effect whose results live in the store.
pub(crate) struct InStore<E>(pub(crate) E);

impl<E: StoreEffect> Collect for InStore<E> {
    type Event = E::Event;

    async fn collect(
        &self,
        events: &[Envelope<E::Event>],
        context: &mut BatchContext,
    ) -> Result<(), Stopped> {
        let mut changes = Changes::default();
        let collected = effects::collect(&self.0, events, &mut changes);
        context.changes = changes.into_inner();
        collected.map_err(|(index, failure)| Stopped::At { index, failure })
    }
}

/// Runs batches through a collector and the store.
pub(crate) struct Batched<C> {
    collector: Arc<C>,
}

impl<C> Batched<C> {
    pub(crate) fn new(collector: C) -> Self {
        Self { collector: Arc::new(collector) }
    }
}

impl<C: Collect> Worker for Batched<C> {
    fn run(&self, desk: Arc<Desk>, run: Run<RawRecord>, claim: SharedClaim) -> RunFuture {
        let collector = Arc::clone(&self.collector);
        Box::pin(async move {
            let replays = run.records.first().is_some_and(|(_, record)| desk.is_replay(record));
            if replays {
                replay(&*collector, &desk, &run, &claim).await
            } else {
                batch(&*collector, &desk, &run, &claim).await
            }
        })
    }
}

/// Applies a batch in one unit that moves the position.
async fn batch<C: Collect>(
    collector: &C,
    desk: &Desk,
    run: &Run<RawRecord>,
    claim: &SharedClaim,
) -> RunReport {
    let mut decoded = Decoded::read(desk, &run.records).await;
    let mut context = context(desk, run);
    let collected = if decoded.events.is_empty() {
        Ok(())
    } else {
        in_time(collector, desk, &decoded.events, &mut context).await
    };
    match collected {
        Ok(()) => {}
        Err(Stopped::At { index, failure }) => decoded.stop_at_event(index, failure),
        Err(Stopped::Whole(failure)) => return RunReport::failed(failure),
        Err(Stopped::Skipped) => {
            context.changes.clear();
            decoded.all_skipped();
        }
    }
    if let Some(next) = decoded.next {
        let unit = Unit { guard: Guard::Position { next }, changes: std::mem::take(&mut context.changes) };
        match desk.apply(claim, unit).await {
            Ok(Some(_)) => {}
            Ok(None) => return RunReport { end: RunEnd::Fenced, tally: Tally::default() },
            Err(failure) => return RunReport::failed(failure),
        }
    }
    let result = match decoded.failure {
        None => RunResult::Done,
        Some(failure) => {
            let mut outcomes = vec![Outcome::Done; decoded.finished];
            outcomes.push(Outcome::Failed(failure));
            RunResult::Each(outcomes)
        }
    };
    RunReport { end: RunEnd::Ended(result), tally: decoded.tally }
}

/// Applies replayed dead letters one by one, each at most once by its dead letter's id.
async fn replay<C: Collect>(
    collector: &C,
    desk: &Desk,
    run: &Run<RawRecord>,
    claim: &SharedClaim,
) -> RunReport {
    let mut outcomes = Vec::with_capacity(run.records.len());
    let mut tally = Tally::default();
    for record in &run.records {
        let mut decoded = Decoded::read(desk, std::slice::from_ref(record)).await;
        let mut context = context(desk, run);
        if !decoded.events.is_empty() {
            match in_time(collector, desk, &decoded.events, &mut context).await {
                Ok(()) => {}
                Err(Stopped::At { failure, .. } | Stopped::Whole(failure)) => {
                    decoded.stop_at_event(0, failure);
                }
                Err(Stopped::Skipped) => {
                    context.changes.clear();
                    decoded.all_skipped();
                }
            }
        }
        if let Some(failure) = decoded.failure {
            outcomes.push(Outcome::Failed(failure));
            break;
        }
        let unit = Unit { guard: Guard::Once { id: replay_id(desk, &record.1) }, changes: context.changes };
        match desk.apply(claim, unit).await {
            Ok(Some(outcome)) => {
                if outcome == Outcome::Skipped {
                    decoded.all_duplicates();
                }
                tally.merge(&decoded.tally);
                outcomes.push(outcome);
            }
            Ok(None) => return RunReport { end: RunEnd::Fenced, tally },
            Err(failure) => {
                outcomes.push(Outcome::Failed(failure));
                break;
            }
        }
    }
    RunReport { end: RunEnd::Ended(RunResult::Each(outcomes)), tally }
}

async fn in_time<C: Collect>(
    collector: &C,
    desk: &Desk,
    events: &[Envelope<C::Event>],
    context: &mut BatchContext,
) -> Result<(), Stopped> {
    let collected = desk.in_time(collector.collect(events, context)).await;
    collected.unwrap_or_else(|late| Err(Stopped::Whole(late)))
}

fn context(desk: &Desk, run: &Run<RawRecord>) -> BatchContext {
    BatchContext {
        group: Arc::clone(&desk.group),
        partition: run.partition.clone(),
        attempt: run.attempt,
        changes: Vec::<Change>::new(),
        meter: Arc::clone(&desk.meter),
    }
}

fn replay_id(desk: &Desk, record: &RawRecord) -> String {
    let place = || format!("{}/{}", record.partition(), record.offset());
    desk.letter_id(record).map_or_else(place, |id| format!("dlq:{id}"))
}
