//! Hand-made histories: a sound one, and one bad one for each anomaly.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::failure::{Class, Dependency, Ended, Failure, Reason};
use crate::input::{Input, Outcome, Record, RunResult};
use crate::output::{DeadLetter, Output};
use crate::record::{Attempt, FetchEpoch, KeyHash, OffsetRange, Partition, Ticket, Topic, TopicPartition};
use crate::simulation::history::{Letter, RowPolicy};

/// A history in the making: one partition, one process at a time, a millisecond an entry.
struct Story {
    rules: Rules,
    process: Process,
    entries: Vec<Entry>,
}

impl Story {
    fn of(ordering: Ordering, claims: Claims) -> Self {
        let rules = Rules {
            ordering,
            claims,
            max_attempts: 2,
            retry_cap: Duration::from_millis(3),
            concurrency: 2,
            partitions: 1,
            rows: RowPolicy::Follow,
        };
        let mut story = Self { rules, process: Process(0), entries: Vec::new() };
        for offset in 0..4 {
            story.happens(What::Produced(letter(offset)));
        }
        story.happens(What::Started);
        story
    }

    /// A group in partition order with effects outside the store, and its four records at g1.
    fn begun() -> Self {
        let mut story = Self::of(Ordering::Partition, Claims::AtOnce);
        story.assigned(1, None);
        story
    }

    fn happens(&mut self, what: What) {
        let at = Moment::after_start(Duration::from_millis(self.entries.len().try_into().unwrap()));
        self.entries.push(Entry { at, process: self.process, what });
    }

    fn told(&mut self, input: Input<Letter>) {
        self.happens(What::Told(input));
    }

    fn asked(&mut self, output: Output<Letter>) {
        self.happens(What::Asked(output));
    }

    fn assigned(&mut self, generation: u64, start: Option<i64>) {
        let generation = Generation(generation);
        let start = start.map(Offset);
        self.told(Input::Assigned { partition: place(), generation, start, finished: Vec::new() });
        let records = (0..4).map(|offset| Record {
            offset: Offset(offset),
            key: Some(KeyHash(1)),
            bytes: 1,
            payload: letter(offset),
        });
        let records = records.filter(|record| Some(record.offset) >= start).collect();
        self.told(Input::Records { generation, epoch: FetchEpoch(0), records });
    }

    fn dispatched(&mut self, run: u64, generation: u64, attempt: u32, offsets: &[i64]) {
        self.asked(Output::Dispatch(crate::output::Run {
            id: RunId(run),
            partition: place(),
            generation: Generation(generation),
            attempt: Attempt(attempt),
            records: offsets.iter().map(|offset| (Offset(*offset), letter(*offset))).collect(),
        }));
    }

    fn effect(&mut self, run: u64, generation: u64, offset: i64, epoch: Option<u64>) {
        let generation = Generation(generation);
        self.happens(What::Effect { letter: letter(offset), generation, run: RunId(run), epoch });
    }

    fn counted(&mut self, generation: u64, offset: i64, attempt: u32) {
        let ticket = Ticket { generation: Generation(generation), offset: Offset(offset) };
        self.asked(Output::CountAttempt { partition: place(), ticket, attempt: Attempt(attempt) });
    }

    fn scheduled(&mut self, offset: i64, at: u64) {
        self.asked(Output::RetryScheduled {
            partition: place(),
            ticket: Ticket { generation: Generation(1), offset: Offset(offset) },
            attempt: Attempt(1),
            at: Moment::after_start(Duration::from_millis(at)),
            cause: failure(transient()),
        });
    }

    fn completed(&mut self, run: u64, result: RunResult) {
        self.told(Input::Completed { run: RunId(run), result });
    }

    fn done(&mut self, run: u64, generation: u64, offsets: &[i64]) {
        self.dispatched(run, generation, 1, offsets);
        for offset in offsets {
            self.effect(run, generation, *offset, None);
        }
        self.completed(run, RunResult::Done);
    }

    fn commit(&mut self, generation: u64, next: i64) {
        let generation = Generation(generation);
        let next = Offset(next);
        self.asked(Output::Commit { partition: place(), generation, next, finished: Vec::new() });
        self.happens(What::CommitApplied { place: 0, generation, next, sender: Sender::Current });
    }

