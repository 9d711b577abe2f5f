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
        if self.wait(queue, deadline, |queue| queue.busy) == Flushed::Unanswered {
            tracing::warn!("a commit in the background does not end");
        }
        unsent
    }

    /// Waits until everything is sent and answered, until `deadline` at most.
    pub(crate) fn flush(&self, deadline: Instant) -> Flushed {
        self.wait(self.queue(), deadline, |queue| queue.busy || !queue.waiting.is_empty())
    }

    fn wait(
        &self,
        queue: MutexGuard<'_, Queue>,
        deadline: Instant,
        goes_on: impl Fn(&Queue) -> bool,
    ) -> Flushed {
        let patience = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(queue, patience, |queue| goes_on(queue));
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            Flushed::Unanswered
        } else {
            Flushed::Answered
        }
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
    /// Commits in one request, waits for the broker's answer and tells the driver. Where the broker only says that the group is
    /// just changing, it is asked again for what is given back: there is no later chance. For the rest the driver commits again.
    pub(crate) fn commit_now(&self, consumer: &BaseConsumer<Self>, mut commits: Vec<Commit>) {
        let begun = Instant::now();
        let outcome = loop {
            // What is ours no more must not be committed: the next owner may be further.
            commits.retain(|commit| self.state().assignment.of_generation(commit.generation).is_some());
            if commits.is_empty() {
                return;
            }
            let outcome = consumer.commit(&list_of(&commits), CommitMode::Sync);
            let passing = outcome.as_ref().is_err_and(passes_by_itself) && !consumer.assignment_lost();
            if !passing || Instant::now() + PAUSE >= self.last_chance(&commits, begun) {
                break outcome;
            }
            thread::sleep(PAUSE);
        };
        for commit in commits {
            self.commit_answered(commit.generation, commit.next, outcome.clone());
        }
    }

    /// Until when commits that are refused for the moment are repeated.
    fn last_chance(&self, commits: &[Commit], begun: Instant) -> Instant {
        let mut state = self.state();
        let leaving = commits.iter().any(|commit| state.assignment.is_leaving(commit.generation));
        let latest = begun + COMMIT_PATIENCE;
        match state.closing {
            _ if state.closed => begun,
            // The other half is for taking leave.
            Some(deadline) => {
                let left = self.instant(deadline).saturating_duration_since(begun);
                latest.min(begun + left / 2)
            }
            None if leaving => latest,
            None => begun,
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
/// How long a commit that the broker refuses for the moment waits before it is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it is tried again at most.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
