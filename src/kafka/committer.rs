//! Commits in the background.
//!
//! The client library does not report how an asynchronous commit ended, and a synchronous one must not hold
//! up the poll thread; so a thread of their own makes them, one request at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use postroom_core::{Generation, Offset, TopicPartition};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};

use crate::kafka::context::EdgeContext;

/// A commit that the guard let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The partition.
    pub(crate) partition: TopicPartition,
    /// The assignment that commits.
    pub(crate) generation: Generation,
    /// The next offset to read.
    pub(crate) next: Offset,
    /// Encoded metadata; may be empty.
    pub(crate) metadata: String,
}

/// What is to be committed in the background.
#[derive(Debug, Default)]
pub(crate) struct Committer {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// How a wait for commits ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Every commit was answered.
    Answered,
    /// Some commit was not.
    Unanswered,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Commit>,
    busy: bool,
    ended: bool,
}

impl Committer {
    /// Starts the thread. It ends after [`Committer::end`].
    pub(crate) fn start(self: &Arc<Self>, consumer: Weak<BaseConsumer<EdgeContext>>) -> std::io::Result<()> {
        let committer = Arc::clone(self);
        thread::Builder::new()
            .name("kafka-commit".to_owned())
            .spawn(move || committer.run(&consumer))
            .map(drop)
    }

    /// Adds a commit; an earlier one of the same assignment that was not sent yet is replaced.
    pub(crate) fn add(&self, commits: Vec<Commit>) {
        let mut queue = self.queue();
        queue.waiting.retain(|waiting| commits.iter().all(|commit| commit.generation != waiting.generation));
        queue.waiting.extend(commits);
        drop(queue);
        self.changed.notify_all();
    }

    /// Takes what was not sent yet and waits for what was, until `deadline` at most: a commit that is made
    /// after this call is not overtaken by an earlier one.
    pub(crate) fn settle(&self, deadline: Instant) -> Vec<Commit> {
        let mut queue = self.queue();
        let unsent = queue.waiting.drain(..).collect();
        while queue.busy {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                tracing::warn!("a commit in the background does not end");
                break;
            }
            queue = match self.changed.wait_timeout(queue, patience) {
                Ok((queue, _)) => queue,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        unsent
    }

    /// Waits until everything is sent and answered, until `deadline` at most.
    pub(crate) fn flush(&self, deadline: Instant) -> Flushed {
        let mut queue = self.queue();
        while queue.busy || !queue.waiting.is_empty() {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Flushed::Unanswered;
            }
            queue = match self.changed.wait_timeout(queue, patience) {
                Ok((queue, _)) => queue,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        Flushed::Answered
    }

    /// Ends the thread when it has nothing more to send.
    pub(crate) fn end(&self) {
        self.queue().ended = true;
        self.changed.notify_all();
    }

    fn run(&self, consumer: &Weak<BaseConsumer<EdgeContext>>) {
        while let Some(commits) = self.next() {
            if let Some(consumer) = consumer.upgrade() {
                consumer.context().commit_now(&consumer, commits);
            }
            self.queue().busy = false;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Vec<Commit>> {
        let mut queue = self.queue();
        loop {
            if !queue.waiting.is_empty() {
                queue.busy = true;
                return Some(queue.waiting.drain(..).collect());
            }
            if queue.ended {
                return None;
            }
            queue = match self.changed.wait_timeout(queue, IDLE) {
                Ok((queue, _)) => queue,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EdgeContext {
    /// Commits in one request, waits for the broker's answer and tells the driver. Refused for the moment, it is repeated only where
    /// the member leaves: else the driver commits again by itself.
    pub(crate) fn commit_now(&self, consumer: &BaseConsumer<Self>, commits: Vec<Commit>) {
        let leaves = self.state().closing.is_some();
        let patience = if leaves { COMMIT_PATIENCE } else { Duration::ZERO };
        self.commit_until(consumer, commits, Instant::now() + patience);
    }

    /// Commits as [`EdgeContext::commit_now`] does, and asks again until `deadline` where the broker only says that
    /// the group is just changing: whoever gives a partition back has no later chance.
    pub(crate) fn commit_until(
        &self,
        consumer: &BaseConsumer<Self>,
        mut commits: Vec<Commit>,
        deadline: Instant,
    ) {
        {
            let mut state = self.state();
            commits.retain(|commit| state.assignment.of_generation(commit.generation).is_some());
        }
        if commits.is_empty() {
            return;
        }
        let list = list_of(&commits);
        let outcome = loop {
            let outcome = consumer.commit(&list, CommitMode::Sync);
            let passing = outcome.as_ref().is_err_and(passes_by_itself);
            if !passing || consumer.assignment_lost() || Instant::now() + PAUSE >= deadline {
                break outcome;
            }
            thread::sleep(PAUSE);
        };
        for commit in commits {
            self.commit_answered(commit.generation, commit.next, outcome.clone());
        }
    }
}

fn list_of(commits: &[Commit]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut element = list.add_partition(commit.partition.topic.as_str(), commit.partition.partition.0);
        if let Err(error) = element.set_offset(ClientOffset::Offset(commit.next.0)) {
            tracing::error!(%error, next = commit.next.0, "an offset cannot be committed");
        }
        if !commit.metadata.is_empty() {
            element.set_metadata(&commit.metadata);
        }
    }
    list
}

/// Says whether the broker refused only because of the moment: a rebalance is in its middle, the member's epoch
/// was raised a heartbeat ago (KIP-848), or the group's coordinator moves. None of them puts the partition into doubt.
fn passes_by_itself(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator, RebalanceInProgress,
        StaleMemberEpoch, WaitingForCoordinator,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(
            CoordinatorLoadInProgress
                | CoordinatorNotAvailable
                | NotCoordinator
                | RebalanceInProgress
                | StaleMemberEpoch
                | WaitingForCoordinator
        )
    )
}

/// How long the thread sleeps where nothing wakes it.
const IDLE: Duration = Duration::from_secs(60);
/// How long a commit that cannot be made up for later is repeated where the broker refuses it for the moment.
pub(crate) const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a commit that the broker refuses for the moment waits before it is tried again.
const PAUSE: Duration = Duration::from_millis(100);