    fn dead_letter(&mut self, generation: u64, offset: i64, reason: Reason) {
        let ticket = Ticket { generation: Generation(generation), offset: Offset(offset) };
        self.asked(Output::DeadLetter(DeadLetter {
            partition: place(),
            ticket,
            reason,
            failure: failure(Class::Dead(reason)),
            attempts: 1,
            failing_for: Duration::ZERO,
            payload: letter(offset),
        }));
    }

    fn released(&mut self, generation: u64, unfinished: usize) {
        self.asked(Output::Released { partition: place(), generation: Generation(generation), unfinished });
    }

    /// Finishes and commits everything from `next` on, in g1.
    fn finish(&mut self, next: i64) {
        let rest: Vec<i64> = (next..4).collect();
        if !rest.is_empty() {
            self.done(900, 1, &rest);
        }
        self.commit(1, 4);
        self.happens(What::Finished);
    }

    fn anomalies(self) -> BTreeSet<Anomaly> {
        let findings = check(&History { rules: self.rules, entries: self.entries });
        findings.into_iter().map(|finding| finding.anomaly).collect()
    }

    #[track_caller]
    fn shows(self, anomaly: Anomaly) {
        let anomalies = self.anomalies();
        assert!(anomalies.contains(&anomaly), "{anomaly:?} is not among {anomalies:?}");
    }

    #[track_caller]
    fn has_no_findings(self) {
        assert_eq!(self.anomalies(), BTreeSet::new());
    }
}

fn place() -> TopicPartition {
    TopicPartition::new(Topic::new("blog.comments"), Partition(0))
}

fn letter(offset: i64) -> Letter {
    Letter { place: 0, offset: Offset(offset), key: Some(1), body: 7 + u64::try_from(offset).unwrap() }
}

fn failure(class: Class) -> Failure {
    Failure::new(class, "simulated", "")
}

fn transient() -> Class {
    Class::Transient { retry_after: None, ended: Ended::ByError }
}

#[test]
fn a_sound_history_has_no_findings() {
    let mut story = Story::begun();
    story.done(1, 1, &[0, 1]);
    story.commit(1, 2);
    story.finish(2);
    story.has_no_findings();
}

#[test]
fn a_sound_history_with_a_failure_a_dead_letter_and_a_new_owner_has_no_findings() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.completed(1, RunResult::Failed(failure(transient())));
    story.counted(1, 0, 2);
    story.dispatched(2, 1, 2, &[0]);
    story.effect(2, 1, 0, None);
    story.completed(2, RunResult::Each(vec![Outcome::Done]));
    story.dispatched(3, 1, 1, &[1]);
    story.completed(3, RunResult::Failed(failure(Class::Dead(Reason::Rejected))));
    story.dead_letter(1, 1, Reason::Rejected);
    story.happens(What::DeadLetterStored(letter(1), Reason::Rejected));
    story.told(Input::DeadLettered { ticket: Ticket { generation: Generation(1), offset: Offset(1) } });
    story.told(Input::Revoked {
        generations: vec![Generation(1)],
        deadline: Moment::after_start(Duration::from_secs(9)),
    });
    story.commit(1, 2);
    story.released(1, 2);
    story.assigned(2, Some(2));
    story.done(4, 2, &[2, 3]);
    story.commit(2, 4);
    story.happens(What::Finished);
    story.has_no_findings();
}

#[test]
fn an_outage_spends_no_budget() {
    let mut story = Story::begun();
    for run in 1..9 {
        story.dispatched(run, 1, 1, &[0]);
        story.completed(run, RunResult::Failed(failure(Class::Outage(Dependency("smtp".into())))));
    }
    story.finish(0);
    story.has_no_findings();
}

#[test]
fn a_repeat_after_a_crash_is_excused() {
    let mut story = Story::begun();
    story.done(1, 1, &[0]);
    story.happens(What::Crashed);
    story.process = Process(1);
    story.happens(What::Started);
    story.assigned(2, None);
    story.done(1, 2, &[0, 1, 2, 3]);
    story.commit(2, 4);
    story.happens(What::Finished);
    story.has_no_findings();
}

