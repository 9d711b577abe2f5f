//! What runs a run: decodes its records, calls the handler, makes the effects durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use postroom_core::{Class, Dependency, Ended, Failure, Outcome, Reason, Run, RunResult};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::codec::{Codec, DecodeError, Event, SchemaRef};
use crate::event::{Envelope, EventType, RawRecord};
use crate::handler::{Meter, no_meter};
use crate::kafka::REPLAY_OF;
use crate::ports::{Applied, Claim, Store, StoreError, Unit};
use crate::runtime::group::Group;
use crate::runtime::schemas::Schemas;
use crate::runtime::tally::{OTHER, Tally};
use crate::telemetry::Journal;

/// The claim under which a generation's units are applied, shared by its runs.
pub(crate) type SharedClaim = Arc<Mutex<Claim>>;

/// What a worker works with.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) group: Arc<str>,
    pub(crate) retry_topic: Arc<str>,
    /// The kinds of events that the group wants.
    pub(crate) types: &'static [EventType],
    pub(crate) codec: Codec,
    /// Where schemas that the codec lacks are learnt; `None` where there is nobody to ask.
    pub(crate) schemas: Option<Arc<Schemas>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) deadline: std::time::Duration,
    /// Counts requests to dependencies.
    pub(crate) meter: Meter,
    pub(crate) journal: Arc<Journal>,
}

/// Runs the runs of one group.
pub(crate) trait Worker: Send + Sync + 'static {
    /// Runs one; dropped when it is abandoned.
    fn run(&self, desk: Arc<Desk>, run: Run<RawRecord>, claim: SharedClaim) -> RunFuture;
}

pub(crate) type RunFuture = Pin<Box<dyn Future<Output = RunReport> + Send>>;

/// How a run ended, and what is to be counted.
#[derive(Debug)]
pub(crate) struct RunReport {
    pub(crate) end: RunEnd,
    pub(crate) tally: Tally,
}

#[derive(Debug)]
pub(crate) enum RunEnd {
    /// As the processor takes it.
    Ended(RunResult),
    /// The store found a foreign epoch.
    Fenced,
}

impl RunReport {
    pub(crate) fn failed(failure: Failure) -> Self {
        Self { end: RunEnd::Ended(RunResult::Failed(failure)), tally: Tally::default() }
    }
}

impl Desk {
    pub(crate) fn new(group: &Group, prefix: &str, codec: Codec, store: Arc<dyn Store>) -> Self {
        let name = group.full_name(prefix);
        Self {
            retry_topic: Arc::from(format!("retry.{name}")),
            group: Arc::from(name),
            types: group.types,
            codec,
            schemas: None,
            store,
            deadline: group.deadline,
            meter: no_meter(),
            journal: Arc::default(),
        }
    }

    /// Decodes a record, and learns its schema where it has to.
    pub(crate) async fn envelope<E: Event>(
        &self,
        record: &RawRecord,
    ) -> Result<Option<Envelope<E>>, Failure> {
        match self.codec.envelope_of::<E>(record, self.types) {
            Ok(envelope) => Ok(envelope),
            Err(DecodeError::NeedsSchema(name)) if self.schemas.is_some() => {
                self.learn(name).await?;
                Ok(self.codec.envelope_of::<E>(record, self.types)?)
            }
            Err(error) => Err(Failure::from(error)),
        }
    }

    /// Learns a schema that a record needs.
    ///
    /// # Errors
    /// There is nobody to ask, or what the registry said.
    pub(crate) async fn learn(&self, name: SchemaRef) -> Result<(), Failure> {
        match &self.schemas {
            Some(schemas) => schemas.learn(name).await,
            None => Err(Failure::from(DecodeError::NeedsSchema(name))),
        }
    }

    /// Notes in this journal what becomes of events.
    pub(crate) fn noting(mut self, journal: &Arc<Journal>) -> Self {
        self.journal = Arc::clone(journal);
        self
    }

    /// Says whether a record was replayed from a dead letter.
    pub(crate) fn is_replay(&self, record: &RawRecord) -> bool {
        record.partition().topic.as_str() == &*self.retry_topic
    }

    /// Returns the id by which a replay is applied once: that of its dead letter, the same for every copy. `None` for
    /// a record that is no replay.
    pub(crate) fn letter_id<'r>(&self, record: &'r RawRecord) -> Option<&'r str> {
        let id = self.is_replay(record).then(|| record.header(REPLAY_OF)).flatten()?;
        std::str::from_utf8(id).ok()
    }

    /// Returns the name of a record's kind, for labels: `other` where it is none of the group's.
    pub(crate) fn event_type(&self, record: &RawRecord) -> &'static str {
        self.codec.kind_among(record, self.types).map_or(OTHER, |kind| kind.name)
    }

    /// Returns the topic that events of a kind are published to: where a replay of one first stood.
    pub(crate) fn source_of(&self, event_type: &str) -> &'static str {
        self.types.iter().find(|kind| kind.name == event_type).map_or(OTHER, |kind| kind.topic)
    }

    /// Waits for a handler, until its deadline. The store's work afterwards is not held to it: a store that is away
    /// is an outage, no handler that is too slow.
    ///
    /// # Errors
    /// The deadline passed, and the handler was cancelled.
    pub(crate) async fn in_time<V>(&self, handling: impl Future<Output = V>) -> Result<V, Failure> {
        tokio::time::timeout(self.deadline, handling).await.map_err(|_elapsed| {
            let class = Class::Transient { retry_after: None, ended: Ended::ByDeadline };
            Failure::new(class, "deadline", format!("the handler did not end within {:?}", self.deadline))
        })
    }

    /// Applies a unit; `Ok(None)` means fenced.
    pub(crate) async fn apply(&self, claim: &SharedClaim, unit: Unit) -> Result<Option<Outcome>, Failure> {
        let began = Instant::now();
        let applied = match &unit.guard {
            crate::ports::Guard::Position { .. } => {
                let mut claim = claim.lock().await;
                self.store.apply(&mut claim, unit).await
            }
            // Only the epoch is read, so that units of one partition can share a commit.
            crate::ports::Guard::Once { .. } => {
                let mut copy = claim.lock().await.clone();
                self.store.apply(&mut copy, unit).await
            }
        };
        (self.meter)(STORE, applied.is_ok(), began.elapsed());
        match applied {
            Ok(Applied::Committed) => Ok(Some(Outcome::Done)),
            Ok(Applied::Duplicate) => Ok(Some(Outcome::Skipped)),
            Ok(Applied::Fenced) => Ok(None),
            Err(error) => Err(store_failure(error)),
        }
    }
}

/// The store, as a dependency.
pub(crate) const STORE: &str = "store";

/// The class of a store's error: decided here, once.
pub(crate) fn store_failure(error: StoreError) -> Failure {
    let message = error.to_string();
    match error {
        StoreError::Away(_) => Failure::new(Class::Outage(Dependency(STORE.into())), "store_away", message),
        StoreError::Refused(_) => Failure::new(Class::Dead(Reason::Rejected), "store_refused", message),
        StoreError::Unusable(_) => Failure::new(Class::Fatal, "store_unusable", message),
    }
}

/// A handler's panic as a failure.
pub(crate) fn panic_failure(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Failure::new(Class::Dead(Reason::Panicked), "panic", format!("the handler panicked: {text}"))
}
