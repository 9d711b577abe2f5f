//! What becomes of records that fail, and of those behind them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use postroom_core::{
    Attempt, CircuitState, Class, Ended, Failure, Flood, HaltCause, Input, Ordering, Outcome, Output,
    PauseCause, Reason, Retry, RunResult, Settings,
};

use crate::group::{Group, dead, outage, ticket, transient};

#[test]
fn a_key_that_waits_lets_other_keys_pass_and_keeps_its_own_order() {
    let mut group = Group::new(Settings::default());
    group.assign(Some(0));
    group.fetch(0, &[(0, Some(1)), (1, Some(1)), (2, Some(2)), (3, None)]);
    let runs = group.runs();
    assert_eq!(group.dispatched(), [[0], [2], [3]]);

    group.complete(&runs[0], RunResult::Failed(transient()));
    assert!(group.runs().is_empty());
    group.fetch(0, &[(4, Some(1)), (5, Some(2))]);
    group.complete(&runs[1], RunResult::Done);
    assert_eq!(group.dispatched(), [[5]]);
    assert_eq!(group.processor.snapshot().partitions[0].waiting, 3);

    group.until_due();
    assert_eq!(group.dispatched(), [[0]]);
    for next in [1, 4] {
        group.complete(&group.runs()[0], RunResult::Done);
        assert_eq!(group.dispatched(), [[next]]);
    }
}

#[test]
fn too_many_records_of_waiting_keys_pause_the_partition() {
    let retry = Retry { side_queue: 2, ..Retry::default() };
    let mut group = Group::new(Settings { retry, ..Settings::default() });
    group.assign(Some(0));
    group.fetch(0, &[(0, Some(1)), (1, Some(1)), (2, Some(1))]);

    group.complete(&group.runs()[0], RunResult::Failed(transient()));
    assert!(matches!(
        group.outputs[..],
        [Output::RetryScheduled { .. }, Output::Pause { cause: PauseCause::Order, .. }]
    ));
}

#[test]
fn nothing_passes_a_record_that_waits_in_partition_order() {
    let mut group = ordered(10);
    group.assign(Some(0));
    group.records(0, 1);
    group.complete(&group.runs()[0], RunResult::Failed(transient()));

    group.records(1, 5);
    assert!(group.runs().is_empty());
    group.until_due();
    assert_eq!(group.dispatched(), [[0]]);
    group.complete(&group.runs()[0], dead(Reason::Rejected));
    assert_eq!((group.dead_letters(), group.runs().len()), (vec![(0, Reason::Rejected, 2)], 0));
    group.tell(Input::DeadLettered { ticket: ticket(0) });
    assert_eq!(group.dispatched(), [[1]]);
}

#[test]
fn what_follows_the_first_failure_of_a_run_was_not_attempted() {
    let mut group = ordered(4);
    group.assign(Some(0));
    group.records(0, 1);
    let first = group.runs().remove(0);
    group.records(1, 4);
    group.complete(&first, RunResult::Done);
    let failure = Outcome::Failed(transient());
    let outcomes = vec![Outcome::Done, failure, Outcome::Done, Outcome::Done];

    group.complete(&group.runs()[0], RunResult::Each(outcomes));
    assert!(matches!(group.outputs[..], [Output::RetryScheduled { attempt: Attempt(1), .. }]));
    group.until_due();
    assert_eq!((group.dispatched(), group.runs()[0].attempt), (vec![vec![2]], Attempt(2)));
    group.complete(&group.runs()[0], RunResult::Done);
    assert_eq!((group.dispatched(), group.runs()[0].attempt), (vec![vec![3]], Attempt(1)));
}

#[test]
fn a_bad_record_in_a_batch_is_isolated_and_no_other_is_given_up() {
    for bad in 0..64 {
        let mut group = ordered(64);
        group.assign(Some(0));
        group.records(0, 1);
        let first = group.runs().remove(0);
        group.records(1, 64);
        group.complete(&first, RunResult::Done);
        let (mut finished, mut letters) = (1, Vec::new());
        while finished < 65 {
            letters.extend(group.dead_letters());
            let Some(run) = group.runs().pop() else {
                if group.dead_letters().is_empty() {
                    group.until_due();
                } else {
                    finished += 1;
                    group.tell(Input::DeadLettered { ticket: ticket(bad + 1) });
                }
                continue;
            };
            if run.records.iter().any(|(offset, _)| offset.0 == bad + 1) {
                group.complete(&run, RunResult::Failed(transient()));
            } else {
                finished += run.records.len();
                group.complete(&run, RunResult::Done);
            }
        }

        assert_eq!(letters, [(bad + 1, Reason::Exhausted, 8)]);
    }
}

#[test]
fn failures_that_are_shared_spend_at_most_half_of_a_records_attempts() {
    let retry = Retry { max_attempts: NonZeroU32::new(4).unwrap(), ..Retry::default() };
    let batch = NonZeroUsize::new(256).unwrap();
    let mut group =
        Group::new(Settings { retry, batch, ordering: Ordering::Partition, ..Settings::default() });
    group.assign(Some(0));
    group.records(0, 1);
    let first = group.runs().remove(0);
    group.records(1, 256);
    group.complete(&first, RunResult::Done);

    for (attempt, len) in [(1, 256), (2, 128), (3, 1)] {
        let run = group.runs().remove(0);
        assert_eq!((run.attempt, run.records.len()), (Attempt(attempt), len));
        group.complete(&run, RunResult::Failed(transient()));
        group.until_due();
    }
}