#[test]
fn lost_effect() {
    let mut story = Story::begun();
    story.done(1, 1, &[0]);
    story.commit(1, 4);
    story.happens(What::Finished);
    story.shows(Anomaly::LostEffect);
}

#[test]
fn phantom_effect() {
    let mut story = Story::begun();
    story.effect(1, 1, 17, None);
    story.finish(0);
    story.shows(Anomaly::PhantomEffect);
}

#[test]
fn phantom_effect_by_a_record_that_was_not_delivered() {
    let mut story = Story::of(Ordering::Partition, Claims::AtOnce);
    let generation = Generation(1);
    story.told(Input::Assigned { partition: place(), generation, start: None, finished: Vec::new() });
    story.dispatched(1, 1, 1, &[0]);
    story.shows(Anomaly::PhantomEffect);
}

#[test]
fn duplicate_effect_in_the_store() {
    let mut story = Story::of(Ordering::Partition, Claims::FromStore);
    story.happens(What::Epoch { place: 0, epoch: 1, generation: Generation(1) });
    story.effect(1, 1, 0, Some(1));
    story.effect(2, 1, 0, Some(1));
    story.shows(Anomaly::DuplicateEffect);
}

#[test]
fn duplicate_effect_after_an_orderly_handover() {
    let mut story = Story::begun();
    story.done(1, 1, &[0]);
    story.commit(1, 1);
    story.released(1, 3);
    story.assigned(2, Some(1));
    story.effect(9, 2, 0, None);
    story.done(2, 2, &[1, 2, 3]);
    story.commit(2, 4);
    story.happens(What::Finished);
    story.shows(Anomaly::DuplicateEffect);
}

#[test]
fn order_inversion() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.completed(1, RunResult::Failed(failure(transient())));
    story.dispatched(2, 1, 1, &[1]);
    story.shows(Anomaly::OrderInversion);
}

#[test]
fn order_inversion_in_the_store() {
    let mut story = Story::of(Ordering::Partition, Claims::FromStore);
    story.effect(1, 1, 1, Some(0));
    story.effect(1, 1, 0, Some(0));
    story.shows(Anomaly::OrderInversion);
}

#[test]
fn two_runs_in_a_lane() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.dispatched(2, 1, 1, &[1]);
    story.shows(Anomaly::TwoRunsInLane);
}

#[test]
fn stale_owner_acts_after_the_revoke() {
    let mut story = Story::begun();
    let deadline = Moment::after_start(Duration::from_secs(9));
    story.told(Input::Revoked { generations: vec![Generation(1)], deadline });
    story.dispatched(1, 1, 1, &[0]);
    story.shows(Anomaly::StaleOwner);
}

#[test]
fn stale_owner_acts_before_the_claim() {
    let mut story = Story::of(Ordering::Partition, Claims::FromStore);
    story.assigned(1, None);
    story.dispatched(1, 1, 1, &[0]);
    story.shows(Anomaly::StaleOwner);
}

#[test]
fn stale_owner_acts_while_fenced() {
    let mut story = Story::of(Ordering::Partition, Claims::FromStore);
    story.assigned(1, None);
    story.told(Input::Claimed { generation: Generation(1), next: None, attempts: Vec::new() });
    story.told(Input::Fenced { generation: Generation(1) });
    story.dispatched(1, 1, 1, &[0]);
    story.shows(Anomaly::StaleOwner);
}

#[test]
fn stale_owner_writes_under_an_old_epoch() {
    let mut story = Story::of(Ordering::Partition, Claims::FromStore);
    story.happens(What::Epoch { place: 0, epoch: 1, generation: Generation(1) });
    story.happens(What::Epoch { place: 0, epoch: 2, generation: Generation(2) });
    story.effect(1, 1, 0, Some(1));
    story.shows(Anomaly::StaleOwner);
}

#[test]
fn called_again() {
    let mut story = Story::begun();
    story.done(1, 1, &[0]);
    story.dispatched(2, 1, 1, &[0]);
    story.shows(Anomaly::CalledAgain);
}

