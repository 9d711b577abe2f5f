//! What a status page reads: a plain value.

use crate::failure::Dependency;
use crate::lane::State;
use crate::output::{CircuitState, PauseCause};
use crate::partition::{Partition, Phase};
use crate::processor::Processor;
use crate::record::{Attempt, Generation, Moment, Offset, TopicPartition};
use crate::records::Stage;

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
    /// Their bytes.
    pub unfinished_bytes: usize,
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

impl<T: Clone> Processor<T> {
    /// Returns the state as a plain value: O(unfinished records).
    pub fn snapshot(&self) -> Snapshot<T> {
        let held = self.current.values().filter_map(|generation| self.partitions.get(generation));
        let partitions: Vec<_> = held.map(Partition::snapshot).collect();
        Snapshot {
            runs_in_flight: self.shared.runs.len(),
            unfinished: partitions.iter().map(|partition| partition.unfinished).sum(),
            unfinished_bytes: self.shared.bytes,
            circuits: self.shared.circuits.states(),
            partitions,
        }
    }
}

impl<T: Clone> Partition<T> {
    fn snapshot(&self) -> PartitionSnapshot<T> {
        let oldest = self.records.iter().map(|(_, held)| held).min_by_key(|held| held.offset);
        let waits = |stage: Stage| matches!(stage, Stage::Waiting { .. } | Stage::Dead);
        let waiting = self.records.iter().filter(|(_, held)| waits(held.stage)).count();
        let behind = self.lanes.iter().filter(|(_, lane)| lane.state == State::Waiting);
        PartitionSnapshot {
            partition: self.name.clone(),
            generation: self.generation,
            phase: match self.phase {
                Phase::Claiming { .. } => PartitionPhase::Claiming,
                Phase::Active => PartitionPhase::Active,
                Phase::Fenced { .. } => PartitionPhase::Fenced,
                Phase::Draining { .. } => PartitionPhase::Draining,
            },
            watermark: self.offsets.watermark(),
            committed: self.commits.committed(),
            unfinished: self.records.len(),
            unfinished_bytes: self.records.bytes(),
            waiting: waiting + behind.map(|(_, lane)| lane.queue.len()).sum::<usize>(),
            head: oldest.map(|held| {
                let until = match held.stage {
                    Stage::Waiting { until } => Some(until),
                    Stage::Queued | Stage::InFlight | Stage::Dead => None,
                };
                (held.offset, held.payload.clone(), held.attempt(), until)
            }),
            paused: self.paused,
        }
    }
}