#[test]
fn a_retry_waits_at_least_as_long_as_the_other_side_asked() {
    let mut group = Group::new(Settings::default());
    group.assign(Some(0));
    group.records(0, 1);
    let hour = Duration::from_secs(3_600);
    let class = Class::Transient { retry_after: Some(hour), ended: Ended::ByError };

    group.complete(&group.runs()[0], RunResult::Failed(Failure::new(class, "http_429", "slow down")));
    group.wait(hour - Duration::from_millis(1));
    assert!(group.runs().is_empty());
    group.wait(Duration::from_millis(1));
    assert_eq!(group.dispatched(), [[0]]);
}

#[test]
fn a_last_attempt_that_hit_its_deadline_is_dead_lettered_as_timed_out() {
    let retry = Retry { max_attempts: NonZeroU32::MIN, ..Retry::default() };
    let mut group = Group::new(Settings { retry, ..Settings::default() });
    group.assign(Some(0));
    group.records(0, 1);
    let class = Class::Transient { retry_after: None, ended: Ended::ByDeadline };

    group.complete(&group.runs()[0], RunResult::Failed(Failure::new(class, "deadline", "30 s passed")));
    assert_eq!(group.dead_letters(), [(0, Reason::TimedOut, 1)]);
}

#[test]
fn poison_counts_no_attempt_because_no_handler_saw_it() {
    let mut group = Group::new(Settings::default());
    group.assign(Some(0));
    group.records(0, 1);

    group.complete(&group.runs()[0], dead(Reason::Undecodable));
    assert_eq!(group.dead_letters(), [(0, Reason::Undecodable, 0)]);
}

#[test]
fn a_refused_dead_letter_is_sent_again_while_its_partition_is_paused() {
    let mut group = Group::new(Settings::default());
    group.assign(Some(0));
    group.records(0, 1);
    group.complete(&group.runs()[0], dead(Reason::Rejected));

    for _ in 0..3 {
        group.tell(Input::DeadLetterFailed { ticket: ticket(0) });
        assert_eq!(group.processor.snapshot().partitions[0].paused, Some(PauseCause::Order));
        group.until_due();
        assert_eq!(group.dead_letters(), [(0, Reason::Rejected, 1)]);
    }
    group.tell(Input::DeadLettered { ticket: ticket(0) });
    assert!(matches!(group.outputs[..], [Output::Resume { .. }]));
    assert_eq!(group.processor.snapshot().unfinished, 0);
}

#[test]
fn while_a_dependency_is_away_one_run_probes_and_no_attempt_is_spent() {
    let mut group = Group::new(Settings::default());
    group.assign(Some(0));
    group.records(0, 3);
    let runs = group.runs();
    for run in &runs {
        group.complete(run, outage());
        assert!(group.runs().is_empty());
    }
    let away = Duration::from_secs(600);
    while group.now.since_start() < away {
        group.until_due();
        assert_eq!((group.runs().len(), group.runs()[0].attempt), (1, Attempt::FIRST));
        assert!(matches!(group.outputs.last(), Some(Output::Circuit { state: CircuitState::HalfOpen, .. })));
        group.complete(&group.runs()[0], outage());
        assert!(matches!(group.outputs[..], [Output::Circuit { state: CircuitState::Open { .. }, .. }]));
    }

    group.until_due();
    group.complete(&group.runs()[0], RunResult::Done);
    assert!(matches!(group.outputs[0], Output::Circuit { state: CircuitState::Closed, .. }));
    assert_eq!(group.runs().len(), 2);
    assert!(group.processor.snapshot().circuits.is_empty());
}

#[test]
fn a_fatal_failure_halts_the_group_and_its_record_stays() {
    let mut group = Group::new(Settings::default());
    group.assign(Some(0));
    group.records(0, 1);

    let failure = Failure::new(Class::Fatal, "authorisation", "not allowed to write");
    group.complete(&group.runs()[0], RunResult::Failed(failure.clone()));
    assert!(
        matches!(&group.outputs[..], [Output::Halt { cause: HaltCause::Fatal(cause) }] if *cause == failure)
    );
    group.records(1, 5);
    group.wait(Duration::from_secs(5));
    assert!(group.outputs.is_empty());
    group.tell(Input::Drain { deadline: group.now });
    assert!(matches!(group.outputs[..], [Output::Released { unfinished: 6, .. }, Output::Drained { .. }]));
}

#[test]
fn a_flood_of_dead_letters_halts_the_group_before_the_next_is_sent() {
    let flood = Flood { minimum: 3, percent: 50, ..Flood::default() };
    let mut group = Group::new(Settings { flood, ..Settings::default() });
    group.assign(Some(0));
    group.records(0, 10);
    let runs = group.runs();
    for run in &runs[..3] {
        group.complete(run, dead(Reason::Rejected));
        assert_eq!(group.dead_letters().len(), 1);
    }

    group.complete(&runs[3], dead(Reason::Rejected));
    assert!(matches!(
        group.outputs[..],
        [Output::Halt { cause: HaltCause::DeadLetterFlood { dead: 4, finished: 0 } }]
    ));
}

fn ordered(batch: usize) -> Group {
    let batch = NonZeroUsize::new(batch).unwrap();
    Group::new(Settings { ordering: Ordering::Partition, batch, ..Settings::default() })
}
