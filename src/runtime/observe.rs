//! Counts and logs what happens in a group, one place for each happening.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use postroom_core::{
    DeadLetter, Failure, Generation, Input, Moment, Offset, Output, PartitionSnapshot, PauseCause, Reason,
    Snapshot, Ticket, TopicPartition,
};

use crate::event::RawRecord;
use crate::runtime::logs::Logs;
use crate::runtime::tally::Finish;
use crate::runtime::worker::RunEnd;
use crate::runtime::workers::Completion;
use crate::telemetry::{
    CommitOutcome, Ending, GroupMetrics, GroupReport, GroupState, Head, PartitionReport, RebalanceKind,
};

/// The metrics and log lines of one group.
pub(crate) struct Observer {
    metrics: Arc<GroupMetrics>,
    logs: Arc<Logs>,
    state: GroupState,
    halted: Option<String>,
    joined: bool,
    assigning: usize,
    revoking: Option<(Moment, BTreeSet<Generation>)>,
    asked: BTreeMap<Generation, Moment>,
    letters: BTreeMap<Ticket, Letter>,
    failing: BTreeMap<Ticket, String>,
    still_since: BTreeMap<Generation, (Option<Offset>, Moment)>,
    store_reachable: bool,
    published: Option<Moment>,
}

/// A dead letter that is not acknowledged yet.
struct Letter {
    partition: TopicPartition,
    reason: Reason,
    attempts: u32,
    failure: Failure,
}

impl Observer {
    pub(crate) fn new(metrics: Arc<GroupMetrics>, logs: Arc<Logs>) -> Self {
        Self {
            metrics,
            logs,
            state: GroupState::Joining,
            halted: None,
            joined: false,
            assigning: 0,
            revoking: None,
            asked: BTreeMap::new(),
            letters: BTreeMap::new(),
            failing: BTreeMap::new(),
            still_since: BTreeMap::new(),
            store_reachable: true,
            published: None,
        }
    }

