//! The newtypes that name a record and its place: no behaviour beyond `next`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The name of a Kafka topic. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Names a topic.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a partition within its topic, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition's number within the topic.
    pub partition: Partition,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: Topic, partition: Partition) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The position of a record within its partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// Returns the offset that follows: what a commit names to say "finished up to here".
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stretch of offsets: `from` is in it, `to` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetRange {
    /// The first offset of the stretch.
    pub from: Offset,
    /// The first offset after the stretch.
    pub to: Offset,
}

impl OffsetRange {
    /// Says whether `offset` lies in the stretch.
    pub fn contains(self, offset: Offset) -> bool {
        self.from <= offset && offset < self.to
    }
}

/// One assignment of one partition to this member: a number of our own that is never used twice.
///
/// The client does not show the broker's generation, so the edge counts assignments itself. Whatever
/// names a generation that is not current has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// How often the fetch position of a generation was moved by a [`Seek`](crate::Output::Seek): records
/// fetched before the move carry an older number and are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchEpoch(pub u32);

/// Names one record of one assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The assignment under which the record was fetched.
    pub generation: Generation,
    /// Where the record stands in its partition.
    pub offset: Offset,
}

/// Names one dispatched run: a number that is never used twice in a processor's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// How many times a record has been tried, counted from 1 for the first try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first try.
    pub const FIRST: Self = Self(1);

    /// Returns the number of the next try.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The hash of a record's key, made by the edge. Equal keys must give equal hashes in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

/// A point in time, as the span since the processor was built: a log of inputs replays byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The moment at which the processor was built.
    pub const START: Self = Self(Duration::ZERO);

    /// Names the moment that lies `span` after the start.
    pub const fn after_start(span: Duration) -> Self {
        Self(span)
    }

    /// Returns the moment `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// Returns the span from `earlier` to here, zero where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the span since the start.
    pub fn since_start(self) -> Duration {
        self.0
    }
}
