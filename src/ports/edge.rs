//! The Kafka edge as the driver sees it: what it tells, what it is asked.

use std::future::Future;
use std::pin::Pin;

use postroom_core::{DeadLetter, FetchEpoch, Generation, Input, Moment, Offset, OffsetRange, TopicPartition};

use crate::event::RawRecord;
use crate::ports::StoreId;

/// Something that the edge tells the driver.
#[derive(Debug)]
pub enum EdgeEvent {
    /// The group gave us a partition.
    Assigned {
        /// Which partition.
        partition: TopicPartition,
        /// Our own number for this assignment, never used twice in a process.
        generation: Generation,
        /// What Kafka's commit says; `None` where there is none.
        committed: Option<CommittedPosition>,
    },
    /// Records, revocations, losses, answers to commits and dead letters: as the processor takes them.
    Input(Input<RawRecord>),
    /// Records were removed from the log before they were read: fetching goes on behind them.
    Removed {
        /// Their partition.
        partition: TopicPartition,
        /// Their offsets.
        range: OffsetRange,
    },
    /// The consumer cannot go on, or has closed as it was asked (`Ok`). Nothing follows.
    Stopped(Result<(), EdgeError>),
}

/// A commit as it stands in Kafka, with what its metadata said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedPosition {
    /// The next offset to read.
    pub next: Offset,
    /// Offsets beyond it that are finished already: a hint; empty where the metadata is foreign or damaged.
    pub finished: Vec<OffsetRange>,
    /// The store of the member that committed, where the metadata names one.
    pub store: Option<StoreId>,
}

/// What a partition's log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The first offset that is still there.
    pub start: Offset,
    /// The offset of the next record to be written.
    pub end: Offset,
}

/// The answer to a question that takes a round trip.
pub type EdgeFuture<'a, V> = Pin<Box<dyn Future<Output = Result<V, EdgeError>> + Send + 'a>>;

/// What the driver asks of the edge. No call blocks; answers come as [`EdgeEvent`]s. Whatever names an old
/// generation is ignored by the edge as well.
pub trait Edge: Send + Sync {
    /// Commits `next` with `finished` in the metadata. Inside a revocation: synchronously.
    fn commit(
        &self,
        partition: &TopicPartition,
        generation: Generation,
        next: Offset,
        finished: &[OffsetRange],
    );
    /// Stops fetching a partition.
    fn pause(&self, generation: Generation);
    /// Fetches it again.
    fn resume(&self, generation: Generation);
    /// Moves the fetch position; records from there carry `epoch`.
    fn seek(&self, partition: &TopicPartition, generation: Generation, offset: Offset, epoch: FetchEpoch);
    /// Says that it is decided where an assignment begins: nothing below `next` is missed. Called behind the `seek`, where there
    /// is one. Until then the edge does not judge a position that is not in the log: it may be somebody else's.
    fn claimed(&self, _generation: Generation, _next: Offset) {}
    /// Polls again and answers `Verified` if the assignment still holds.
    fn verify(&self, generation: Generation);
    /// Nothing of this assignment is in flight: a revocation that waits for it may go on.
    fn released(&self, generation: Generation);
    /// Produces to the dead-letter topic (acks=all) and answers `DeadLettered` or `DeadLetterFailed`.
    fn dead_letter(&self, letter: DeadLetter<RawRecord>);
    /// Reads what the partition's log holds.
    fn log_range(&self, partition: &TopicPartition) -> EdgeFuture<'_, LogRange>;
    /// Reads how many partitions a topic has on the cluster; 0 where it is not there.
    fn partition_count<'a>(&'a self, topic: &'a str) -> EdgeFuture<'a, usize>;
    /// Says how often the poll thread has come round since the start.
    fn rounds(&self) -> u64;
    /// Leaves the group and ends with `Stopped`, by `deadline` at the latest.
    fn close(&self, deadline: Moment);
    /// Says that the driver has taken that many records out of the events, with the sum of their `bytes`: fetching goes on while
    /// few are untaken. From the first call on the edge holds records back, so call it always or never.
    fn taken(&self, _records: usize, _bytes: usize) {}
}

/// Why the edge cannot do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// No broker answers at the configured addresses.
    #[error("no Kafka broker answers: {0}")]
    Unreachable(String),
    /// The broker refused our rights; the message names what is missing.
    #[error("not authorised: {0}")]
    NotAuthorised(String),
    /// A topic that must exist is not there.
    #[error("topic {topic} does not exist on this cluster: {fix}")]
    NoSuchTopic {
        /// The topic.
        topic: String,
        /// What to do.
        fix: String,
    },
    /// Another member has our static membership id.
    #[error("another running member uses the same group.instance.id: {0}")]
    FencedInstance(String),
    /// The configuration cannot work.
    #[error("{0}")]
    Configuration(String),
    /// The next record to read is not in the log (any more).
    #[error("{partition}: the next offset {next} is not in the log, which holds {}..{}", log.start, log.end)]
    PositionGone {
        /// The partition.
        partition: TopicPartition,
        /// The next offset to read.
        next: Offset,
        /// What the log holds.
        log: LogRange,
    },
    /// The close did not end by its deadline.
    #[error("the consumer did not close by its deadline")]
    CloseTimedOut,
    /// Anything else that ends the consumer.
    #[error("the Kafka client failed: {0}")]
    Client(String),
}
