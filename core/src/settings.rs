//! The numbers that a processor is built with.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::bugs::Bug;

/// What a processor needs to know about its group.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which records wait for each other.
    pub ordering: Ordering,
    /// How many records a run may hold. Above 1 only with [`Ordering::Partition`].
    pub batch: NonZeroUsize,
    /// How many runs may be in flight, over all partitions.
    pub concurrency: NonZeroUsize,
    /// Who says where a partition goes on.
    pub claims: Claims,
    /// How failed records are tried again.
    pub retry: Retry,
    /// How much may be unfinished.
    pub pressure: Pressure,
    /// When dead letters stop the group.
    pub flood: Flood,
    /// How often progress is committed. Default 1 s.
    pub commit_interval: Duration,
    /// The seed of all jitter.
    pub seed: u64,
    /// Deliberate bugs, to prove that the checks catch them.
    #[cfg(feature = "simulation")]
    pub bug: Option<Bug>,
}

impl Settings {
    /// Says whether a deliberate bug is switched on; a constant `false` in the product.
    #[cfg(feature = "simulation")]
    #[inline]
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Says whether a deliberate bug is switched on; a constant `false` in the product.
    #[cfg(not(feature = "simulation"))]
    #[inline]
    pub(crate) const fn has(&self, _: Bug) -> bool {
        false
    }

    /// Returns how many records a run may hold under this ordering.
    pub(crate) fn run_size(&self) -> usize {
        match self.ordering {
            Ordering::Partition => self.batch.get(),
            Ordering::Key | Ordering::Unordered => 1,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ordering: Ordering::Key,
            batch: NonZeroUsize::MIN,
            concurrency: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN),
            claims: Claims::AtOnce,
            retry: Retry::default(),
            pressure: Pressure::default(),
            flood: Flood::default(),
            commit_interval: Duration::from_secs(1),
            seed: 0,
            #[cfg(feature = "simulation")]
            bug: None,
        }
    }
}

/// Which records wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// All of a partition, strictly: nothing beyond a waiting record is dispatched.
    Partition,
    /// Those of a key within a partition; a key that waits steps aside.
    Key,
    /// None.
    Unordered,
}

/// Who says where a partition goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// The store: dispatch waits for `Claimed`.
    FromStore,
    /// Kafka's commit: partitions are active at once.
    AtOnce,
}

/// How failed records are tried again: exponential back-off with full jitter.
#[derive(Clone, Debug)]
pub struct Retry {
    /// How many attempts a record has, over restarts. Default 8.
    pub max_attempts: NonZeroU32,
    /// The upper bound of the first delay. Default 200 ms.
    pub base: Duration,
    /// The upper bound of every delay. Default 30 s. A `retry_after` beyond it is honoured as it is.
    pub cap: Duration,
    /// How many records of keys that stepped aside a partition may hold before it is paused. Default 1,000.
    pub side_queue: usize,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: NonZeroU32::new(8).unwrap_or(NonZeroU32::MIN),
            base: Duration::from_millis(200),
            cap: Duration::from_secs(30),
            side_queue: 1_000,
        }
    }
}

/// How much may be unfinished before fetching is paused. Fetching resumes at half of the mark.
#[derive(Clone, Debug)]
pub struct Pressure {
    /// Unfinished records of fetched partitions, all together, up to which further ones are welcome. Default 4,096.
    pub ahead: usize,
    /// Unfinished records a partition. Default 4,096.
    pub partition_records: usize,
    /// Bytes of unfinished records over all partitions. Default 64 MiB.
    pub total_bytes: usize,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { ahead: 4_096, partition_records: 4_096, total_bytes: 64 * 1_024 * 1_024 }
    }
}

/// When dead letters stop the group: a dead letter that would be beyond `minimum` and beyond `percent` of what
/// finished within a tumbling window is not sent, and the group halts.
#[derive(Clone, Debug)]
pub struct Flood {
    /// Dead letters that are always allowed in a window. Default 100.
    pub minimum: u32,
    /// Share of the window's finished records (dead letters among them), in percent. Default 50.
    pub percent: u32,
    /// The window. Default 60 s.
    pub window: Duration,
}

impl Default for Flood {
    fn default() -> Self {
        Self { minimum: 100, percent: 50, window: Duration::from_secs(60) }
    }
}
