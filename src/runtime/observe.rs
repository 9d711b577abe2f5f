//! Counts and logs what happens in a group, one place for each happening.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use postroom_core::{Generation, Input, Moment, OffsetRange, Output, PauseCause, Snapshot, TopicPartition};

use crate::event::RawRecord;
use crate::runtime::age::WallClock;
use crate::runtime::letters::{Letters, Request};
use crate::runtime::logs::Logs;
use crate::runtime::noting;
use crate::runtime::report::Reporter;
use crate::runtime::tally::{Finish, OTHER, Tally};
use crate::runtime::worker::{Desk, RunEnd, STORE};
use crate::runtime::workers::Completion;
use crate::telemetry::{CommitOutcome, Ending, GroupMetrics, GroupReport, GroupState, RebalanceKind};

/// The metrics and log lines of one group.
pub(crate) struct Observer {
    metrics: Arc<GroupMetrics>,
    logs: Arc<Logs>,
    desk: Arc<Desk>,
    state: GroupState,
    halted: Option<String>,
    joined: bool,
    assigning: usize,
    revoking: Option<Revoking>,
    asked: BTreeMap<Generation, Moment>,
    letters: Letters,
    reporter: Reporter,
    store_reachable: bool,
    published: Option<Moment>,
    /// How often the poll thread had come round when that was last told.
    rounds: u64,
}

/// A revocation that waits for its partitions.
struct Revoking {
    since: Moment,
    count: usize,
    going: BTreeSet<Generation>,
}

impl Observer {
    pub(crate) fn new(metrics: Arc<GroupMetrics>, logs: Arc<Logs>, desk: Arc<Desk>) -> Self {
        Self {
            metrics,
            reporter: Reporter::new(Arc::clone(&logs)),
            logs,
            desk,
            state: GroupState::Joining,
            halted: None,
            joined: false,
            assigning: 0,
            revoking: None,
            asked: BTreeMap::new(),
            letters: Letters::default(),
            store_reachable: true,
            published: None,
            rounds: 0,
        }
    }

    pub(crate) fn state(&mut self, state: GroupState) {
        // A change is told at once.
        self.published = None;
        self.state = state;
    }

    pub(crate) fn halted(&mut self, cause: String) {
        self.halted.get_or_insert(cause);
    }

    pub(crate) fn store_answers(&mut self, reachable: bool) {
        self.store_reachable = reachable;
    }

    pub(crate) fn assigned(&mut self, partition: &TopicPartition) {
        self.joined = true;
        self.assigning += 1;
        self.logs.watch(partition.clone());
    }

    /// The edge told something. Returns the request of the outbox that ends with it, where it is the acknowledgement of
    /// one's dead letter.
    pub(crate) fn told(&mut self, now: Moment, input: &Input<RawRecord>) -> Option<Request> {
        self.assignment_ended();
        match input {
            Input::Committed { generation, .. } => self.commit_answered(now, *generation, CommitOutcome::Ok),
            Input::CommitFailed { generation } => {
                self.commit_answered(now, *generation, CommitOutcome::Failed);
            }
            Input::DeadLettered { ticket } => return self.letters.acknowledged(*ticket, &self.metrics),
            Input::DeadLetterFailed { ticket } => self.letters.refused(*ticket, &self.metrics),
            Input::Revoked { generations, .. } => {
                let going: BTreeSet<_> = generations.iter().copied().collect();
                self.revoking = Some(Revoking { since: now, count: going.len(), going });
            }
            Input::Lost { generations } => {
                self.metrics.rebalanced(RebalanceKind::Lost, generations.len(), Duration::ZERO);
            }
            Input::Assigned { .. }
            | Input::Claimed { .. }
            | Input::ClaimFailed { .. }
            | Input::Fenced { .. }
            | Input::Verified { .. }
            | Input::Completed { .. }
            | Input::Records { .. }
            | Input::Drain { .. }
            | Input::Tick => {}
        }
        None
    }

    /// Runs ended.
    pub(crate) fn completed(&mut self, completions: &[Completion]) {
        let clock = WallClock::now();
        for of_topic in completions.chunk_by(|one, next| one.partition.topic == next.partition.topic) {
            let Some(topic) = of_topic.first().map(|first| first.partition.topic.clone()) else { continue };
            let mut tally = Tally::default();
            for completion in of_topic {
                self.run_ended(completion, clock);
                noting::completed(&self.desk, completion, clock);
                tally.merge(&completion.report.tally);
            }
            for (event_type, finish, count) in tally.rows() {
                let ending = match finish {
                    Finish::Ok => Ending::Ok,
                    Finish::Deferred => Ending::Deferred,
                    Finish::Skipped => Ending::Skipped,
                    Finish::Duplicate => Ending::Duplicate,
                };
                self.metrics.finished(topic.as_str(), event_type, ending, *count);
                if topic.as_str() == &*self.desk.retry_topic {
                    self.metrics.letters().replayed(self.desk.source_of(event_type), ending, *count);
                }
            }
        }
    }

    fn run_ended(&self, completion: &Completion, clock: WallClock) {
        let topic = completion.partition.topic.as_str();
        let records = u32::try_from(completion.records).unwrap_or(u32::MAX).max(1);
        self.metrics.observe_processing(topic, completion.took / records);
        if let RunEnd::Fenced = completion.report.end {
            tracing::warn!(
                group = self.metrics.group(), partition = %completion.partition,
                "another member has claimed the partition"
            );
            return;
        }
        let any_effect = completion.report.tally.rows().any(|(_, finish, _)| *finish == Finish::Ok);
        if let Some(age) = completion.age(clock).filter(|_| any_effect) {
            self.metrics.observe_end_to_end(topic, age);
        }
    }

