//! Runs of one record, for a [`Handler`].

use std::sync::Arc;

use postroom_core::{Class, Outcome, Run, RunResult};

use crate::event::{Envelope, RawRecord};
use crate::handler::{Context, Error, Handler};
use crate::ports::{Change, Guard, Unit};
use crate::runtime::owed::Owed;
use crate::runtime::tally::{Finish, OTHER, Tally};
use crate::runtime::worker::{Desk, RunEnd, RunFuture, RunReport, SharedClaim, Worker};

/// Calls a handler with one event at a time.
pub(crate) struct Single<H> {
    handler: Arc<H>,
    owed: Arc<Owed>,
}

impl<H> Single<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler: Arc::new(handler), owed: Arc::default() }
    }
}

impl<H: Handler> Worker for Single<H> {
    fn run(&self, desk: Arc<Desk>, run: Run<RawRecord>, claim: SharedClaim) -> RunFuture {
        let handler = Arc::clone(&self.handler);
        let owed = Arc::clone(&self.owed);
        Box::pin(async move {
            let attempt = run.attempt;
            let Some((_offset, record)) = run.records.into_iter().next() else {
                return ended(RunResult::Done, Tally::default());
            };
            let envelope = match desk.envelope::<H::Event>(&record).await {
                Ok(Some(envelope)) => envelope,
                Ok(None) => return passed_over(OTHER, Finish::Skipped),
                Err(failure) => return RunReport::failed(failure),
            };
            if owed.holds_some()
                && let Some(changes) = owed.take(&record, claim.lock().await.epoch)
            {
                return Box::pin(keep(&desk, &claim, &envelope, changes, &owed)).await;
            }
            let mut context = Context {
                group: Arc::clone(&desk.group),
                attempt,
                deadline: desk.deadline,
                changes: Vec::new(),
                store: Arc::clone(&desk.store),
                meter: Arc::clone(&desk.meter),
            };
            match desk.in_time(handler.handle(&envelope, &mut context)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.is_deferred() => return deferred(envelope.event_type),
                Ok(Err(error)) if error.is_final() && context.has_own_changes() => {
                    return Box::pin(close(&desk, &claim, &envelope, context, error)).await;
                }
                Ok(Err(error)) => return refused(envelope.event_type, error),
                Err(late) => return RunReport::failed(late),
            }
            if context.changes.is_empty() {
                return done(envelope.event_type);
            }
            Box::pin(keep(&desk, &claim, &envelope, context.changes, &owed)).await
        })
    }
}

/// Makes a handler's statements durable, once per event. Where the store is away they are owed: the effect is done.
async fn keep<E>(
    desk: &Desk,
    claim: &SharedClaim,
    envelope: &Envelope<E>,
    changes: Vec<Change>,
    owed: &Owed,
) -> RunReport {
    let unit = Unit { guard: Guard::Once { id: once_id(desk, envelope) }, changes: changes.clone() };
    match desk.apply(claim, unit).await {
        Ok(Some(Outcome::Skipped)) => passed_over(envelope.event_type, Finish::Duplicate),
        Ok(Some(_)) => done(envelope.event_type),
        Ok(None) => RunReport { end: RunEnd::Fenced, tally: Tally::default() },
        Err(failure) => {
            if matches!(failure.class, Class::Outage(_)) {
                owed.hold(&envelope.record, claim.lock().await.epoch, changes);
            }
            RunReport::failed(failure)
        }
    }
}

/// Makes durable what an effect of ours leaves behind of an event that it passes over or refuses for good, then
/// reports it. Before the dead letter is acknowledged: done again after a crash, it changes nothing.
async fn close<E>(
    desk: &Desk,
    claim: &SharedClaim,
    envelope: &Envelope<E>,
    context: Context,
    error: Error,
) -> RunReport {
    let (partition, offset) = (envelope.record.partition(), envelope.record.offset());
    // Not the event's own id: a replay of its dead letter may succeed, and a copy of it may fail once more.
    let id = format!("{}/closed/{partition}/{offset}", once_id(desk, envelope));
    let changes = context.changes.into_iter().filter(Change::is_ours).collect();
    match desk.apply(claim, Unit { guard: Guard::Once { id }, changes }).await {
        Ok(Some(_)) => refused(envelope.event_type, error),
        Ok(None) => RunReport { end: RunEnd::Fenced, tally: Tally::default() },
        Err(failure) => RunReport::failed(failure),
    }
}

fn refused(event_type: &'static str, error: Error) -> RunReport {
    let skipped = || passed_over(event_type, Finish::Skipped);
    error.failure().map_or_else(skipped, RunReport::failed)
}

/// Returns the id by which an event is applied once. An event without an id of its own goes by its place; replayed,
/// by the place where it stood first, which its dead letter's id names behind the group.
fn once_id<E>(desk: &Desk, envelope: &Envelope<E>) -> String {
    let id = envelope.id.as_str();
    let first = || desk.letter_id(&envelope.record)?.strip_prefix(&*desk.group)?.strip_prefix('/');
    let by_place = |record: &RawRecord| id == format!("{}/{}", record.partition(), record.offset());
    match first() {
        Some(first) if by_place(&envelope.record) => first.to_owned(),
        _ => id.to_owned(),
    }
}

fn done(event_type: &'static str) -> RunReport {
    ended(RunResult::Done, Tally::one(event_type, Finish::Ok))
}

fn passed_over(event_type: &'static str, finish: Finish) -> RunReport {
    ended(RunResult::Each(vec![Outcome::Skipped]), Tally::one(event_type, finish))
}

fn deferred(event_type: &'static str) -> RunReport {
    ended(RunResult::Each(vec![Outcome::Deferred]), Tally::one(event_type, Finish::Deferred))
}

fn ended(result: RunResult, tally: Tally) -> RunReport {
    RunReport { end: RunEnd::Ended(result), tally }
}
