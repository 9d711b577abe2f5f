//! The life of a partition: claimed, run, committed, given back.

use std::num::NonZeroUsize;
use std::time::Duration;

use postroom_core::{
    Attempt, Claims, FetchEpoch, Generation, Input, Moment, Offset, OffsetRange, Ordering, Outcome, Output,
    Partition, PartitionPhase, PauseCause, Pressure, Reason, Record, RunResult, Settings, Topic,
    TopicPartition,
};

use crate::group::{Group, ONE, dead, name, ticket, transient};

#[test]
fn records_are_claimed_dispatched_finished_committed_and_released() {
    let mut group = Group::new(Settings { claims: Claims::FromStore, ..Settings::default() });
    group.tell(Input::Assigned {
        partition: name(),
        generation: ONE,
        start: Some(Offset(5)),
        finished: vec![],
    });
    assert!(matches!(group.outputs[..], [Output::Claim { generation: ONE, .. }]));

    group.records(5, 3);
    assert!(group.runs().is_empty());

    group.tell(Input::Claimed { generation: ONE, next: Some(Offset(6)), attempts: vec![] });
    let runs = group.runs();
    assert_eq!(runs.iter().map(|run| run.records[0].0.0).collect::<Vec<_>>(), [6, 7]);

    group.complete(&runs[1], RunResult::Done);
    group.wait(Duration::from_secs(1));
    assert_eq!(group.commits(), [(6, vec![(7, 8)])]);

    group.tell(Input::Revoked { generations: vec![ONE], deadline: group.now.plus(Duration::from_secs(9)) });
    assert!(!group.outputs.iter().any(|output| matches!(output, Output::Released { .. })));

    group.complete(&runs[0], RunResult::Done);
    assert_eq!(group.commits(), [(8, vec![])]);
    assert!(matches!(group.outputs.last(), Some(Output::Released { unfinished: 0, .. })));
}

#[test]
fn a_failing_record_is_tried_eight_times_and_passes_with_its_acknowledged_dead_letter() {
    let mut group = Group::new(Settings { ordering: Ordering::Partition, ..Settings::default() });
    group.tell(Input::Assigned {
        partition: name(),
        generation: ONE,
        start: Some(Offset(0)),
        finished: vec![],
    });
    group.records(0, 2);

    for attempt in 1..=8 {
        let runs = group.runs();
        assert_eq!((runs.len(), runs[0].attempt), (1, Attempt(attempt)));
        group.complete(&runs[0], RunResult::Failed(transient()));
        if attempt < 8 {
            assert!(group.runs().is_empty());
            let due = group.processor.next_deadline().unwrap();
            group.at(due, Input::Tick);
        }
    }

    let letter = group.outputs.iter().find_map(|output| match output {
        Output::DeadLetter(letter) => Some((letter.reason, letter.attempts, letter.ticket)),
        _ => None,
    });
    let ticket = ticket(0);
    assert_eq!(letter, Some((Reason::Exhausted, 8, ticket)));
    assert!(group.runs().is_empty());

    group.tell(Input::DeadLettered { ticket });
    assert_eq!(group.runs()[0].records[0].0, Offset(1));
}

#[test]
fn a_lost_partition_is_dropped_without_a_commit() {
    let mut group = Group::new(Settings::default());
    group.tell(Input::Assigned {
        partition: name(),
        generation: ONE,
        start: Some(Offset(0)),
        finished: vec![],
    });
    group.records(0, 2);
    let runs = group.runs();
    group.complete(&runs[0], RunResult::Done);

    group.tell(Input::Lost { generations: vec![ONE] });
    assert!(matches!(group.outputs[..], [Output::Abandon { .. }, Output::Released { unfinished: 1, .. }]));

    group.complete(&runs[1], RunResult::Done);
    group.wait(Duration::from_secs(60));
    assert!(group.outputs.is_empty());
}