#[test]
fn called_again_although_the_metadata_says_finished() {
    let mut story = Story::of(Ordering::Key, Claims::AtOnce);
    let finished = vec![OffsetRange { from: Offset(2), to: Offset(3) }];
    let generation = Generation(1);
    story.told(Input::Assigned { partition: place(), generation, start: Some(Offset(0)), finished });
    let records = vec![Record { offset: Offset(2), key: None, bytes: 1, payload: letter(2) }];
    story.told(Input::Records { generation, epoch: FetchEpoch(0), records });
    story.dispatched(1, 1, 1, &[2]);
    story.shows(Anomaly::CalledAgain);
}

#[test]
fn commit_ahead() {
    let mut story = Story::begun();
    story.done(1, 1, &[0]);
    story.commit(1, 2);
    story.finish(1);
    story.shows(Anomaly::CommitAhead);
}

#[test]
fn commit_ahead_in_the_metadata() {
    let mut story = Story::begun();
    let finished = vec![OffsetRange { from: Offset(2), to: Offset(4) }];
    let (partition, generation, next) = (place(), Generation(1), Offset(0));
    story.asked(Output::Commit { partition, generation, next, finished });
    story.shows(Anomaly::CommitAhead);
}

#[test]
fn commit_regress() {
    let mut story = Story::begun();
    story.done(1, 1, &[0, 1]);
    story.commit(1, 2);
    story.commit(1, 1);
    story.finish(2);
    story.shows(Anomaly::CommitRegress);
}

#[test]
fn foreign_commit_after_the_loss() {
    let mut story = Story::begun();
    story.done(1, 1, &[0]);
    story.told(Input::Lost { generations: vec![Generation(1)] });
    story.commit(1, 1);
    story.shows(Anomaly::ForeignCommit);
}

#[test]
fn foreign_commit_of_what_was_never_assigned() {
    let mut story = Story::begun();
    story.commit(5, 0);
    story.shows(Anomaly::ForeignCommit);
}

#[test]
fn dead_letter_unacknowledged() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.completed(1, RunResult::Failed(failure(Class::Dead(Reason::Invalid))));
    story.dead_letter(1, 0, Reason::Invalid);
    story.commit(1, 1);
    story.shows(Anomaly::DeadLetterUnacknowledged);
}

#[test]
fn dead_letter_missing() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.completed(1, RunResult::Failed(failure(Class::Dead(Reason::Invalid))));
    story.dead_letter(1, 0, Reason::Invalid);
    story.told(Input::DeadLettered { ticket: Ticket { generation: Generation(1), offset: Offset(0) } });
    story.finish(1);
    story.shows(Anomaly::DeadLetterMissing);
}

#[test]
fn dead_letter_altered_in_its_bytes() {
    let mut story = Story::begun();
    story.happens(What::DeadLetterStored(Letter { body: 99, ..letter(0) }, Reason::Invalid));
    story.shows(Anomaly::DeadLetterAltered);
}

#[test]
fn dead_letter_altered_in_its_reason() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.completed(1, RunResult::Failed(failure(Class::Dead(Reason::Invalid))));
    story.dead_letter(1, 0, Reason::Rejected);
    story.shows(Anomaly::DeadLetterAltered);
}

#[test]
fn final_state_changed() {
    let mut story = Story::of(Ordering::Partition, Claims::FromStore);
    story.happens(What::DeadLetterStored(letter(0), Reason::Invalid));
    story.effect(1, 1, 0, Some(0));
    story.shows(Anomaly::FinalStateChanged);
}

#[test]
fn budget_exceeded() {
    let mut story = Story::begun();
    for (run, attempt) in [(1, 1), (2, 2), (3, 2)] {
        story.dispatched(run, 1, attempt, &[0]);
        story.completed(run, RunResult::Failed(failure(transient())));
    }
    story.shows(Anomaly::BudgetExceeded);
}

#[test]
fn budget_exceeded_over_restarts() {
    let mut story = Story::of(Ordering::Partition, Claims::FromStore);
    story.assigned(1, None);
    let attempts = vec![(Offset(0), Attempt(1))];
    story.told(Input::Claimed { generation: Generation(1), next: None, attempts });
    story.dispatched(1, 1, 1, &[0]);
    story.shows(Anomaly::BudgetExceeded);
}

