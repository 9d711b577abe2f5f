//! What a handler gets beside its events.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postroom_core::{Attempt, TopicPartition};

use crate::ports::{Change, Param, Store};

/// Counts a request to a dependency: which, whether it went well, and how long it took.
pub(crate) type Meter = Arc<dyn Fn(&str, bool, Duration) + Send + Sync>;

/// A meter for groups that nobody watches.
pub(crate) fn no_meter() -> Meter {
    Arc::new(|_, _, _| {})
}

/// Waits for a request to a dependency, and counts it.
#[expect(clippy::disallowed_methods, reason = "how long a request took decides nothing: it is only told")]
async fn measured<V, E>(
    meter: &Meter,
    dependency: &str,
    request: impl Future<Output = Result<V, E>>,
) -> Result<V, E> {
    let began = Instant::now();
    let result = request.await;
    meter(dependency, result.is_ok(), began.elapsed());
    result
}

/// Beside one event: which attempt this is, and the statements that commit with it.
pub struct Context {
    pub(crate) group: Arc<str>,
    pub(crate) attempt: Attempt,
    pub(crate) deadline: Duration,
    /// Somebody replays the event's dead letter.
    pub(crate) is_replay: bool,
    pub(crate) changes: Vec<Change>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) meter: Meter,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("group", &self.group)
            .field("attempt", &self.attempt)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Returns the store, for effects of ours that must know more than their event says.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Says whether somebody replays the event's dead letter.
    pub(crate) fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// Adds a change that the store makes in one transaction with the mark that this event was applied; also where the
    /// event is passed over or becomes a dead letter. Otherwise it is dropped.
    pub(crate) fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Says whether there are changes that are kept also where the event is passed over or refused.
    pub(crate) fn has_own_changes(&self) -> bool {
        self.changes.iter().any(Change::is_ours)
    }

    /// Returns the consumer group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Returns which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt.0
    }

    /// Returns how long an attempt may take before it is cancelled.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Waits for a request to a dependency and counts it in `postroom_effect_requests_total` and
    /// `postroom_effect_duration_seconds`, under the name that [`Group::depends_on`](crate::Group::depends_on) was given.
    ///
    /// # Errors
    /// The request's own.
    pub async fn request<V, E>(
        &self,
        dependency: &str,
        request: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        measured(&self.meter, dependency, request).await
    }

    /// Adds a statement, with parameters `?1`, `?2`, …, that the store runs in one transaction with the mark that
    /// this event was applied: exactly once, whatever crashes.
    pub fn execute(&mut self, sql: impl Into<String>, params: impl IntoIterator<Item = Param>) {
        self.changes.push(Change::Statement { sql: sql.into(), params: params.into_iter().collect() });
    }
}

/// Beside a batch: its partition, and the statements that commit with the position.
pub struct BatchContext {
    pub(crate) group: Arc<str>,
    pub(crate) partition: TopicPartition,
    pub(crate) attempt: Attempt,
    pub(crate) changes: Vec<Change>,
    pub(crate) meter: Meter,
}

impl fmt::Debug for BatchContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchContext")
            .field("group", &self.group)
            .field("partition", &self.partition)
            .field("attempt", &self.attempt)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

impl BatchContext {
    /// Returns the consumer group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Returns the partition that the batch comes from.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Returns which attempt this is for the batch's first event, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt.0
    }

    /// Waits for a request to a dependency and counts it, as [`Context::request`] does.
    ///
    /// # Errors
    /// The request's own.
    pub async fn request<V, E>(
        &self,
        dependency: &str,
        request: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        measured(&self.meter, dependency, request).await
    }

    /// Adds a statement, with parameters `?1`, `?2`, …, that the store runs in one transaction with the position.
    pub fn execute(&mut self, sql: impl Into<String>, params: impl IntoIterator<Item = Param>) {
        self.changes.push(Change::Statement { sql: sql.into(), params: params.into_iter().collect() });
    }
}