#[test]
fn a_drain_waits_for_what_is_in_flight_and_abandons_it_at_the_deadline() {
    let batch = NonZeroUsize::new(10).unwrap();
    let mut group = Group::new(Settings { ordering: Ordering::Partition, batch, ..Settings::default() });
    group.assign(None);
    group.records(0, 2);
    let run = group.runs().remove(0);
    group.records(2, 20);
    group.complete(&run, RunResult::Each(vec![Outcome::Done, Outcome::Failed(transient())]));
    group.wait(Duration::from_millis(200));
    assert_eq!(group.runs()[0].records.len(), 1);

    let deadline = group.now.plus(Duration::from_secs(5));
    group.tell(Input::Drain { deadline });
    assert!(group.outputs.is_empty());

    group.wait(Duration::from_secs(1));
    assert_eq!(group.commits(), [(1, vec![])]);
    group.tell(Input::Committed { generation: ONE, next: Offset(1) });

    group.at(deadline, Input::Tick);
    assert!(matches!(
        group.outputs[..],
        [Output::Abandon { .. }, Output::Released { unfinished: 21, .. }, Output::Drained { abandoned: 1 }]
    ));
}

#[test]
fn records_below_the_claim_are_skipped_also_when_they_arrive_later() {
    let mut group = from_store();
    group.assign(Some(5));
    group.records(5, 2);

    group.tell(Input::Claimed { generation: ONE, next: Some(Offset(9)), attempts: vec![] });
    assert!(group.runs().is_empty());
    group.records(7, 3);
    assert_eq!(group.dispatched(), [[9]]);

    group.wait(Duration::from_secs(1));
    assert_eq!(group.commits(), [(9, vec![])]);
}

#[test]
fn a_claim_below_what_was_fetched_seeks_and_drops_what_is_queued() {
    let mut group = from_store();
    group.assign(Some(5));
    group.records(5, 2);

    group.tell(Input::Claimed { generation: ONE, next: Some(Offset(3)), attempts: vec![] });
    assert!(matches!(
        group.outputs[..],
        [Output::Seek { generation: ONE, offset: Offset(3), epoch: FetchEpoch(1), .. }]
    ));
    group.fetch(0, &[(7, None)]);
    assert!(group.outputs.is_empty());
    group.fetch(1, &[(3, None)]);
    assert_eq!(group.dispatched(), [[3]]);

    group.complete(&group.runs()[0], RunResult::Done);
    group.wait(Duration::from_secs(2));
    assert!(group.commits().is_empty(), "Kafka's commit at 5 is not moved back");
}

#[test]
fn a_claim_of_an_unknown_position_seeks() {
    let mut group = from_store();
    group.assign(None);

    group.tell(Input::Claimed { generation: ONE, next: Some(Offset(3)), attempts: vec![] });
    assert!(matches!(group.outputs[..], [Output::Seek { offset: Offset(3), .. }]));
}

#[test]
fn a_store_without_a_row_leaves_kafkas_position() {
    let mut group = from_store();
    group.assign(Some(5));
    group.records(5, 1);

    group.tell(Input::Claimed { generation: ONE, next: None, attempts: vec![] });
    assert_eq!(group.dispatched(), [[5]]);
}

#[test]
fn a_failed_claim_is_made_again_after_a_while() {
    let mut group = from_store();
    group.assign(Some(5));

    group.tell(Input::ClaimFailed { generation: ONE });
    group.tell(Input::ClaimFailed { generation: ONE });
    assert!(group.outputs.is_empty());
    group.until_due();
    assert!(matches!(group.outputs[..], [Output::Claim { generation: ONE, .. }]));
}

#[test]
fn attempts_of_earlier_owners_count_and_a_spent_record_is_dead_lettered_unseen() {
    let mut group = from_store();
    group.assign(Some(0));
    group.records(0, 1);
    let attempts = vec![(Offset(0), Attempt(7)), (Offset(1), Attempt(8))];
    group.tell(Input::Claimed { generation: ONE, next: Some(Offset(0)), attempts });

    assert!(matches!(group.outputs[0], Output::CountAttempt { attempt: Attempt(8), .. }));
    assert_eq!(group.runs()[0].attempt, Attempt(8));

    group.records(1, 1);
    assert!(group.runs().is_empty());
    assert_eq!(group.dead_letters(), [(1, Reason::Exhausted, 8)]);
}

