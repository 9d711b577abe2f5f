//! The life of a partition, told input by input.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::num::NonZeroUsize;
use std::time::Duration;

use postroom_core::{
    Attempt, Claims, Class, Ended, Failure, FetchEpoch, Generation, Input, KeyHash, Moment, Offset, Ordering,
    Outcome, Output, Partition, Processor, Reason, Record, Run, RunResult, Settings, Ticket, Topic,
    TopicPartition,
};

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
    let ticket = Ticket { generation: ONE, offset: Offset(0) };
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
    group.tell(Input::Assigned { partition: name(), generation: ONE, start: None, finished: vec![] });
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

const ONE: Generation = Generation(1);

struct Group {
    processor: Processor<u64>,
    now: Moment,
    outputs: Vec<Output<u64>>,
}

impl Group {
    fn new(settings: Settings) -> Self {
        Self { processor: Processor::new(settings), now: Moment::START, outputs: Vec::new() }
    }

    fn at(&mut self, now: Moment, input: Input<u64>) {
        self.now = now;
        self.processor.handle(now, input);
        self.outputs = std::iter::from_fn(|| self.processor.poll_output()).collect();
    }

    fn tell(&mut self, input: Input<u64>) {
        self.at(self.now, input);
    }

    fn wait(&mut self, span: Duration) {
        self.at(self.now.plus(span), Input::Tick);
    }

    fn records(&mut self, from: u64, count: u64) {
        let record = |offset: u64| Record {
            offset: Offset(offset.cast_signed()),
            key: Some(KeyHash(offset.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
            bytes: 100,
            payload: offset,
        };
        let records = (from..from + count).map(record).collect();
        self.tell(Input::Records { generation: ONE, epoch: FetchEpoch::default(), records });
    }

    fn complete(&mut self, run: &Run<u64>, result: RunResult) {
        self.tell(Input::Completed { run: run.id, result });
    }

    fn runs(&self) -> Vec<Run<u64>> {
        let dispatched = |output: &Output<u64>| match output {
            Output::Dispatch(run) => Some(run.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(dispatched).collect()
    }

    fn commits(&self) -> Vec<(i64, Vec<(i64, i64)>)> {
        let committed = |output: &Output<u64>| match output {
            Output::Commit { next, finished, .. } => {
                Some((next.0, finished.iter().map(|range| (range.from.0, range.to.0)).collect()))
            }
            _ => None,
        };
        self.outputs.iter().filter_map(committed).collect()
    }
}

fn name() -> TopicPartition {
    TopicPartition::new(Topic::new("blog.comments"), Partition(0))
}

fn transient() -> Failure {
    let class = Class::Transient { retry_after: None, ended: Ended::ByError };
    Failure::new(class, "smtp_451", "the mailbox is busy")
}
