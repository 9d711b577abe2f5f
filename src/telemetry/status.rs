//! What the status page says: plain values, the same for the page, the command and the console.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::telemetry::verdict::Verdict;

/// The state of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of Postroom.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// When the process started, in seconds since the Unix epoch.
    pub started_at: f64,
    /// Whether it is shutting down.
    pub draining: bool,
    /// The brokers it is connected to.
    pub brokers: String,
    /// Its groups, in the order of their names.
    pub groups: Vec<GroupStatus>,
    /// The sum over all groups.
    pub totals: Totals,
    /// What waits in the outbox of the store.
    #[serde(default)]
    pub outbox: OutboxStatus,
}

/// What waits in the outbox. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// Mails and deliveries that are not at their end.
    pub pending: u64,
    /// Of them, those that were put off, each the first of its recipient or endpoint.
    pub deferred: u64,
    /// Since when the oldest that is due waits.
    pub oldest_due: Option<i64>,
    /// When the first of those that were put off is tried again.
    pub next_due: Option<i64>,
    /// What keeps some of those from their end, in a line, with what to do.
    #[serde(default)]
    pub hindered: Option<String>,
}

/// The state of one group, as its driver reports it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupReport {
    /// What it is doing.
    pub state: GroupState,
    /// Why it stopped, where it did.
    pub halted: Option<String>,
    /// Whether the store answers; `true` for groups without effects in it.
    pub store_reachable: bool,
    /// Whether no broker answers.
    pub brokers_away: bool,
    /// Its partitions in this process.
    pub partitions: Vec<PartitionReport>,
    /// How many partitions each topic has on the cluster.
    pub topic_partitions: Vec<(String, usize)>,
    /// Runs in flight.
    pub runs_in_flight: usize,
    /// Records that wait for a retry, with those behind them.
    pub retries_waiting: usize,
    /// Dependencies whose circuit is not closed.
    pub waiting_on: Vec<String>,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// Not a member yet.
    #[default]
    Joining,
    /// A member of the group; with no partitions it is idle, which is well.
    Running,
    /// Ending what is in flight.
    Draining,
    /// Ended.
    Stopped,
}

/// The state of one partition, as its driver reports it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionReport {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next offset to read, as Kafka acknowledged it.
    pub committed: Option<i64>,
    /// The next offset to commit.
    pub position: Option<i64>,
    /// The offset that the next record will have.
    pub end: Option<i64>,
    /// The age of the oldest unfinished record, in seconds; 0 when caught up.
    pub lag_seconds: f64,
    /// How long the head record has kept the position still, in seconds.
    pub blocked_seconds: f64,
    /// Records received and unfinished.
    pub unfinished: usize,
    /// Their bytes.
    pub unfinished_bytes: usize,
    /// Why it is not fetched: `backpressure`, `circuit` or `order`.
    pub paused: Option<String>,
    /// The oldest unfinished record, where it has failed.
    pub head: Option<Head>,
}

impl PartitionReport {
    /// Returns how many records are not finished; `None` before anything is known.
    pub fn lag(&self) -> Option<i64> {
        let end = self.end?;
        // Of an empty log there is no position to know.
        let position = self.position.or_else(|| (end == 0).then_some(0))?;
        Some(end.saturating_sub(position).max(0))
    }
}

/// The oldest unfinished record of a partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Its offset.
    pub offset: i64,
    /// How often it was tried.
    pub attempt: u32,
    /// In how many seconds it is tried again.
    pub next_in: Option<f64>,
    /// What the last attempt said.
    pub error: String,
}

/// The state of one group, as it is displayed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub group: String,
    /// Its handler.
    pub handler: String,
    /// What it is doing.
    pub state: GroupState,
    /// Why it stopped, where it did.
    pub halted: Option<String>,
    /// Whether the store answers.
    pub store_reachable: bool,
    /// Whether no broker answers.
    pub brokers_away: bool,
    /// Its partitions in this process.
    pub partitions: Vec<PartitionStatus>,
    /// Runs in flight.
    pub runs_in_flight: usize,
    /// Records that wait for a retry, with those behind them.
    pub retries_waiting: usize,
    /// Dependencies whose circuit is not closed.
    pub waiting_on: Vec<String>,
    /// What it has done since it started.
    pub totals: Totals,
}

impl GroupStatus {
    /// Returns how many records are not finished, over all partitions.
    pub fn lag(&self) -> i64 {
        self.partitions.iter().filter_map(|one| one.lag).fold(0, i64::saturating_add)
    }
}

/// The state of one partition, as it is displayed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next offset to read, as Kafka acknowledged it.
    pub committed: Option<i64>,
    /// The next offset to commit.
    pub position: Option<i64>,
    /// The offset that the next record will have.
    pub end: Option<i64>,
    /// How many records are not finished.
    pub lag: Option<i64>,
    /// The age of the oldest of them, in seconds.
    pub lag_seconds: f64,
    /// Why it is not fetched.
    pub paused: Option<String>,
    /// What to think of it.
    pub verdict: Verdict,
    /// The verdict for a person.
    pub summary: String,
}

/// What was done since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records taken from Kafka.
    pub received: u64,
    /// Failed attempts that were, or will be, repeated.
    pub retries: u64,
    /// Finished messages by how they ended.
    pub by_outcome: BTreeMap<String, u64>,
    /// Finished messages by event type.
    pub by_event_type: BTreeMap<String, u64>,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<String, u64>,
}

impl Totals {
    /// Adds another's figures.
    pub fn add(&mut self, other: &Self) {
        self.received = self.received.saturating_add(other.received);
        self.retries = self.retries.saturating_add(other.retries);
        merge(&mut self.by_outcome, &other.by_outcome);
        merge(&mut self.by_event_type, &other.by_event_type);
        merge(&mut self.dead_letters, &other.dead_letters);
    }

    /// Returns how many messages are finished.
    pub fn finished(&self) -> u64 {
        self.by_outcome.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

fn merge(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (key, count) in from {
        let total = into.entry(key.clone()).or_default();
        *total = total.saturating_add(*count);
    }
}
