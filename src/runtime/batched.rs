//! Runs of many records whose effects live in the store: applied together with the position, exactly once.

use std::future::Future;
use std::sync::Arc;

use postroom_core::{Failure, Offset, Outcome, Run, RunResult};

use crate::codec::Event;
use crate::effects::{self, Changes, StoreEffect};
use crate::event::{Envelope, RawRecord};
use crate::handler::{BatchContext, BatchHandler};
use crate::ports::{Change, Guard, Unit};
use crate::runtime::tally::{Finish, OTHER, Tally};
use crate::runtime::worker::{Desk, RunEnd, RunFuture, RunReport, SharedClaim, Worker};

/// The header that names the dead letter which a record replays.
pub(crate) const REPLAY_OF: &str = "postroom-replay-of";

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
    let mut decoded = Decoded::read::<C>(desk, &run.records);
    let mut context = context(desk, run);
    let collected = if decoded.events.is_empty() {
        Ok(())
    } else {
        collector.collect(&decoded.events, &mut context).await
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
        let mut decoded = Decoded::read::<C>(desk, std::slice::from_ref(record));
        let mut context = context(desk, run);
        if !decoded.events.is_empty() {
            match collector.collect(&decoded.events, &mut context).await {
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
        let unit = Unit { guard: Guard::Once { id: replay_id(&record.1) }, changes: context.changes };
        match desk.apply(claim, unit).await {
            Ok(Some(outcome)) => {
                if outcome == Outcome::Skipped {
                    decoded.all_duplicates();
                }
                tally.merge(decoded.tally);
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

fn context(desk: &Desk, run: &Run<RawRecord>) -> BatchContext {
    BatchContext {
        group: Arc::clone(&desk.group),
        partition: run.partition.clone(),
        attempt: run.attempt,
        changes: Vec::<Change>::new(),
    }
}

fn replay_id(record: &RawRecord) -> String {
    let letter = record.header(REPLAY_OF).and_then(|id| std::str::from_utf8(id).ok());
    letter.map_or_else(|| format!("{}/{}", record.partition(), record.offset()), |id| format!("dlq:{id}"))
}

/// The readable head of a run.
struct Decoded<E> {
    /// Events of the group's types, up to the first record that does not decode.
    events: Vec<Envelope<E>>,
    /// How many records precede each event and the failure: skipped ones count.
    places: Vec<usize>,
    offsets: Vec<Offset>,
    /// Records that are finished once the unit is applied.
    finished: usize,
    /// The position after them.
    next: Option<Offset>,
    /// What is wrong with the record that follows them.
    failure: Option<Failure>,
    tally: Tally,
}

impl<E: Event> Decoded<E> {
    fn read<C: Collect<Event = E>>(desk: &Desk, records: &[(Offset, RawRecord)]) -> Self {
        let mut decoded = Self {
            events: Vec::with_capacity(records.len()),
            places: Vec::with_capacity(records.len()),
            offsets: Vec::with_capacity(records.len()),
            finished: 0,
            next: None,
            failure: None,
            tally: Tally::default(),
        };
        for (offset, record) in records {
            match desk.codec.envelope_of::<E>(record, desk.types) {
                Ok(Some(envelope)) => {
                    decoded.tally.add(envelope.event_type, Finish::Ok);
                    decoded.places.push(decoded.finished);
                    decoded.events.push(envelope);
                }
                Ok(None) => decoded.tally.add(OTHER, Finish::Skipped),
                Err(error) => {
                    decoded.failure = Some(Failure::from(error));
                    break;
                }
            }
            decoded.offsets.push(*offset);
            decoded.finished += 1;
            decoded.next = Some(offset.next());
        }
        decoded
    }

    /// The event at `index` failed: what precedes it stands.
    fn stop_at_event(&mut self, index: usize, failure: Failure) {
        let place = self.places.get(index).copied().unwrap_or(0);
        self.finished = place;
        self.next = place.checked_sub(1).and_then(|last| self.offsets.get(last)).map(|last| last.next());
        self.failure = Some(failure);
        self.tally = Tally::default();
        for envelope in self.events.iter().take(index) {
            self.tally.add(envelope.event_type, Finish::Ok);
        }
        for _ in index..place {
            self.tally.add(OTHER, Finish::Skipped);
        }
    }

    fn all_skipped(&mut self) {
        self.retally(Finish::Skipped);
    }

    fn all_duplicates(&mut self) {
        self.retally(Finish::Duplicate);
    }

    fn retally(&mut self, finish: Finish) {
        self.tally = Tally::default();
        for envelope in &self.events {
            self.tally.add(envelope.event_type, finish);
        }
        for _ in self.events.len()..self.finished {
            self.tally.add(OTHER, Finish::Skipped);
        }
    }
}
