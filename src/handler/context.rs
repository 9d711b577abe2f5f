//! What a handler gets beside its events.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postroom_core::{Attempt, TopicPartition};

use crate::ports::{Change, Param, Store};

/// Beside one event: which attempt this is, and the statements that commit with it.
pub struct Context {
    pub(crate) group: Arc<str>,
    pub(crate) attempt: Attempt,
    pub(crate) deadline: Duration,
    pub(crate) changes: Vec<Change>,
    pub(crate) store: Arc<dyn Store>,
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

    /// Adds a statement, with parameters `?1`, `?2`, …, that the store runs in one transaction with the mark that
    /// this event was applied: exactly once, whatever crashes.
    pub fn execute(&mut self, sql: impl Into<String>, params: impl IntoIterator<Item = Param>) {
        self.changes.push(Change::Statement { sql: sql.into(), params: params.into_iter().collect() });
    }
}

/// Beside a batch: its partition, and the statements that commit with the position.
#[derive(Debug)]
pub struct BatchContext {
    pub(crate) group: Arc<str>,
    pub(crate) partition: TopicPartition,
    pub(crate) attempt: Attempt,
    pub(crate) changes: Vec<Change>,
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

    /// Adds a statement, with parameters `?1`, `?2`, …, that the store runs in one transaction with the position.
    pub fn execute(&mut self, sql: impl Into<String>, params: impl IntoIterator<Item = Param>) {
        self.changes.push(Change::Statement { sql: sql.into(), params: params.into_iter().collect() });
    }
}
