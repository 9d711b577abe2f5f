//! What the driver asks of the poll thread, and how it is done between two polls or inside a revocation.

use std::time::{Duration, Instant};

use postroom_core::{FetchEpoch, Generation, Moment, Offset, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};

use crate::kafka::assignment::Refused;
use crate::kafka::committer::Commit;
use crate::kafka::context::{EdgeContext, EdgeCounters};
use crate::ports::EdgeError;

/// One request of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// Commit, with encoded metadata.
    Commit { partition: TopicPartition, generation: Generation, next: Offset, metadata: String },
    /// Stop fetching.
    Pause(Generation),
    /// Fetch again.
    Resume(Generation),
    /// Move the fetch position.
    Seek { generation: Generation, offset: Offset, epoch: FetchEpoch },
    /// It is decided where the assignment begins.
    Claimed { generation: Generation, next: Offset },
    /// Say whether the assignment still holds.
    Verify(Generation),
    /// Nothing of it is in flight.
    Released(Generation),
    /// Leave the group.
    Close(Moment),
    /// Leave the group, since it cannot go on.
    Fail(EdgeError),
}

/// Whether commits are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// A thread of their own makes them.
    InBackground,
    /// They are answered before anything else is done: inside a revocation and at the end.
    AtOnce,
}

impl EdgeContext {
    /// Does what was asked, in order; commits are gathered into one request.
    pub(crate) fn execute(&self, consumer: &BaseConsumer<Self>, commands: Vec<Command>, commits: Commits) {
        let mut gathered: Vec<Commit> = Vec::new();
        for command in commands {
            match command {
                Command::Commit { partition, generation, next, metadata } => {
                    let commit = Commit { partition, generation, next, metadata };
                    if self.guard(&commit) {
                        gathered.retain(|earlier| earlier.generation != generation);
                        gathered.push(commit);
                    }
                }
                Command::Pause(generation) => self.pause(consumer, generation),
                Command::Resume(generation) => self.resume(consumer, generation),
                Command::Seek { generation, offset, epoch } => self.seek(generation, offset, epoch),
                Command::Claimed { generation, next } => {
                    if let Some(owned) = self.state().assignment.of_generation(generation) {
                        owned.claimed = Some(next);
                    }
                }
                Command::Verify(generation) => {
                    let at = Instant::now() + self.config.heartbeat() + Duration::from_millis(500);
                    self.state().verifying.push((generation, at));
                }
                Command::Released(generation) => {
                    // What was asked before the release is done before it counts.
                    self.commit(consumer, std::mem::take(&mut gathered), commits);
                    self.state().assignment.release(generation);
                }
                Command::Close(deadline) => self.state().closing = Some(deadline),
                Command::Fail(error) => {
                    self.state().fatal.get_or_insert(error);
                }
            }
        }
        self.commit(consumer, gathered, commits);
        if commits == Commits::InBackground {
            self.seek_pending(consumer);
        }
    }

    /// Only what is ours is committed, and never backwards. The broker would take both.
    fn guard(&self, commit: &Commit) -> bool {
        let refused = match self.state().assignment.may_commit(commit.generation, commit.next) {
            Ok(()) => return true,
            Err(refused) => refused,
        };
        EdgeCounters::add(&self.counters.refused_commits);
        match refused {
            Refused::NotOurs => {
                tracing::debug!(partition = %commit.partition, "a commit of an old assignment is not sent");
            }
            Refused::Backwards => {
                tracing::error!(partition = %commit.partition, next = commit.next.0, "a commit backwards is not sent");
            }
        }
        false
    }

    fn commit(&self, consumer: &BaseConsumer<Self>, commits: Vec<Commit>, when: Commits) {
        if commits.is_empty() {
            return;
        }
        match when {
            Commits::InBackground => self.committer.add(commits),
            Commits::AtOnce => {
                let mut all = self.committer.settle(Instant::now() + SETTLE_PATIENCE);
                all.retain(|earlier| commits.iter().all(|commit| commit.generation != earlier.generation));
                all.extend(commits);
                self.commit_now(consumer, all);
            }
        }
    }

    fn pause(&self, consumer: &BaseConsumer<Self>, generation: Generation) {
        if let Some(partition) = self.set_paused(generation, true)
            && let Err(error) = consumer.pause(&only(&partition))
        {
            tracing::warn!(%partition, %error, "pausing failed");
        }
    }

    fn resume(&self, consumer: &BaseConsumer<Self>, generation: Generation) {
        if let Some(partition) = self.set_paused(generation, false)
            && let Err(error) = consumer.resume(&only(&partition))
        {
            tracing::warn!(%partition, %error, "resuming failed");
        }
    }

    /// Notes it, and returns the partition where that changes anything. A late request must not meet the partition's
    /// next assignment: it would be paused for ever.
    fn set_paused(&self, generation: Generation, paused: bool) -> Option<TopicPartition> {
        let mut state = self.state();
        let owned = state.assignment.of_generation(generation).filter(|owned| owned.paused != paused)?;
        owned.paused = paused;
        Some(owned.partition.clone())
    }

    fn seek(&self, generation: Generation, offset: Offset, epoch: FetchEpoch) {
        if let Some(owned) = self.state().assignment.of_generation(generation) {
            owned.epoch = epoch;
            owned.expected = Some(offset);
            owned.pending_seek = Some(offset);
        }
        self.changed();
    }

    /// A record was not read, and the client's position is behind it: the next pause or rebalance would pass it over.
    pub(crate) fn read_again(&self, topic: &str, partition: i32, offset: i64) {
        if let Some(owned) = self.state().assignment.of_partition(topic, partition) {
            let next = owned.expected.unwrap_or(Offset(offset));
            owned.expected = Some(next);
            owned.pending_seek.get_or_insert(next);
        }
        self.changed();
    }

    /// Tries the seeks that the client has not taken: it refuses while it still looks for the position.
    pub(crate) fn seek_pending(&self, consumer: &BaseConsumer<Self>) -> bool {
        let pending: Vec<_> = {
            let state = self.state();
            let owned = state.assignment.owned().iter();
            owned
                .filter(|owned| !owned.stalled)
                .filter_map(|owned| Some((owned.partition.clone(), owned.generation, owned.pending_seek?)))
                .collect()
        };
        let mut left = false;
        for (partition, generation, offset) in pending {
            let (topic, number) = (partition.topic.as_str(), partition.partition.0);
            match consumer.seek(topic, number, ClientOffset::Offset(offset.0), SEEK_PATIENCE) {
                Ok(()) => {
                    if let Some(owned) = self.state().assignment.of_generation(generation)
                        && owned.pending_seek == Some(offset)
                    {
                        owned.pending_seek = None;
                        self.changed();
                    }
                }
                Err(error) => {
                    left = true;
                    tracing::debug!(%partition, %error, "a seek is tried again");
                }
            }
        }
        left
    }
}

/// Makes a list of one partition.
fn only(partition: &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(partition.topic.as_str(), partition.partition.0);
    list
}

const SEEK_PATIENCE: Duration = Duration::from_secs(1);
/// How long a commit at once waits for one in the background.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
