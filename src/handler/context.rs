//! What a handler gets beside its events.

use std::sync::Arc;
use std::time::Duration;

use postroom_core::{Attempt, TopicPartition};

use crate::ports::{Change, Param};

/// Beside one event: which attempt this is, and the statements that commit with it.
#[derive(Debug)]
pub struct Context {
    pub(crate) group: Arc<str>,
    pub(crate) attempt: Attempt,
    pub(crate) deadline: Duration,
    pub(crate) changes: Vec<Change>,
}

impl Context {
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
