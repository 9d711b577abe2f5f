//! What the processor is told.

use crate::failure::Failure;
use crate::record::{
    Attempt, FetchEpoch, Generation, KeyHash, Moment, Offset, OffsetRange, RunId, Ticket, TopicPartition,
};

/// Something that happened. Any order is allowed; whatever names an old generation has no effect.
#[derive(Clone, Debug)]
pub enum Input<T> {
    /// The group gave us a partition. It is *claiming* until [`Input::Claimed`]: records are taken, nothing
    /// is dispatched. Where [`Settings::claims`](crate::Settings) is `AtOnce` it is active from the start.
    Assigned {
        /// Which partition.
        partition: TopicPartition,
        /// The new assignment, above every earlier one.
        generation: Generation,
        /// Where fetching begins, if known: Kafka's commit. Otherwise the first record decides.
        start: Option<Offset>,
        /// Offsets above `start` that are finished already: a hint from the commit's metadata.
        finished: Vec<OffsetRange>,
    },
    /// The store's answer to [`Output::Claim`](crate::Output::Claim).
    Claimed {
        /// The assignment that was claimed.
        generation: Generation,
        /// Go on here: records below complete as skipped; where it is below what was fetched, a
        /// [`Seek`](crate::Output::Seek) follows. `None`: the store has no row, Kafka's position stands.
        next: Option<Offset>,
        /// Attempts that earlier owners had begun, by offset.
        attempts: Vec<(Offset, Attempt)>,
    },
    /// The claim could not be made: the store is away. The processor asks again later.
    ClaimFailed {
        /// The assignment whose claim failed.
        generation: Generation,
    },
    /// A store transaction found a foreign epoch: what is in flight is dropped, and
    /// [`Output::Verify`](crate::Output::Verify) asks whether the partition is still ours.
    Fenced {
        /// The assignment that was fenced.
        generation: Generation,
    },
    /// The edge polled again after a [`Output::Verify`](crate::Output::Verify) and the partition is still ours.
    Verified {
        /// The assignment that still holds.
        generation: Generation,
    },
    /// Records of one partition in offset order, polled and not yet decoded. Those below what was already
    /// received, or of an older fetch epoch, are dropped.
    Records {
        /// The assignment under which they were fetched.
        generation: Generation,
        /// The last seek that the fetch had seen.
        epoch: FetchEpoch,
        /// The records.
        records: Vec<Record<T>>,
    },
    /// A dispatched run ended.
    Completed {
        /// Which run.
        run: RunId,
        /// How it ended.
        result: RunResult,
    },
    /// The dead-letter topic acknowledged the record (acks=all).
    DeadLettered {
        /// Which record.
        ticket: Ticket,
    },
    /// The dead-letter topic refused the record: it is sent again later, its partition waits.
    DeadLetterFailed {
        /// Which record.
        ticket: Ticket,
    },
    /// The broker took a commit.
    Committed {
        /// The assignment that committed.
        generation: Generation,
        /// The committed next offset.
        next: Offset,
    },
    /// The broker did not take a commit: it is repeated with the next one.
    CommitFailed {
        /// The assignment that committed.
        generation: Generation,
    },
    /// The group takes partitions back: in-flight work may end until the deadline, nothing new starts.
    Revoked {
        /// Which assignments.
        generations: Vec<Generation>,
        /// When to give up waiting.
        deadline: Moment,
    },
    /// Partitions are gone already: everything of theirs is dropped at once, nothing is committed.
    Lost {
        /// Which assignments.
        generations: Vec<Generation>,
    },
    /// Shut down: as [`Input::Revoked`] for all partitions, ended by [`Output::Drained`](crate::Output::Drained).
    Drain {
        /// When to give up waiting.
        deadline: Moment,
    },
    /// Only time passed. Early or repeated ticks change nothing.
    Tick,
}

/// A polled record, with a payload that the processor never looks at.
#[derive(Clone, Debug)]
pub struct Record<T> {
    /// Where it stands in its partition.
    pub offset: Offset,
    /// The hash of its key; `None` for a null key, which is ordered with its whole partition's other null keys.
    pub key: Option<KeyHash>,
    /// What it weighs in memory, for the pressure limit.
    pub bytes: u32,
    /// The record itself. Cloning must be cheap.
    pub payload: T,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum RunResult {
    /// Every record is done.
    Done,
    /// One outcome a record, in the run's order. What follows the first failure, or is missing at the end,
    /// counts as not attempted.
    Each(Vec<Outcome>),
    /// The run failed as a whole and left no effect: a run of one is that record's failure; a longer one is
    /// split until the bad record stands alone. A transient failure counts as an attempt of the first
    /// record only.
    Failed(Failure),
}

/// How one record of a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its effects are durable.
    Done,
    /// A rule passed over it.
    Skipped,
    /// It is stored durably for later: finished here.
    Deferred,
    /// It failed.
    Failed(Failure),
}
