//! One partition of a group, told its story input by input.

use std::time::Duration;

use postroom_core::{
    Class, Dependency, Ended, Failure, FetchEpoch, Generation, Input, KeyHash, Moment, Offset, Output,
    Partition, Processor, Reason, Record, Run, RunResult, Settings, Ticket, Topic, TopicPartition,
};

pub(crate) const ONE: Generation = Generation(1);

pub(crate) struct Group {
    pub(crate) processor: Processor<u64>,
    pub(crate) now: Moment,
    pub(crate) outputs: Vec<Output<u64>>,
}

impl Group {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { processor: Processor::new(settings), now: Moment::START, outputs: Vec::new() }
    }

    pub(crate) fn at(&mut self, now: Moment, input: Input<u64>) {
        self.now = now;
        self.processor.handle(now, input);
        self.outputs = std::iter::from_fn(|| self.processor.poll_output()).collect();
    }

    pub(crate) fn tell(&mut self, input: Input<u64>) {
        self.at(self.now, input);
    }

    pub(crate) fn wait(&mut self, span: Duration) {
        self.at(self.now.plus(span), Input::Tick);
    }

    pub(crate) fn records(&mut self, from: u64, count: u64) {
        let record = |offset: u64| Record {
            offset: Offset(offset.cast_signed()),
            key: Some(KeyHash(offset.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
            bytes: 100,
            payload: offset,
        };
        let records = (from..from + count).map(record).collect();
        self.tell(Input::Records { generation: ONE, epoch: FetchEpoch::default(), records });
    }

    pub(crate) fn assign(&mut self, start: Option<i64>) {
        let start = start.map(Offset);
        self.tell(Input::Assigned { partition: name(), generation: ONE, start, finished: vec![] });
    }

    /// Lets time pass until the next deadline.
    pub(crate) fn until_due(&mut self) {
        let due = self.processor.next_deadline().unwrap();
        self.at(due, Input::Tick);
    }

    /// Returns the offsets of the dispatched runs.
    pub(crate) fn dispatched(&self) -> Vec<Vec<i64>> {
        self.runs().iter().map(|run| run.records.iter().map(|(offset, _)| offset.0).collect()).collect()
    }

    pub(crate) fn dead_letters(&self) -> Vec<(i64, Reason, u32)> {
        let letter = |output: &Output<u64>| match output {
            Output::DeadLetter(letter) => Some((letter.ticket.offset.0, letter.reason, letter.attempts)),
            _ => None,
        };
        self.outputs.iter().filter_map(letter).collect()
    }

    /// Fetches records of the given offsets and keys, of the epoch that the last seek asked for.
    pub(crate) fn fetch(&mut self, epoch: u32, records: &[(i64, Option<u64>)]) {
        let record = |(offset, key): &(i64, Option<u64>)| Record {
            offset: Offset(*offset),
            key: key.map(KeyHash),
            bytes: 100,
            payload: offset.cast_unsigned(),
        };
        let records = records.iter().map(record).collect();
        self.tell(Input::Records { generation: ONE, epoch: FetchEpoch(epoch), records });
    }

    pub(crate) fn complete(&mut self, run: &Run<u64>, result: RunResult) {
        self.tell(Input::Completed { run: run.id, result });
    }

    pub(crate) fn runs(&self) -> Vec<Run<u64>> {
        let dispatched = |output: &Output<u64>| match output {
            Output::Dispatch(run) => Some(run.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(dispatched).collect()
    }

    pub(crate) fn commits(&self) -> Vec<(i64, Vec<(i64, i64)>)> {
        let committed = |output: &Output<u64>| match output {
            Output::Commit { next, finished, .. } => {
                Some((next.0, finished.iter().map(|range| (range.from.0, range.to.0)).collect()))
            }
            _ => None,
        };
        self.outputs.iter().filter_map(committed).collect()
    }
}

pub(crate) fn name() -> TopicPartition {
    TopicPartition::new(Topic::new("blog.comments"), Partition(0))
}

pub(crate) fn transient() -> Failure {
    let class = Class::Transient { retry_after: None, ended: Ended::ByError };
    Failure::new(class, "smtp_451", "the mailbox is busy")
}

pub(crate) fn ticket(offset: i64) -> Ticket {
    Ticket { generation: ONE, offset: Offset(offset) }
}

pub(crate) fn dead(reason: Reason) -> RunResult {
    RunResult::Failed(Failure::new(Class::Dead(reason), "refused", "no such mailbox"))
}

pub(crate) fn outage() -> RunResult {
    RunResult::Failed(Failure::new(Class::Outage(Dependency("smtp".into())), "refused", "no connection"))
}
