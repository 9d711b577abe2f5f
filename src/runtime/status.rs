//! What a group shows of itself: refreshed by its driver, read by anybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postroom_core::{Moment, Snapshot, TopicPartition};

use crate::event::RawRecord;
use crate::ports::LogRange;

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// Not yet a member with partitions.
    Joining,
    /// It has partitions.
    Running,
    /// It takes no more work and waits for what is in flight.
    Draining,
    /// It has left.
    Stopped,
}

/// A group at one moment.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// The consumer group's full name.
    pub group: String,
    /// What it is doing.
    pub state: GroupState,
    /// Its processor, as of the last refresh.
    pub snapshot: Option<Snapshot<RawRecord>>,
    /// What the logs of its partitions hold, as of the last look.
    pub logs: BTreeMap<TopicPartition, LogRange>,
}

/// A view that the driver writes and others read.
#[derive(Clone, Debug)]
pub(crate) struct SharedStatus {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    view: GroupView,
    refreshed: Option<Moment>,
}

impl SharedStatus {
    pub(crate) fn new(group: String) -> Self {
        let view = GroupView { group, state: GroupState::Joining, snapshot: None, logs: BTreeMap::new() };
        Self { inner: Arc::new(Mutex::new(Inner { view, refreshed: None })) }
    }

    /// Returns the view as it is now.
    pub(crate) fn view(&self) -> GroupView {
        self.lock().view.clone()
    }

    pub(crate) fn state(&self, state: GroupState) {
        self.lock().view.state = state;
    }

    /// Says whether `interval` passed since the last refresh, and starts it anew if so.
    pub(crate) fn is_due(&self, now: Moment, interval: Duration) -> bool {
        let mut inner = self.lock();
        if inner.refreshed.is_some_and(|last| now.since(last) < interval) {
            return false;
        }
        inner.refreshed = Some(now);
        true
    }

    pub(crate) fn publish(&self, snapshot: Snapshot<RawRecord>) {
        let mut inner = self.lock();
        if inner.view.state == GroupState::Joining && !snapshot.partitions.is_empty() {
            inner.view.state = GroupState::Running;
        }
        inner.view.logs.retain(|partition, _| {
            snapshot.partitions.iter().any(|assigned| assigned.partition == *partition)
        });
        inner.view.snapshot = Some(snapshot);
    }

    pub(crate) fn log(&self, partition: TopicPartition, range: LogRange) {
        self.lock().view.logs.insert(partition, range);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
