//! Runs of one record, for a [`Handler`].

use std::sync::Arc;

use postroom_core::{Outcome, Run, RunResult};

use crate::event::{Envelope, RawRecord};
use crate::handler::{Context, Handler};
use crate::ports::{Guard, Unit};
use crate::runtime::tally::{Finish, OTHER, Tally};
use crate::runtime::worker::{Desk, RunEnd, RunFuture, RunReport, SharedClaim, Worker};

/// Calls a handler with one event at a time.
pub(crate) struct Single<H> {
    handler: Arc<H>,
}

impl<H> Single<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler: Arc::new(handler) }
    }
}

impl<H: Handler> Worker for Single<H> {
    fn run(&self, desk: Arc<Desk>, run: Run<RawRecord>, claim: SharedClaim) -> RunFuture {
        let handler = Arc::clone(&self.handler);
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
            let mut context = Context {
                group: Arc::clone(&desk.group),
                attempt,
                deadline: desk.deadline,
                changes: Vec::new(),
                store: Arc::clone(&desk.store),
            };
            match desk.in_time(handler.handle(&envelope, &mut context)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.is_deferred() => return deferred(envelope.event_type),
                Ok(Err(error)) => {
                    let skipped = || passed_over(envelope.event_type, Finish::Skipped);
                    return error.failure().map_or_else(skipped, RunReport::failed);
                }
                Err(late) => return RunReport::failed(late),
            }
            if context.changes.is_empty() {
                return done(envelope.event_type);
            }
            keep(&desk, &claim, &envelope, context).await
        })
    }
}

/// Makes a handler's statements durable, once per event.
async fn keep<E>(desk: &Desk, claim: &SharedClaim, envelope: &Envelope<E>, context: Context) -> RunReport {
    let unit = Unit { guard: Guard::Once { id: once_id(desk, envelope) }, changes: context.changes };
    match desk.apply(claim, unit).await {
        Ok(Some(Outcome::Skipped)) => passed_over(envelope.event_type, Finish::Duplicate),
        Ok(Some(_)) => done(envelope.event_type),
        Ok(None) => RunReport { end: RunEnd::Fenced, tally: Tally::default() },
        Err(failure) => RunReport::failed(failure),
    }
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
