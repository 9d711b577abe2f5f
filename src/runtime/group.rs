//! A consumer group as a developer describes it: a name, a handler, and how its records wait for each other.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use postroom_core::{Claims, Ordering, Retry, Settings};

use crate::codec::Event;
use crate::config::Effect;
use crate::effects::StoreEffect;
use crate::event::EventType;
use crate::handler::{BatchHandler, Handler};
use crate::runtime::batched::{Batched, InStore, UserBatch};
use crate::runtime::single::Single;
use crate::runtime::worker::Worker;
use crate::runtime::workers::Placement;

/// One side effect with a consumer group of its own.
#[derive(Clone)]
pub struct Group {
    pub(crate) name: String,
    pub(crate) types: &'static [EventType],
    pub(crate) ordering: Ordering,
    pub(crate) batch: NonZeroUsize,
    pub(crate) concurrency: NonZeroUsize,
    pub(crate) position: Position,
    pub(crate) placement: Placement,
    pub(crate) deadline: Duration,
    pub(crate) retry: Retry,
    /// The configured dependencies whose outage it waits for, beside the store.
    pub(crate) dependencies: Vec<&'static str>,
    /// Whether many dead letters stop the group.
    pub(crate) flood: FloodGuard,
    pub(crate) worker: Arc<dyn Worker>,
}

/// Whether many dead letters stop a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloodGuard {
    /// They do: a bad deployment must not divert a topic.
    On,
    /// They do not: whether an effect succeeds is in the hands of strangers.
    Off,
}

/// Who keeps a group's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The store, in the transaction of the effects: exactly once.
    InStore,
    /// Kafka's commit, after the effects: at least once.
    InKafka,
}

impl Group {
    /// A group whose handler takes one event at a time: by default in key order, 64 at once.
    pub fn each<H: Handler>(name: &str, handler: H) -> Self {
        Self {
            name: name.to_owned(),
            types: <H::Event as Event>::types(),
            ordering: Ordering::Key,
            batch: NonZeroUsize::MIN,
            concurrency: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN),
            position: Position::InKafka,
            placement: Placement::Task,
            deadline: Duration::from_secs(30),
            retry: Retry::default(),
            dependencies: Vec::new(),
            flood: FloodGuard::On,
            worker: Arc::new(Single::new(handler)),
        }
    }

    /// A group whose handler takes up to 500 events of one partition at a time, in partition order, and whose
    /// statements commit with the position: exactly once.
    pub fn batches<H: BatchHandler>(name: &str, handler: H) -> Self {
        Self::in_store(name, <H::Event as Event>::types(), Arc::new(Batched::new(UserBatch(handler))))
    }

    /// A group for a side effect in the store, named as the effect: batches in partition order, exactly once.
    pub fn effect<E: StoreEffect>(effect: E) -> Self {
        let (name, types) = (effect.name(), effect.types());
        Self::in_store(name, types, Arc::new(Batched::new(InStore(effect))))
    }

    fn in_store(name: &str, types: &'static [EventType], worker: Arc<dyn Worker>) -> Self {
        Self {
            name: name.to_owned(),
            types,
            ordering: Ordering::Partition,
            batch: NonZeroUsize::new(500).unwrap_or(NonZeroUsize::MIN),
            concurrency: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
            position: Position::InStore,
            placement: Placement::Task,
            deadline: Duration::from_secs(30),
            retry: Retry::default(),
            dependencies: Vec::new(),
            flood: FloodGuard::On,
            worker,
        }
    }

    /// Takes events of these kinds alone, of those that the handler can read.
    #[must_use]
    pub(crate) fn of_types(mut self, types: &'static [EventType]) -> Self {
        self.types = types;
        self
    }

    /// Sets which records wait for each other. Batches stay in partition order.
    #[must_use]
    pub fn ordering(mut self, ordering: Ordering) -> Self {
        if self.batch == NonZeroUsize::MIN {
            self.ordering = ordering;
        }
        self
    }

    /// Sets how many runs may be in flight, over all partitions of this member.
    #[must_use]
    pub fn concurrency(mut self, runs: NonZeroUsize) -> Self {
        self.concurrency = runs;
        self
    }

    /// Sets how many events a batch may hold; without effect on groups that take one event at a time.
    #[must_use]
    pub fn batch_size(mut self, events: NonZeroUsize) -> Self {
        if self.position == Position::InStore {
            self.batch = events;
        }
        self
    }

    /// Sets how many attempts an event has, over restarts. Default 8.
    #[must_use]
    pub fn max_attempts(mut self, attempts: NonZeroU32) -> Self {
        self.retry.max_attempts = attempts;
        self
    }

    /// Sets the bounds of the back-off: the first delay lies below `base`, none above `cap`. Default 200 ms and 30 s.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.retry.base = base;
        self.retry.cap = cap;
        self
    }

    /// Sets how long an attempt may take before it is cancelled and counts as failed. Default 30 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Declares that the handler neither blocks nor computes for long: runs share a task, which is cheaper.
    #[must_use]
    pub fn non_blocking(mut self) -> Self {
        self.placement = Placement::Inline;
        self
    }

    /// Names a configured dependency, such as a mail relay, whose outage the handler reports with
    /// [`Error::outage`](crate::handler::Error::outage): its circuit is then shown from the start.
    #[must_use]
    pub fn depends_on(mut self, dependency: &'static str) -> Self {
        self.dependencies.push(dependency);
        self
    }

    /// Lets dead letters never stop the group: for effects whose other side anybody may name.
    #[must_use]
    pub(crate) fn at_strangers_mercy(mut self) -> Self {
        self.flood = FloodGuard::Off;
        self
    }

    /// Takes the settings of its table in the configuration; what is not set there stays the group's own.
    #[must_use]
    pub(crate) fn configured(self, effect: &Effect) -> Self {
        let (batch, concurrency, deadline) = (self.batch, self.concurrency, self.deadline);
        self.batch_size(effect.batch.unwrap_or(batch))
            .concurrency(effect.concurrency.unwrap_or(concurrency))
            .max_attempts(effect.max_attempts)
            .backoff(effect.backoff.base, effect.backoff.cap)
            .deadline(effect.deadline.unwrap_or(deadline))
    }

    /// Returns what the core is to know of it.
    pub(crate) fn settings(&self, seed: u64) -> Settings {
        Settings {
            ordering: self.ordering,
            batch: self.batch,
            concurrency: self.concurrency,
            claims: Claims::FromStore,
            retry: self.retry.clone(),
            seed,
            ..Settings::default()
        }
    }

    /// Returns the consumer group's name: the configured prefix, then its own.
    pub fn full_name(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.name)
    }

    /// Returns the name, without the prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the topics it reads, each once.
    pub fn topics(&self) -> Vec<&'static str> {
        let mut topics: Vec<_> = self.types.iter().map(|event_type| event_type.topic).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name)
            .field("topics", &self.topics())
            .finish_non_exhaustive()
    }
}
