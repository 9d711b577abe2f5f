//! A group without Kafka and without waiting: the real core, the real worker, a store in memory, virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use postroom_core::{
    Class, Ended, Failure, FetchEpoch, Generation, Input, KeyHash, Moment, Offset, Output, Partition,
    Processor, Reason, Record, Run, RunResult, Topic, TopicPartition,
};
use tokio::sync::Mutex;

use crate::adapters::store::SqliteStore;
use crate::codec::{Codec, Framing, Limits};
use crate::event::{EventRecord, RawBatchBuilder, RawHeader, RawParts, RawRecord};
use crate::ports::Store;
use crate::runtime::Group;
use crate::runtime::bench::{Desk, RunEnd, SharedClaim, run_to_end};

/// Plays events to a group's handler and reports what became of them.
///
/// Back-off passes in virtual time: a budget of hours is spent in milliseconds. The handler's own waits are real.
#[derive(Debug)]
pub struct TestBench {
    group: Group,
    codec: Codec,
    events: Vec<(Topic, RawRecord)>,
    failures: u32,
    next_id: u32,
}

/// What became of the events.
#[derive(Clone, Debug, Default)]
pub struct Report {
    calls: usize,
    committed: BTreeMap<TopicPartition, Offset>,
    retries: usize,
    dead: Vec<(Reason, String)>,
    elapsed: Duration,
    halted: bool,
}

impl Report {
    /// Returns how many runs reached the handler.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Returns how many events the committed positions cover, over all topics.
    pub fn committed(&self) -> i64 {
        self.committed.values().map(|offset| offset.0).sum()
    }

    /// Returns how many retries were scheduled.
    pub fn retries(&self) -> usize {
        self.retries
    }

    /// Returns the dead letters, reason and message, in their order.
    pub fn dead_letters(&self) -> &[(Reason, String)] {
        &self.dead
    }

    /// Returns how much virtual time passed.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Says whether the group stopped itself.
    pub fn halted(&self) -> bool {
        self.halted
    }
}

impl TestBench {
    /// Sets a group up, with a codec that knows Postroom's own schemas and those of the group.
    pub fn new(group: Group) -> Self {
        Self {
            group,
            codec: Codec::new(Limits::default()),
            events: Vec::new(),
            failures: 0,
            next_id: 1_000_000,
        }
    }

    /// Puts an event at the end of its topic's log.
    ///
    /// # Panics
    /// Where the event's schema is broken or does not fit its struct: the test itself is at fault.
    #[must_use]
    #[expect(clippy::panic, reason = "a test's own mistake should stop the test")]
    pub fn given<E: EventRecord + serde::Serialize>(mut self, event: &E) -> Self {
        let id = self.next_id;
        self.next_id += 1;
        let encoded = match self.codec.add_schema(Some(id), None, E::TYPE.schema) {
            Ok(()) => self.codec.encode(event, Framing::ConfluentV0),
            Err(error) => panic!("the schema of {} cannot be used: {error}", E::TYPE.name),
        };
        let outgoing = match encoded {
            Ok(outgoing) => outgoing,
            Err(error) => panic!("the event does not fit the schema of {}: {error}", E::TYPE.name),
        };
        let topic = Topic::new(&outgoing.topic);
        let headers: Vec<(&str, Option<&[u8]>)> =
            outgoing.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        self.push(topic, outgoing.key.as_deref(), outgoing.value.as_deref(), &headers);
        self
    }

    /// Puts raw bytes at the end of a topic's log: what a broken producer would send.
    #[must_use]
    pub fn given_bytes(mut self, topic: &str, value: Option<&[u8]>) -> Self {
        self.push(Topic::new(topic), None, value, &[]);
        self
    }

    /// Makes the first `attempts` attempts fail before they reach the handler.
    #[must_use]
    pub fn fails(mut self, attempts: u32) -> Self {
        self.failures = attempts;
        self
    }

    /// Plays until everything is finished or the group stops itself.
    ///
    /// # Panics
    /// Where no runtime can be started or the store in memory cannot be opened.
    #[expect(clippy::expect_used, reason = "a machine without threads or memory cannot test anything")]
    pub fn run(self) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("because a runtime needs no more than memory");
        runtime.block_on(Play::new(self).run())
    }

    fn push(
        &mut self,
        topic: Topic,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let offset = self.events.iter().filter(|(other, _)| *other == topic).count();
        let offset = Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        let mut builder = RawBatchBuilder::new(TopicPartition::new(topic.clone(), Partition(0)));
        let parts = RawParts { offset, timestamp: Some(0), key, value };
        builder.push(parts, headers.iter().map(|(name, value)| RawHeader { name, value: *value }));
        self.events.extend(builder.finish().into_iter().map(|record| (topic.clone(), record)));
    }
}

/// One play: a driver without an edge.
struct Play {
    processor: Processor<RawRecord>,
    group: Group,
    desk: Arc<Desk>,
    now: Moment,
    logs: BTreeMap<Topic, Vec<RawRecord>>,
    claims: BTreeMap<Generation, SharedClaim>,
    inputs: VecDeque<Input<RawRecord>>,
    failures: u32,
    report: Report,
}

impl Play {
    #[expect(clippy::expect_used, reason = "a machine without memory cannot test anything")]
    fn new(bench: TestBench) -> Self {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::in_memory().expect("because a store in memory needs no more than memory"));
        let desk = Desk::new(&bench.group, "test.", bench.codec, store);
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
            report: Report::default(),
        }
    }

    async fn run(mut self) -> Report {
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
    fn wait(&mut self) {
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
                self.report.dead.push((letter.reason, letter.failure.message));
                self.inputs.push_back(Input::DeadLettered { ticket: letter.ticket });
            }
            Output::RetryScheduled { .. } => self.report.retries += 1,
            Output::Commit { partition, generation, next, .. } => {
                self.report.committed.insert(partition, next);
                self.inputs.push_back(Input::Committed { generation, next });
            }
            Output::Halt { .. } => {
                self.report.halted = true;
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
            | Output::Released { .. }
            | Output::Circuit { .. } => {}
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
