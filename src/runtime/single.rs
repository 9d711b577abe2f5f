//! Runs of one record, for a [`Handler`].

use std::sync::Arc;

use postroom_core::{Failure, Outcome, Run, RunResult};

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
            let envelope = match desk.codec.envelope_of::<H::Event>(&record, desk.types) {
                Ok(Some(envelope)) => envelope,
                Ok(None) => return finished(OTHER, Outcome::Skipped),
                Err(error) => return RunReport::failed(Failure::from(error)),
            };
            let mut context = Context {
                group: Arc::clone(&desk.group),
                attempt,
                deadline: desk.deadline,
                changes: Vec::new(),
            };
            match desk.in_time(handler.handle(&envelope, &mut context)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return match error.outcome() {
                        Outcome::Failed(failure) => RunReport::failed(failure),
                        finish => finished(envelope.event_type, finish),
                    };
                }
                Err(late) => return RunReport::failed(late),
            }
            if context.changes.is_empty() {
                return finished(envelope.event_type, Outcome::Done);
            }
            keep(&desk, &claim, &envelope, context).await
        })
    }
}

/// Makes a handler's statements durable, once per event.
async fn keep<E>(desk: &Desk, claim: &SharedClaim, envelope: &Envelope<E>, context: Context) -> RunReport {
    let unit = Unit { guard: Guard::Once { id: once_id(desk, envelope) }, changes: context.changes };
    match desk.apply(claim, unit).await {
        Ok(Some(Outcome::Skipped)) => {
            ended(RunResult::Each(vec![Outcome::Skipped]), Tally::one(envelope.event_type, Finish::Duplicate))
        }
        Ok(Some(outcome)) => finished(envelope.event_type, outcome),
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

fn finished(event_type: &'static str, outcome: Outcome) -> RunReport {
    match outcome {
        Outcome::Done => ended(RunResult::Done, Tally::one(event_type, Finish::Ok)),
        other => ended(RunResult::Each(vec![other]), Tally::one(event_type, Finish::Skipped)),
    }
}

fn ended(result: RunResult, tally: Tally) -> RunReport {
    RunReport { end: RunEnd::Ended(result), tally }
}
