//! What became of the events that were played.

use std::collections::BTreeMap;
use std::time::Duration;

use postroom_core::{Offset, Reason, TopicPartition};

use crate::adapters::store::AnyStore;
use crate::ports::Param;

/// What became of the events.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) calls: usize,
    pub(crate) committed: BTreeMap<TopicPartition, Offset>,
    pub(crate) retries: usize,
    pub(crate) dead: Vec<(Reason, String)>,
    pub(crate) elapsed: Duration,
    pub(crate) halted: Option<String>,
    pub(crate) store: AnyStore,
}

impl Report {
    pub(crate) fn new(store: AnyStore) -> Self {
        Self {
            calls: 0,
            committed: BTreeMap::new(),
            retries: 0,
            dead: Vec::new(),
            elapsed: Duration::ZERO,
            halted: None,
            store,
        }
    }

    /// Returns how many runs reached the handler.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Returns how many events the committed positions cover, over all topics.
    pub fn committed(&self) -> i64 {
        self.committed.values().map(|offset| offset.0).sum()
    }

    /// Returns how many retries were scheduled.
    pub fn retries(&self) -> usize {
        self.retries
    }

    /// Returns the dead letters, reason and message, in their order.
    pub fn dead_letters(&self) -> &[(Reason, String)] {
        &self.dead
    }

    /// Returns how much virtual time passed.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Returns why the group stopped itself; `None` where it did not.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// Reads what the handler wrote: the rows of a query on the store in memory, a list of columns each.
    ///
    /// # Panics
    /// Where the query does not compile: the test itself is at fault.
    #[expect(clippy::panic, reason = "a test's own mistake should stop the test")]
    pub fn rows(&self, sql: &str) -> Vec<Vec<Param>> {
        match super::test_bench::block_on(self.store.query(sql, Vec::new())) {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {error}"),
        }
    }
}