#[test]
fn a_fenced_partition_drops_everything_and_claims_again_once_it_is_verified() {
    let mut group = from_store();
    group.assign(Some(0));
    group.records(0, 3);
    group.tell(Input::Claimed { generation: ONE, next: Some(Offset(0)), attempts: vec![] });
    let run = group.runs().remove(0);

    group.tell(Input::Fenced { generation: ONE });
    assert_eq!(group.outputs.iter().filter(|output| matches!(output, Output::Abandon { .. })).count(), 3);
    assert!(matches!(group.outputs.last(), Some(Output::Verify { generation: ONE })));
    assert_eq!(group.processor.snapshot().partitions[0].phase, PartitionPhase::Fenced);

    group.complete(&run, RunResult::Done);
    group.records(3, 2);
    group.wait(Duration::from_secs(5));
    assert!(group.outputs.is_empty());

    group.tell(Input::Verified { generation: ONE });
    assert!(matches!(group.outputs[..], [Output::Claim { .. }]));
    group.tell(Input::Claimed { generation: ONE, next: Some(Offset(2)), attempts: vec![] });
    assert!(matches!(group.outputs[..], [Output::Seek { offset: Offset(2), epoch: FetchEpoch(1), .. }]));
    group.fetch(1, &[(2, None)]);
    assert_eq!(group.dispatched(), [[2]]);
}

#[test]
fn what_the_commit_metadata_calls_finished_is_not_run_again() {
    let mut group = Group::new(Settings::default());
    let finished = vec![OffsetRange { from: Offset(1), to: Offset(3) }];
    group.tell(Input::Assigned { partition: name(), generation: ONE, start: Some(Offset(0)), finished });

    group.records(0, 4);
    assert_eq!(group.dispatched(), [[0], [3]]);
    group.complete(&group.runs()[0], RunResult::Done);
    group.wait(Duration::from_secs(1));
    assert_eq!(group.commits(), [(3, vec![])]);
}

#[test]
fn a_failed_commit_is_repeated_with_the_next() {
    let mut group = Group::new(Settings::default());
    group.assign(Some(0));
    group.records(0, 1);
    group.complete(&group.runs()[0], RunResult::Done);
    group.wait(Duration::from_secs(1));
    assert_eq!(group.commits(), [(1, vec![])]);

    group.tell(Input::CommitFailed { generation: ONE });
    group.wait(Duration::from_secs(1));
    assert_eq!(group.commits(), [(1, vec![])]);
    group.tell(Input::Committed { generation: ONE, next: Offset(1) });
    group.wait(Duration::from_secs(5));
    assert!(group.outputs.is_empty());
    assert_eq!(group.processor.snapshot().partitions[0].committed, Some(Offset(1)));
}

#[test]
fn a_revoke_waits_for_a_dead_letter_that_is_under_way_but_not_for_a_refused_one() {
    for refused in [false, true] {
        let mut group = Group::new(Settings::default());
        group.assign(Some(0));
        group.records(0, 1);
        group.complete(&group.runs()[0], dead(Reason::Rejected));
        let deadline = group.now.plus(Duration::from_secs(9));
        group.tell(Input::Revoked { generations: vec![ONE], deadline });
        assert!(group.outputs.is_empty());

        group.tell(if refused {
            Input::DeadLetterFailed { ticket: ticket(0) }
        } else {
            Input::DeadLettered { ticket: ticket(0) }
        });
        let unfinished = usize::from(refused);
        assert_eq!(group.commits().len(), 1 - unfinished);
        assert!(
            matches!(group.outputs.last(), Some(Output::Released { unfinished: left, .. }) if *left == unfinished)
        );
    }
}

#[test]
fn a_partition_assigned_anew_forgets_its_older_generation() {
    let mut group = Group::new(Settings::default());
    group.assign(Some(0));
    group.records(0, 1);
    let run = group.runs().remove(0);

    let two = Generation(2);
    group.tell(Input::Assigned {
        partition: name(),
        generation: two,
        start: Some(Offset(0)),
        finished: vec![],
    });
    assert!(matches!(
        group.outputs[..],
        [Output::Abandon { .. }, Output::Released { generation: ONE, unfinished: 1, .. }]
    ));
    group.complete(&run, RunResult::Done);
    group.records(1, 1);
    group.wait(Duration::from_secs(5));
    assert!(group.outputs.is_empty());
}

#[test]
fn a_partition_assigned_during_a_drain_is_released_at_once() {
    let mut group = Group::new(Settings::default());
    group.tell(Input::Drain { deadline: Moment::START.plus(Duration::from_secs(5)) });
    assert!(matches!(group.outputs[..], [Output::Drained { abandoned: 0 }]));

    group.assign(Some(0));
    assert!(matches!(group.outputs[..], [Output::Released { generation: ONE, unfinished: 0, .. }]));
    group.tell(Input::Drain { deadline: Moment::START });
    assert!(group.outputs.is_empty());
}

