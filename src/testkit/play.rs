//! One play of a [`TestBench`]: a driver without an edge.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use postroom_core::{
    CircuitState, Class, Ended, Failure, FetchEpoch, Generation, Input, KeyHash, Moment, Offset, Output,
    Partition, Processor, Record, Run, RunResult, Topic, TopicPartition,
};
use tokio::sync::Mutex;

use crate::adapters::store::{AnyStore, SqliteStore};
use crate::event::RawRecord;
use crate::runtime::bench::{Desk, RunEnd, SharedClaim, run_to_end};
use crate::runtime::{Ending, Group};
use crate::testkit::{Report, TestBench};

/// How often time may pass before something gets on: an outage of more than a day at the longest back-off.
const IDLE_LIMIT: u32 = 5_000;

/// One play: a driver without an edge.
pub(super) struct Play {
    processor: Processor<RawRecord>,
    group: Group,
    desk: Arc<Desk>,
    now: Moment,
    logs: BTreeMap<Topic, Vec<RawRecord>>,
    claims: BTreeMap<Generation, SharedClaim>,
    inputs: VecDeque<Input<RawRecord>>,
    failures: u32,
    report: Report,
    /// How often time has passed since something got on.
    idle: u32,
    /// The dependency that was away last.
    away: Option<String>,
}

impl Play {
    #[expect(clippy::expect_used, reason = "a machine without memory cannot test anything")]
    pub(super) fn new(bench: TestBench) -> Self {
        let store = AnyStore::from(
            SqliteStore::in_memory().expect("because a store in memory needs no more than memory"),
        );
        let desk = Desk::new(&bench.group, "test.", bench.codec, Arc::new(store.clone()));
        let mut logs: BTreeMap<Topic, Vec<RawRecord>> = BTreeMap::new();
        for (topic, record) in bench.events {
            logs.entry(topic).or_default().push(record);
        }
        Self {
            processor: Processor::new(bench.group.settings(1)),
            group: bench.group,
            desk: Arc::new(desk),
            now: Moment::START,
            logs,
            claims: BTreeMap::new(),
            inputs: VecDeque::new(),
            failures: bench.failures,
            report: Report::new(store),
            idle: 0,
            away: None,
        }
    }

    pub(super) async fn run(mut self) -> Report {
        self.assign();
        loop {
            while let Some(input) = self.inputs.pop_front() {
                self.processor.handle(self.now, input);
                while let Some(output) = self.processor.poll_output() {
                    if !self.execute(output).await {
                        return self.report;
                    }
                }
            }
            self.wait();
        }
    }

    /// Hands out one partition a topic, with all its records.
    fn assign(&mut self) {
        for (number, (topic, records)) in (1..).zip(std::mem::take(&mut self.logs)) {
            let generation = Generation(number);
            let partition = TopicPartition::new(topic, Partition(0));
            let start = Some(Offset(0));
            self.inputs.push_back(Input::Assigned { partition, generation, start, finished: Vec::new() });
            let records = records.into_iter().map(polled).collect();
            self.inputs.push_back(Input::Records { generation, epoch: FetchEpoch::default(), records });
        }
    }

    /// Lets time pass until the next deadline, or ends the play where nothing is left to wait for.
    #[expect(clippy::panic, reason = "a test that would never end should stop")]
    fn wait(&mut self) {
        self.idle += 1;
        if self.idle > IDLE_LIMIT {
            let away = self.away.as_ref().map_or_else(String::new, |away| format!(": {away} stays away"));
            panic!("nothing got on while time passed {IDLE_LIMIT} times{away}");
        }
        match self.processor.next_deadline() {
            Some(moment) if self.processor.snapshot().unfinished > 0 => {
                self.now = self.now.max(moment);
                self.inputs.push_back(Input::Tick);
            }
            _ => self.inputs.push_back(Input::Drain { deadline: self.now.plus(self.group.deadline) }),
        }
    }

    /// Executes an output; `false` ends the play.
    async fn execute(&mut self, output: Output<RawRecord>) -> bool {
        match output {
            Output::Claim { partition, generation } => self.claim(partition, generation).await,
            Output::Dispatch(run) => self.dispatch(run).await,
            Output::DeadLetter(letter) => {
                self.idle = 0;
                self.report.dead.push((letter.reason, letter.failure.message));
                self.inputs.push_back(Input::DeadLettered { ticket: letter.ticket });
            }
            Output::RetryScheduled { .. } => {
                self.idle = 0;
                self.report.retries += 1;
            }
            Output::Commit { partition, generation, next, .. } => {
                if self.report.committed.insert(partition, next) != Some(next) {
                    self.idle = 0;
                }
                self.inputs.push_back(Input::Committed { generation, next });
            }
            Output::Halt { cause } => {
                self.report.halted = Some(Ending::Halted(cause).to_string());
                self.inputs.push_back(Input::Drain { deadline: self.now });
            }
            Output::Drained { .. } => {
                self.report.elapsed = self.now.since_start();
                return false;
            }
            Output::Verify { generation } => self.inputs.push_back(Input::Verified { generation }),
            Output::Seek { .. }
            | Output::Abandon { .. }
            | Output::CountAttempt { .. }
            | Output::Pause { .. }
            | Output::Resume { .. }
            | Output::Released { .. } => {}
            Output::Circuit { dependency, state } => {
                if let CircuitState::Open { .. } = state {
                    self.away = Some(dependency.0.to_string());
                }
            }
        }
        true
    }

    async fn claim(&mut self, partition: TopicPartition, generation: Generation) {
        match self.desk.store.claim(&self.desk.group, &partition).await {
            Ok(claim) => {
                self.claims.insert(generation, Arc::new(Mutex::new(claim)));
                self.inputs.push_back(Input::Claimed { generation, next: None, attempts: Vec::new() });
            }
            Err(_away) => self.inputs.push_back(Input::ClaimFailed { generation }),
        }
    }

    async fn dispatch(&mut self, run: Run<RawRecord>) {
        let id = run.id;
        let generation = run.generation;
        let result = if self.failures > 0 {
            self.failures -= 1;
            let class = Class::Transient { retry_after: None, ended: Ended::ByError };
            RunResult::Failed(Failure::new(class, "test", "the test asked for a failure"))
        } else {
            self.report.calls += 1;
            let Some(claim) = self.claims.get(&generation).map(Arc::clone) else { return };
            match run_to_end(&*self.group.worker, Arc::clone(&self.desk), run, claim).await.end {
                RunEnd::Ended(result) => result,
                RunEnd::Fenced => {
                    self.inputs.push_back(Input::Fenced { generation });
                    return;
                }
            }
        };
        self.inputs.push_back(Input::Completed { run: id, result });
    }
}

fn polled(record: RawRecord) -> Record<RawRecord> {
    Record {
        offset: record.offset(),
        key: record.key().map(|key| KeyHash(hash(key))),
        bytes: u32::try_from(record.size()).unwrap_or(u32::MAX),
        payload: record,
    }
}

fn hash(key: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}
