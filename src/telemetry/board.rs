//! The board: what the groups last said of themselves. Reading it never waits for a group.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::group::unix_seconds;
use crate::telemetry::journal::Journal;
use crate::telemetry::status::{
    GroupReport, GroupState, GroupStatus, OutboxStatus, PartitionReport, PartitionStatus, Status, Totals,
};
use crate::telemetry::verdict::{Sample, Verdict, judge};

/// What the pages read. Locks are held for the time of a copy, never over anything that can wait.
pub struct Board {
    version: String,
    started: Instant,
    started_at: f64,
    state: Mutex<State>,
    journal: Arc<Journal>,
}

/// The answer of a health page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Well,
    /// What is wrong, a line each.
    Ill(Vec<String>),
}

impl Board {
    /// Makes an empty board.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            started: Instant::now(),
            started_at: unix_seconds(),
            state: Mutex::default(),
            journal: Arc::default(),
        }
    }

    /// Returns the journal of what the groups did with single events.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Says which brokers the process talks to.
    pub fn connected_to(&self, brokers: &str) {
        brokers.clone_into(&mut self.lock().brokers);
    }

    /// Says that the process is shutting down: it is not ready from now on.
    pub fn draining(&self) {
        self.lock().draining = true;
    }

    /// Says what waits in the outbox.
    pub fn outbox(&self, outbox: OutboxStatus) {
        self.lock().outbox = outbox;
    }

    /// Says that something which runs beside the groups has ended unasked: the process is not ready from now on.
    pub fn lost(&self, helper: &str, why: &str) {
        self.lock().lost.push(format!("{helper} has ended: {why}"));
    }

    /// Returns the state of all groups.
    pub fn status(&self) -> Status {
        let state = self.lock();
        let mut totals = Totals::default();
        let groups: Vec<_> = state.groups.values().map(|group| group.status.clone()).collect();
        for group in &groups {
            totals.add(&group.totals);
        }
        Status {
            version: self.version.clone(),
            pid: std::process::id(),
            started_at: self.started_at,
            draining: state.draining,
            brokers: state.brokers.clone(),
            groups,
            totals,
            outbox: state.outbox.clone(),
        }
    }

    /// Says whether the process lives: ill only where a restart helps, which is when a driver or a poll thread has
    /// not come round for too long.
    pub fn liveness(&self) -> Health {
        let now = self.now();
        let ill = self.lock().groups.values().filter_map(|group| group.stuck(now)).collect();
        health(ill)
    }

    /// Says whether the process does its work: every group is a member, the store and a broker answer,
    /// what runs beside the groups runs, no shutdown has begun.
    pub fn readiness(&self) -> Health {
        let state = self.lock();
        let mut ill: Vec<_> = state.groups.values().filter_map(Entry::unready).collect();
        ill.extend(state.lost.iter().cloned());
        if state.draining {
            ill.push("shutting down".to_owned());
        }
        if state.groups.is_empty() {
            ill.push("no group has started yet".to_owned());
        }
        health(ill)
    }

    pub(crate) fn join(self: Arc<Self>, group: &str, handler: &str, poll_limit: Duration) -> Place {
        let status = GroupStatus {
            group: group.to_owned(),
            handler: handler.to_owned(),
            store_reachable: true,
            ..GroupStatus::default()
        };
        let now = self.now();
        let entry = Entry { status, poll_limit, beat: now, poll: None, windows: BTreeMap::new() };
        self.lock().groups.insert(group.to_owned(), entry);
        Place { board: self, group: group.to_owned() }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A group's place on the board.
pub(crate) struct Place {
    board: Arc<Board>,
    group: String,
}

impl Place {
    pub(crate) fn beat(&self) {
        let now = self.board.now();
        if let Some(entry) = self.board.lock().groups.get_mut(&self.group) {
            entry.beat = now;
        }
    }

    pub(crate) fn polled(&self) {
        let now = self.board.now();
        if let Some(entry) = self.board.lock().groups.get_mut(&self.group) {
            entry.poll = Some(now);
        }
    }

    /// Puts a report up and returns the partitions that the one before had and this has not.
    pub(crate) fn publish(&self, report: GroupReport, totals: Totals) -> Vec<(String, i32)> {
        let now = self.board.now();
        self.board
            .lock()
            .groups
            .get_mut(&self.group)
            .map_or_else(Vec::new, |entry| entry.publish(now, report, totals))
    }
}

#[derive(Default)]
struct State {
    draining: bool,
    outbox: OutboxStatus,
    lost: Vec<String>,
    brokers: String,
    groups: BTreeMap<String, Entry>,
}

struct Entry {
    status: GroupStatus,
    poll_limit: Duration,
    beat: Duration,
    poll: Option<Duration>,
    windows: BTreeMap<(String, i32), VecDeque<Sample>>,
}

impl Entry {
    fn publish(&mut self, now: Duration, report: GroupReport, totals: Totals) -> Vec<(String, i32)> {
        self.beat = now;
        let partitions: Vec<_> =
            report.partitions.iter().map(|one| self.partition(now, one, &report)).collect();
        let gone = |key: &(String, i32)| {
            !report.partitions.iter().any(|one| one.topic == key.0 && one.partition == key.1)
        };
        let departed: Vec<_> = self.windows.keys().filter(|key| gone(key)).cloned().collect();
        for key in &departed {
            self.windows.remove(key);
        }
        self.status = GroupStatus {
            group: std::mem::take(&mut self.status.group),
            handler: std::mem::take(&mut self.status.handler),
            state: report.state,
            halted: report.halted,
            store_reachable: report.store_reachable,
            brokers_away: report.brokers_away,
            partitions,
            runs_in_flight: report.runs_in_flight,
            retries_waiting: report.retries_waiting,
            waiting_on: report.waiting_on,
            totals,
        };
        departed
    }

    fn partition(&mut self, now: Duration, report: &PartitionReport, group: &GroupReport) -> PartitionStatus {
        let window = self.windows.entry((report.topic.clone(), report.partition)).or_default();
        if let (Some(position), Some(end)) = (report.position, report.end) {
            window.push_back(Sample { at: now.as_secs_f64(), position, end });
            while window.front().is_some_and(|oldest| now.as_secs_f64() - oldest.at > WINDOW_SECONDS) {
                window.pop_front();
            }
        }
        let verdict = if group.brokers_away {
            Verdict::BrokersAway
        } else {
            judge(report, window.make_contiguous(), &group.waiting_on)
        };
        PartitionStatus {
            topic: report.topic.clone(),
            partition: report.partition,
            committed: report.committed,
            position: report.position,
            end: report.end,
            lag: report.lag(),
            lag_seconds: report.lag_seconds,
            paused: report.paused.clone(),
            summary: verdict.to_string(),
            verdict,
        }
    }

    fn stuck(&self, now: Duration) -> Option<String> {
        if self.status.state == GroupState::Stopped {
            return None;
        }
        let since_beat = now.saturating_sub(self.beat);
        if since_beat > BEAT_LIMIT {
            return Some(format!(
                "{}: its driver has not come round for {} s",
                self.status.group,
                since_beat.as_secs()
            ));
        }
        let since_poll = now.saturating_sub(self.poll?);
        (since_poll > self.poll_limit).then(|| {
            format!(
                "{}: its poll thread has not come round for {} s",
                self.status.group,
                since_poll.as_secs()
            )
        })
    }

    fn unready(&self) -> Option<String> {
        let group = &self.status.group;
        if let Some(halted) = &self.status.halted {
            return Some(format!("{group}: stopped: {halted}"));
        }
        match self.status.state {
            GroupState::Joining => Some(format!("{group}: not a member of its group yet")),
            GroupState::Draining | GroupState::Stopped => Some(format!("{group}: shutting down")),
            GroupState::Running if !self.status.store_reachable => {
                Some(format!("{group}: the store does not answer"))
            }
            GroupState::Running if self.status.brokers_away => {
                Some(format!("{group}: no Kafka broker answers"))
            }
            GroupState::Running => None,
        }
    }
}

fn health(ill: Vec<String>) -> Health {
    if ill.is_empty() { Health::Well } else { Health::Ill(ill) }
}

/// How long a driver may be silent before a restart is called for.
const BEAT_LIMIT: Duration = Duration::from_secs(30);

/// What a verdict looks back on, in seconds.
const WINDOW_SECONDS: f64 = 30.0;
