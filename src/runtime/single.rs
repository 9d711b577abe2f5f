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
            if owed.holds_some() {
                // Not in the condition, where the claim would be locked until the end of the block.
                let epoch = claim.lock().await.epoch;
                if let Some(changes) = owed.take(&record, epoch, envelope.id.as_str()) {
                    return Box::pin(Handled::new(desk, claim, owed, &envelope, changes).kept()).await;
                }
            }
            let mut context = Context {
                group: Arc::clone(&desk.group),
                attempt,
                deadline: desk.deadline,
                is_replay: desk.is_replay(&record),
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
            Box::pin(Handled::new(desk, claim, owed, &envelope, context.changes).kept()).await
        })
    }
}

/// An event whose handler ended well, and what is to be made durable of it.
struct Handled {
    desk: Arc<Desk>,
    claim: SharedClaim,
    owed: Arc<Owed>,
    record: RawRecord,
    event_type: &'static str,
    once: String,
    changes: Vec<Change>,
}

impl Handled {
    fn new<E>(
        desk: Arc<Desk>,
        claim: SharedClaim,
        owed: Arc<Owed>,
        envelope: &Envelope<E>,
        changes: Vec<Change>,
    ) -> Self {
        let once = once_id(&desk, envelope);
        let (record, event_type) = (envelope.record.clone(), envelope.event_type);
        Self { desk, claim, owed, record, event_type, once, changes }
    }

    /// Makes it durable. What the other side has is written down to the end, also where the run is abandoned meanwhile.
    async fn kept(self) -> RunReport {
        if !self.changes.iter().any(Change::is_done) {
            return self.keep().await;
        }
        match tokio::spawn(self.keep()).await {
            Ok(report) => report,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process ends.
                Err(_) => fenced(),
            },
        }
    }

    /// Makes a handler's statements durable, once per event. Where the store is away they are owed: the effect is done. So
    /// it is where the partition has a new owner, who is to know.
    async fn keep(self) -> RunReport {
        let unit = Unit { guard: Guard::Once { id: self.once }, changes: self.changes.clone() };
        match self.desk.apply(&self.claim, unit).await {
            Ok(Some(Outcome::Skipped)) => passed_over(self.event_type, Finish::Duplicate),
            Ok(Some(_)) => done(self.event_type),
            Ok(None) => {
                tell_what_is_done(&self.desk, &self.changes).await;
                fenced()
            }
            Err(failure) => {
                if matches!(failure.class, Class::Outage(_)) {
                    self.owed.hold(&self.record, self.claim.lock().await.epoch, self.changes);
                }
                RunReport::failed(failure)
            }
        }
    }
}

/// Tells the ledger what the other side has, without a claim: it is true under any. That a request is no longer wanted
/// or dead is for the partition's owner to say, and so are statements.
async fn tell_what_is_done(desk: &Desk, changes: &[Change]) {
    for change in changes.iter().filter(|change| change.is_done()) {
        if let Change::RequestClosed { id, reply, time, .. } = change
            && let Err(error) = desk.store.done(id, *time, reply).await
        {
            tracing::warn!(request = id, %error, "that it was carried out was not written down: it may be repeated");
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
        Ok(None) => fenced(),
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

/// The partition has a new owner.
fn fenced() -> RunReport {
    RunReport { end: RunEnd::Fenced, tally: Tally::default() }
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