    /// Records were taken in. What was fetched for nothing (below the position, or before a seek) is none of them: it
    /// was counted before, or will be when it comes again.
    pub(crate) fn received(&self, topic: &str, records: usize, bytes: u64) {
        self.metrics.received(topic, whole(records), bytes);
    }

    /// Records that were taken in lie below the position that the store names: they count as skipped.
    pub(crate) fn passed_over(&self, topic: &str, records: usize) {
        self.metrics.finished(topic, OTHER, Ending::Skipped, whole(records));
    }

    /// Records were removed from the log before the group read them: nobody can bring them back.
    pub(crate) fn removed(&self, partition: &TopicPartition, range: OffsetRange) {
        let records = range.to.0.saturating_sub(range.from.0);
        tracing::error!(
            group = self.metrics.group(), %partition, from = range.from.0, to = range.to.0, records,
            "records were removed before the group read them: going on behind them"
        );
        self.metrics.removed(partition.topic.as_str(), u64::try_from(records).unwrap_or(0));
    }

    /// Records were dropped unfinished: they are fetched again, here or by the next owner.
    pub(crate) fn given_back(&self, partition: &TopicPartition, records: usize) {
        self.metrics.finished(partition.topic.as_str(), OTHER, Ending::GivenBack, whole(records));
    }

    /// The processor decided something.
    pub(crate) fn output(&mut self, now: Moment, output: &Output<RawRecord>) {
        match output {
            Output::RetryScheduled { partition, ticket, attempt, at, cause } => {
                self.reporter.failed(*ticket, cause);
                let wait = at.since(now);
                noting::retry(&self.desk, partition, ticket.offset, attempt.0, wait, cause);
                self.metrics.retry_scheduled(partition, ticket.offset, *attempt, wait, cause);
            }
            Output::DeadLetter(letter) => {
                noting::dead_letter(&self.desk, letter);
                self.letters.sent(letter, &self.desk);
            }
            Output::Commit { generation, .. } => {
                self.asked.insert(*generation, now);
            }
            Output::Circuit { dependency, state } => self.metrics.circuit_changed(&dependency.0, *state),
            Output::Released { partition, generation, unfinished } => {
                self.released(now, partition, *generation, *unfinished);
            }
            Output::Halt { cause } => {
                tracing::error!(group = self.metrics.group(), ?cause, "the group stops itself");
            }
            Output::Pause { partition, cause, .. } => {
                tracing::debug!(group = self.metrics.group(), %partition, cause = word(*cause), "fetching paused");
            }
            Output::Seek { partition, offset, .. } => {
                tracing::info!(group = self.metrics.group(), %partition, %offset, "fetch position moved");
            }
            Output::Claim { .. }
            | Output::Verify { .. }
            | Output::Dispatch(_)
            | Output::Abandon { .. }
            | Output::CountAttempt { .. }
            | Output::Resume { .. }
            | Output::Drained { .. } => {}
        }
    }

    /// Says that the driver came round, and once a second what it looks like; `rounds` are those of the poll thread.
    pub(crate) fn publish(
        &mut self,
        now: Moment,
        rounds: u64,
        snapshot: impl FnOnce() -> Snapshot<RawRecord>,
    ) {
        const INTERVAL: Duration = Duration::from_millis(500);
        self.assignment_ended();
        if self.published.is_some_and(|last| now.since(last) < INTERVAL) {
            return;
        }
        self.published = Some(now);
        if rounds != self.rounds {
            self.rounds = rounds;
            self.metrics.polled();
        }
        let snapshot = snapshot();
        if self.state == GroupState::Joining && self.joined {
            self.state = GroupState::Running;
        }
        let report = GroupReport {
            state: self.state,
            halted: self.halted.clone(),
            store_reachable: self.store_reachable
                && !snapshot.circuits.iter().any(|(dependency, _)| *dependency.0 == *STORE),
            brokers_away: self.logs.brokers_are_away(),
            partitions: self.reporter.partitions(now, &snapshot),
            topic_partitions: self.logs.topic_partitions(),
            runs_in_flight: snapshot.runs_in_flight,
            retries_waiting: snapshot.partitions.iter().map(|part| part.waiting).sum(),
            waiting_on: snapshot.circuits.iter().map(|(dependency, _)| dependency.0.to_string()).collect(),
        };
        self.metrics.publish(report);
    }

    fn released(
        &mut self,
        now: Moment,
        partition: &TopicPartition,
        generation: Generation,
        unfinished: usize,
    ) {
        tracing::info!(group = self.metrics.group(), %partition, unfinished, "partition released");
        self.logs.forget(partition);
        self.asked.remove(&generation);
        self.letters.released(generation);
        self.given_back(partition, unfinished);
        if let Some(Revoking { since, count, going }) = &mut self.revoking
            && going.remove(&generation)
            && going.is_empty()
        {
            self.metrics.rebalanced(RebalanceKind::Revoke, *count, now.since(*since));
            self.revoking = None;
        }
    }

    fn commit_answered(&mut self, now: Moment, generation: Generation, outcome: CommitOutcome) {
        let asked = self.asked.remove(&generation).unwrap_or(now);
        self.metrics.committed(outcome, now.since(asked));
    }

    /// Partitions of one assignment come one after the other: the first other happening ends it.
    fn assignment_ended(&mut self) {
        if self.assigning > 0 {
            self.metrics.rebalanced(RebalanceKind::Assign, self.assigning, Duration::ZERO);
            self.assigning = 0;
        }
    }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub(crate) fn word(cause: PauseCause) -> &'static str {
    match cause {
        PauseCause::Backpressure => "backpressure",
        PauseCause::Circuit => "circuit",
        PauseCause::Order => "order",
    }
}
