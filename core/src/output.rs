//! What the processor asks for.

use std::time::Duration;

use crate::failure::{Dependency, Failure, Reason};
use crate::record::{
    Attempt, FetchEpoch, Generation, Moment, Offset, OffsetRange, RunId, Ticket, TopicPartition,
};

/// Something to do, in the order in which it was decided.
#[derive(Clone, Debug)]
pub enum Output<T> {
    /// Raise the epoch and read the position in the store; answer with `Claimed` or `ClaimFailed`.
    Claim {
        /// The partition to claim.
        partition: TopicPartition,
        /// The assignment that claims.
        generation: Generation,
    },
    /// Poll once more and answer with `Verified` if the partition is still ours.
    Verify {
        /// The assignment in doubt.
        generation: Generation,
    },
    /// Move the fetch position; records fetched from there carry `epoch`.
    Seek {
        /// The partition to move in.
        partition: TopicPartition,
        /// The assignment that moves.
        generation: Generation,
        /// The next offset to fetch.
        offset: Offset,
        /// The number that later records carry.
        epoch: FetchEpoch,
    },
    /// Run the handler.
    Dispatch(Run<T>),
    /// Cancel a running handler; its completion will have no effect.
    Abandon {
        /// Which run.
        run: RunId,
    },
    /// Keep the number of begun attempts over restarts.
    CountAttempt {
        /// The record's partition.
        partition: TopicPartition,
        /// Which record.
        ticket: Ticket,
        /// The attempt that is about to begin, from 2 on.
        attempt: Attempt,
    },
    /// A failed record will be tried again: information, for metric and log.
    RetryScheduled {
        /// The record's partition.
        partition: TopicPartition,
        /// Which record.
        ticket: Ticket,
        /// The attempt that failed.
        attempt: Attempt,
        /// When it is tried again.
        at: Moment,
        /// Why it failed.
        cause: Failure,
    },
    /// Produce the record to the dead-letter topic with acks=all and report `DeadLettered` or `DeadLetterFailed`.
    DeadLetter(DeadLetter<T>),
    /// Commit to Kafka; answer with `Committed` or `CommitFailed`. Inside a revoke the edge commits synchronously.
    Commit {
        /// The partition.
        partition: TopicPartition,
        /// The assignment that commits.
        generation: Generation,
        /// The next offset to read: nothing below is unfinished.
        next: Offset,
        /// What is finished beyond it, sorted, not touching each other.
        finished: Vec<OffsetRange>,
    },
    /// Stop fetching a partition; to be ignored where the assignment is not current any more.
    Pause {
        /// The partition.
        partition: TopicPartition,
        /// The assignment that is paused.
        generation: Generation,
        /// Why.
        cause: PauseCause,
    },
    /// Fetch it again; to be ignored where the assignment is not current any more.
    Resume {
        /// The partition.
        partition: TopicPartition,
        /// The assignment that is resumed.
        generation: Generation,
    },
    /// Nothing of this assignment is in flight: the rebalance may go on. It is not heard of again.
    Released {
        /// The partition.
        partition: TopicPartition,
        /// The assignment that ended.
        generation: Generation,
        /// How many records were received and left unfinished for the next owner.
        unfinished: usize,
    },
    /// A dependency went away or came back: information, for metric and log.
    Circuit {
        /// Which dependency.
        dependency: Dependency,
        /// Its new state.
        state: CircuitState,
    },
    /// The group must stop: the driver drains, then leaves with a documented code.
    Halt {
        /// Why.
        cause: HaltCause,
    },
    /// The answer to `Drain`: all partitions are released.
    Drained {
        /// How many runs were abandoned because the deadline passed.
        abandoned: usize,
    },
}

/// One unit of work: one record, or for batch handlers up to N of one partition in offset order.
#[derive(Clone, Debug)]
pub struct Run<T> {
    /// Its name.
    pub id: RunId,
    /// The partition of its records.
    pub partition: TopicPartition,
    /// The assignment under which they were fetched.
    pub generation: Generation,
    /// Which attempt this is for the first record.
    pub attempt: Attempt,
    /// The records, in offset order; never empty.
    pub records: Vec<(Offset, T)>,
}

/// A record on its way to the dead-letter topic.
#[derive(Clone, Debug)]
pub struct DeadLetter<T> {
    /// The record's partition.
    pub partition: TopicPartition,
    /// Which record.
    pub ticket: Ticket,
    /// Why.
    pub reason: Reason,
    /// The failure that decided it.
    pub failure: Failure,
    /// How many attempts were made; 0 where no handler saw it.
    pub attempts: u32,
    /// How long ago the record first failed.
    pub failing_for: Duration,
    /// The record.
    pub payload: T,
}

/// Why a partition is not fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PauseCause {
    /// Too much is unfinished.
    Backpressure,
    /// A dependency is away.
    Circuit,
    /// Its head record, or too many of its keys, wait for a retry or a dead letter's acknowledgement.
    Order,
}

/// The state of a dependency's circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// It works.
    Closed,
    /// One run probes it.
    HalfOpen,
    /// It is away; the next probe is at the given moment.
    Open {
        /// The next probe.
        until: Moment,
    },
}

/// Why a group stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaltCause {
    /// A failure of class `Fatal`.
    Fatal(Failure),
    /// Too many dead letters: a bad deployment must not divert a topic.
    DeadLetterFlood {
        /// Dead letters in the window.
        dead: u32,
        /// Records finished in the window.
        finished: u32,
    },
}