    pub(crate) fn state(&mut self, state: GroupState) {
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

    /// The edge told something.
    pub(crate) fn told(&mut self, now: Moment, input: &Input<RawRecord>) {
        self.assignment_ended();
        match input {
            Input::Records { records, .. } => {
                let bytes = records.iter().map(|record| u64::from(record.bytes)).sum();
                if let Some(first) = records.first() {
                    let topic = first.payload.partition().topic.as_str();
                    self.metrics.received(topic, u64::try_from(records.len()).unwrap_or(0), bytes);
                }
            }
            Input::Committed { generation, .. } => self.commit_answered(now, *generation, CommitOutcome::Ok),
            Input::CommitFailed { generation } => {
                self.commit_answered(now, *generation, CommitOutcome::Failed);
            }
            Input::DeadLettered { ticket } => {
                if let Some(letter) = self.letters.remove(ticket) {
                    let Letter { partition, reason, attempts, failure } = letter;
                    self.metrics.dead_lettered(
                        &partition,
                        ticket.offset,
                        "other",
                        reason,
                        attempts,
                        &failure,
                    );
                }
            }
            Input::DeadLetterFailed { ticket } => {
                if let Some(letter) = self.letters.get(ticket) {
                    self.metrics.dead_letter_failed(&letter.partition, ticket.offset);
                }
            }
            Input::Revoked { generations, .. } => {
                let going: BTreeSet<_> = generations.iter().copied().collect();
                self.revoking = Some((now, going));
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
            | Input::Drain { .. }
            | Input::Tick => {}
        }
    }

    /// A run ended.
    pub(crate) fn completed(&mut self, completion: &Completion) {
        let topic = completion.partition.topic.as_str();
        self.metrics.observe_processing(topic, completion.took);
        if let RunEnd::Fenced = completion.report.end {
            tracing::warn!(
                group = self.metrics.group(), partition = %completion.partition,
                "another member has claimed the partition"
            );
            return;
        }
        for (event_type, finish, count) in completion.report.tally.rows() {
            let ending = match finish {
                Finish::Ok => Ending::Ok,
                Finish::Skipped => Ending::Skipped,
                Finish::Duplicate => Ending::Duplicate,
            };
            self.metrics.finished(topic, event_type, ending, *count);
        }
        if let Some(age) = completion.age() {
            self.metrics.observe_end_to_end(topic, age);
        }
    }

    /// The processor decided something.
    pub(crate) fn output(&mut self, now: Moment, output: &Output<RawRecord>) {
        match output {
            Output::RetryScheduled { partition, ticket, attempt, at, cause } => {
                self.failing.insert(*ticket, cause.to_string());
                let wait = at.since(now);
                self.metrics.retry_scheduled(partition, ticket.offset, *attempt, wait, cause);
            }
            Output::DeadLetter(letter) => self.note_letter(letter),
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

    /// Says that the driver came round, and once a second what it looks like.
    pub(crate) fn publish(&mut self, now: Moment, snapshot: impl FnOnce() -> Snapshot<RawRecord>) {
        const INTERVAL: Duration = Duration::from_millis(500);
        self.assignment_ended();
        if self.published.is_some_and(|last| now.since(last) < INTERVAL) {
            return;
        }
        self.published = Some(now);
        let snapshot = snapshot();
        if self.state == GroupState::Joining && self.joined {
            self.state = GroupState::Running;
        }
        let report = self.report(now, &snapshot);
        self.metrics.publish(report);
    }

    fn report(&mut self, now: Moment, snapshot: &Snapshot<RawRecord>) -> GroupReport {
        let generations: BTreeSet<_> = snapshot.partitions.iter().map(|part| part.generation).collect();
        self.still_since.retain(|generation, _| generations.contains(generation));
        self.failing.retain(|ticket, _| {
            snapshot.partitions.iter().any(|part| {
                part.generation == ticket.generation
                    && part.watermark.is_none_or(|watermark| watermark <= ticket.offset)
            })
        });
        GroupReport {
            state: self.state,
            halted: self.halted.clone(),
            store_reachable: self.store_reachable,
            partitions: snapshot.partitions.iter().map(|part| self.partition(now, part)).collect(),
            topic_partitions: self.logs.topic_partitions(),
            runs_in_flight: snapshot.runs_in_flight,
            retries_waiting: snapshot.partitions.iter().map(|part| part.waiting).sum(),
            waiting_on: snapshot.circuits.iter().map(|(dependency, _)| dependency.0.to_string()).collect(),
        }
    }

    fn partition(&mut self, now: Moment, part: &PartitionSnapshot<RawRecord>) -> PartitionReport {
        let still = self.still_since.entry(part.generation).or_insert((part.watermark, now));
        if still.0 != part.watermark || part.unfinished == 0 {
            *still = (part.watermark, now);
        }
        let blocked_seconds = now.since(still.1).as_secs_f64();
        let head = part.head.as_ref().and_then(|(offset, _, attempt, retry_at)| {
            let error = self.failing.get(&Ticket { generation: part.generation, offset: *offset })?;
            Some(Head {
                offset: offset.0,
                attempt: attempt.0.saturating_sub(1),
                next_in: retry_at.map(|at| at.since(now).as_secs_f64()),
                error: error.clone(),
            })
        });
        let oldest = part.head.as_ref().and_then(|(_, record, ..)| record.timestamp());
        PartitionReport {
            topic: part.partition.topic.to_string(),
            partition: part.partition.partition.0,
            committed: part.committed.map(|offset| offset.0),
            position: part.watermark.map(|offset| offset.0),
            end: self.logs.range(&part.partition).map(|range| range.end.0),
            lag_seconds: oldest.map_or(0.0, |time| crate::runtime::age::since(time).as_secs_f64()),
            blocked_seconds,
            unfinished: part.unfinished,
            unfinished_bytes: 0,
            paused: part.paused.map(|cause| word(cause).to_owned()),
            head,
        }
    }

    fn note_letter(&mut self, letter: &DeadLetter<RawRecord>) {
        let noted = Letter {
            partition: letter.partition.clone(),
            reason: letter.reason,
            attempts: letter.attempts,
            failure: letter.failure.clone(),
        };
        self.letters.insert(letter.ticket, noted);
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
        self.letters.retain(|ticket, _| ticket.generation != generation);
        if let Some((since, going)) = &mut self.revoking {
            going.remove(&generation);
            if going.is_empty() {
                self.metrics.rebalanced(RebalanceKind::Revoke, 1, now.since(*since));
                self.revoking = None;
            }
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

fn word(cause: PauseCause) -> &'static str {
    match cause {
        PauseCause::Backpressure => "backpressure",
        PauseCause::Circuit => "circuit",
        PauseCause::Order => "order",
    }
}
