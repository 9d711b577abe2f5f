//! What a status page reads: a plain value.

use crate::failure::Dependency;
use crate::output::{CircuitState, PauseCause};
use crate::record::{Attempt, Generation, Moment, Offset, TopicPartition};

/// The state of a processor at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot<T> {
    /// One entry an assigned partition, in the order of their names.
    pub partitions: Vec<PartitionSnapshot<T>>,
    /// Runs in flight.
    pub runs_in_flight: usize,
    /// Records received and unfinished.
    pub unfinished: usize,
    /// Their bytes.
    pub unfinished_bytes: usize,
    /// Circuits that are not closed.
    pub circuits: Vec<(Dependency, CircuitState)>,
}

/// The state of one assigned partition.
#[derive(Clone, Debug)]
pub struct PartitionSnapshot<T> {
    /// Which partition.
    pub partition: TopicPartition,
    /// Its assignment.
    pub generation: Generation,
    /// What it is doing.
    pub phase: PartitionPhase,
    /// The next offset to commit: nothing below is unfinished. `None` before anything is known.
    pub watermark: Option<Offset>,
    /// The last offset that the broker acknowledged.
    pub committed: Option<Offset>,
    /// Records received and unfinished.
    pub unfinished: usize,
    /// Records waiting for a retry, with those that wait behind them.
    pub waiting: usize,
    /// The oldest unfinished record: its payload, its attempt and when it is tried again.
    pub head: Option<(Offset, T, Attempt, Option<Moment>)>,
    /// Why it is paused, if it is.
    pub paused: Option<PauseCause>,
}

/// What a partition is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionPhase {
    /// Waiting for the store's answer.
    Claiming,
    /// Dispatching.
    Active,
    /// Fenced: waiting for word whether it is still ours.
    Fenced,
    /// Given back: waiting for what is in flight.
    Draining,
}