#[test]
fn budget_exceeded_by_a_batch_that_is_not_split() {
    let mut story = Story::begun();
    for run in 1..4 {
        story.dispatched(run, 1, 1, &[0, 1, 2]);
        story.completed(run, RunResult::Failed(failure(Class::Dead(Reason::Invalid))));
    }
    story.shows(Anomaly::BudgetExceeded);
}

#[test]
fn budget_exceeded_by_an_attempt_that_is_not_counted() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.completed(1, RunResult::Failed(failure(transient())));
    story.dispatched(2, 1, 2, &[0]);
    story.shows(Anomaly::BudgetExceeded);
}

#[test]
fn budget_exceeded_by_an_outage_that_counts() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.completed(1, RunResult::Failed(failure(Class::Outage(Dependency("smtp".into())))));
    story.counted(1, 0, 2);
    story.dispatched(2, 1, 2, &[0]);
    story.shows(Anomaly::BudgetExceeded);
}

#[test]
fn retry_mistimed_before_its_moment() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.completed(1, RunResult::Failed(failure(transient())));
    story.scheduled(0, 12);
    story.counted(1, 0, 2);
    story.dispatched(2, 1, 2, &[0]);
    story.shows(Anomaly::RetryMistimed);
}

#[test]
fn retry_mistimed_before_the_other_sides_moment() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    let retry_after = Some(Duration::from_secs(1));
    story.completed(1, RunResult::Failed(failure(Class::Transient { retry_after, ended: Ended::ByError })));
    story.counted(1, 0, 2);
    story.dispatched(2, 1, 2, &[0]);
    story.shows(Anomaly::RetryMistimed);
}

#[test]
fn retry_mistimed_beyond_the_cap() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.completed(1, RunResult::Failed(failure(transient())));
    story.scheduled(0, 60_000);
    story.shows(Anomaly::RetryMistimed);
}

#[test]
fn too_many_runs() {
    let mut story = Story::of(Ordering::Unordered, Claims::AtOnce);
    story.assigned(1, None);
    for run in 0..3 {
        story.dispatched(run.try_into().unwrap(), 1, 1, &[run]);
    }
    story.shows(Anomaly::TooManyRuns);
}

#[test]
fn unaccounted_record_at_the_end() {
    let mut story = Story::begun();
    story.done(1, 1, &[0]);
    story.commit(1, 1);
    story.happens(What::Finished);
    story.shows(Anomaly::UnaccountedRecord);
}

#[test]
fn unaccounted_record_at_a_release() {
    let mut story = Story::begun();
    story.done(1, 1, &[0]);
    story.released(1, 0);
    story.shows(Anomaly::UnaccountedRecord);
}

#[test]
fn stuck_partition() {
    let mut story = Story::begun();
    story.happens(What::Stuck("no progress".into()));
    story.shows(Anomaly::StuckPartition);
}

#[test]
fn released_in_flight() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.released(1, 4);
    story.shows(Anomaly::ReleasedInFlight);
}

#[test]
fn deadline_passed() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    let deadline = Moment::after_start(Duration::from_millis(1));
    story.told(Input::Revoked { generations: vec![Generation(1)], deadline });
    story.told(Input::Tick);
    story.told(Input::Tick);
    story.shows(Anomaly::DeadlinePassed);
}

#[test]
fn not_abandoned() {
    let mut story = Story::begun();
    story.dispatched(1, 1, 1, &[0]);
    story.told(Input::Lost { generations: vec![Generation(1)] });
    story.told(Input::Tick);
    story.shows(Anomaly::NotAbandoned);
}

#[test]
fn unsound_state() {
    let mut story = Story::begun();
    story.happens(What::Unsound("two and two are five".into()));
    story.shows(Anomaly::UnsoundState);
}

#[test]
fn busy_loop() {
    let mut story = Story::begun();
    story.happens(What::BusyLoop);
    story.shows(Anomaly::BusyLoop);
}