#[test]
fn fetching_pauses_at_the_mark_and_resumes_at_half() {
    let pressure = Pressure { partition_records: 10, ..Pressure::default() };
    let mut group = Group::new(Settings { pressure, ordering: Ordering::Partition, ..Settings::default() });
    group.assign(Some(0));

    group.records(0, 12);
    let paused =
        |output: &Output<u64>| matches!(output, Output::Pause { cause: PauseCause::Backpressure, .. });
    assert!(group.outputs.iter().any(paused));
    for left in (5..12).rev() {
        group.complete(&group.runs()[0], RunResult::Done);
        let resumed = group.outputs.iter().any(|output| matches!(output, Output::Resume { .. }));
        assert_eq!(resumed, left == 5);
    }
}

#[test]
fn beyond_the_mark_records_are_welcome_once_in_a_moment_without_an_end() {
    let moment = Duration::from_millis(10);
    let pressure = Pressure { ahead: 10, ..Pressure::default() };
    let mut group = Group::new(Settings { pressure, ordering: Ordering::Partition, ..Settings::default() });
    group.assign(Some(0));
    group.wait(moment);
    group.records(0, 9);
    assert!(group.processor.wants_more());
    let run = group.runs().remove(0);

    group.records(9, 3);
    assert!(!group.processor.wants_more());
    group.wait(moment);
    assert!(group.processor.wants_more());
    group.records(12, 3);
    assert!(
        !group.processor.wants_more(),
        "they are held already: it is not the time for all that there are"
    );
    group.wait(moment);
    assert!(group.processor.wants_more());

    group.complete(&run, RunResult::Done);
    assert!(!group.processor.wants_more());
}

fn from_store() -> Group {
    Group::new(Settings { claims: Claims::FromStore, ..Settings::default() })
}

#[test]
fn partitions_take_turns() {
    let concurrency = NonZeroUsize::new(4).unwrap();
    let mut group =
        Group::new(Settings { concurrency, ordering: Ordering::Unordered, ..Settings::default() });
    group.assign(Some(0));
    group.records(0, 100);
    let mut runs = group.runs();
    assert_eq!(runs.len(), 4);
    second_partition(&mut group, 100);

    let mut of_second = 0;
    for _ in 0..40 {
        group.complete(&runs.remove(0), RunResult::Done);
        of_second += group.runs().iter().filter(|run| run.generation == TWO).count();
        runs.extend(group.runs());
    }
    assert_eq!(of_second, 20);
}

#[test]
fn bytes_of_all_partitions_pause_those_that_hold_some() {
    let pressure = Pressure { total_bytes: 1_000, ..Pressure::default() };
    let mut group = Group::new(Settings { pressure, ordering: Ordering::Partition, ..Settings::default() });
    second_partition(&mut group, 0);
    let two = group.runs();
    assert!(two.is_empty());

    group.tell(Input::Assigned {
        partition: TopicPartition::new(Topic::new("blog.comments"), Partition(2)),
        generation: Generation(3),
        start: Some(Offset(0)),
        finished: vec![],
    });
    let record = |offset| Record { offset: Offset(offset), key: None, bytes: 100, payload: 0 };
    let records = (0..10).map(record).collect();
    group.tell(Input::Records { generation: Generation(3), epoch: FetchEpoch::default(), records });

    let paused: Vec<bool> =
        group.processor.snapshot().partitions.iter().map(|partition| partition.paused.is_some()).collect();
    assert_eq!(paused, [false, true]);
}

fn second_partition(group: &mut Group, count: i64) {
    let partition = TopicPartition::new(Topic::new("blog.comments"), Partition(1));
    group.tell(Input::Assigned { partition, generation: TWO, start: Some(Offset(0)), finished: vec![] });
    let record = |offset| Record { offset: Offset(offset), key: None, bytes: 100, payload: 0 };
    let records = (0..count).map(record).collect();
    group.tell(Input::Records { generation: TWO, epoch: FetchEpoch::default(), records });
}

const TWO: Generation = Generation(2);
