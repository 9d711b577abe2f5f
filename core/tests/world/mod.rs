//! A world around the processor: a log, a broker, a store and workers that a script of raw numbers drives,
//! and a reference model that says of every output whether it was allowed.

mod acts;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use postroom_core::{
    Attempt, CircuitState, Claims, Class, Dependency, Ended, Failure, FetchEpoch, Generation, Input, KeyHash,
    Moment, Offset, OffsetRange, Ordering, Outcome, Output, Partition, Pressure, Processor, Reason, Record,
    Retry, RunId, RunResult, Settings, Ticket, Topic, TopicPartition,
};

/// A step of a script: what kind of thing happens, and two numbers that choose which.
pub(crate) type Step = (u8, u16, u16);

/// What one assignment looks like from outside.
#[derive(Debug, Default)]
struct Held {
    partition: i32,
    claiming: bool,
    fenced: bool,
    verify: bool,
    revoked: bool,
    epoch: u32,
    fetch: i64,
    claimed_to: i64,
    hint: Vec<OffsetRange>,
    received: BTreeMap<i64, Seen>,
    committed: Option<i64>,
    unanswered: Vec<(i64, Vec<OffsetRange>)>,
    paused: bool,
    late: bool,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    failed: u32,
    finished: bool,
    dead: Option<Letter>,
    doomed: bool,
    until: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letter {
    Sent,
    Refused,
}

/// What survives assignments: the log's truth.
#[derive(Debug, Default)]
struct Truth {
    finished: BTreeSet<i64>,
    attempts: BTreeMap<i64, u32>,
    commit: Option<i64>,
    hint: Vec<OffsetRange>,
}

pub(crate) struct World {
    pub(crate) settings: Settings,
    processor: Processor<i64>,
    now: Moment,
    held: BTreeMap<u64, Held>,
    truth: BTreeMap<i32, Truth>,
    runs: BTreeMap<RunId, (u64, Vec<i64>)>,
    old_runs: Vec<RunId>,
    old_generations: Vec<u64>,
    next_generation: u64,
    circuits: BTreeSet<Dependency>,
    probe: Option<RunId>,
    /// Every output, as text.
    pub(crate) journal: Vec<String>,
    /// Every input and output, as text.
    pub(crate) story: Vec<String>,
    pub(crate) ticks: Ticks,
    drained: bool,
}

/// Whether needless ticks are mixed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticks {
    Needed,
    Needless,
}

/// Settings that bring every limit within a short script's reach.
pub(crate) fn settings(ordering: Ordering, claims: Claims, batch: usize, seed: u64) -> Settings {
    Settings {
        ordering,
        claims,
        batch: NonZeroUsize::new(batch).unwrap(),
        concurrency: NonZeroUsize::new(1 + usize::from(seed.to_le_bytes()[0] % 4)).unwrap(),
        retry: Retry {
            max_attempts: NonZeroU32::new(4).unwrap(),
            base: Duration::from_millis(100),
            cap: Duration::from_secs(2),
            side_queue: 6,
        },
        pressure: Pressure { ahead: MARK, partition_records: MARK, total_bytes: 100 * 25 },
        seed,
        ..Settings::default()
    }
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            processor: Processor::new(settings.clone()),
            settings,
            now: Moment::START,
            held: BTreeMap::new(),
            truth: (0..PARTITIONS).map(|partition| (partition, Truth::default())).collect(),
            runs: BTreeMap::new(),
            old_runs: Vec::new(),
            old_generations: Vec::new(),
            next_generation: 1,
            circuits: BTreeSet::new(),
            probe: None,
            journal: Vec::new(),
            story: Vec::new(),
            ticks: Ticks::Needed,
            drained: false,
        }
    }

    /// Switches a deliberate bug on.
    #[cfg(feature = "simulation")]
    pub(crate) fn mistake(&mut self, bug: postroom_core::Bug) {
        self.settings.bug = Some(bug);
        self.processor = Processor::new(self.settings.clone());
    }

    fn mistaken(&self) -> bool {
        #[cfg(feature = "simulation")]
        return self.settings.bug.is_some();
        #[cfg(not(feature = "simulation"))]
        false
    }

    /// Plays a script, then lets all faults stop and everything finish, or drains.
    pub(crate) fn play(&mut self, script: &[Step]) -> Result<(), String> {
        for step in script {
            self.step(*step)?;
        }
        if script.len() % 4 == 3 { self.drain() } else { self.settle() }
    }

    fn step(&mut self, (kind, a, b): Step) -> Result<(), String> {
        let partition = i32::from(a) % PARTITIONS;
        let owner = self.held.iter().find(|(_, held)| held.partition == partition).map(|(at, _)| *at);
        match (kind % 32, owner) {
            (0..=2, _) => self.assign(partition, b),
            (3..=9, Some(owner)) => self.fetch(owner, usize::from(b) % FETCH + 1, b % 3 == 0),
            (10..=16, _) => self.end_run(usize::from(a), b),
            (17..=18, Some(owner)) => self.answer_claim(owner, b % 4 == 0),
            (19, Some(owner)) => self.answer_commit(owner, b % 3 == 0),
            (20..=21, _) => self.answer_letter(usize::from(a), b % 2 == 0),
            (22, Some(owner)) => self.revoke(owner, b),
            (23, Some(owner)) if b % 2 == 0 => self.lose(owner),
            (24, Some(owner)) => self.fence(owner),
            (25..=26, Some(owner)) => self.verify(owner),
            (27, _) => self.stale(a, b),
            (28..=31, _) => self.wait(Duration::from_millis(u64::from(b) % 700)),
            _ => Ok(()),
        }
    }

    fn wait(&mut self, span: Duration) -> Result<(), String> {
        let until = self.now.plus(span);
        while let Some(due) = self.processor.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.tell(Input::Tick)?;
        }
        if self.ticks == Ticks::Needless {
            self.now = self.now.plus(until.since(self.now) / 2);
            self.tell(Input::Tick)?;
        }
        self.now = until;
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        for partition in 0..PARTITIONS {
            if !self.held.values().any(|held| held.partition == partition && !held.revoked) {
                self.assign(partition, 8)?;
            }
        }
        for _ in 0..2_000 {
            self.work()?;
            let behind = |truth: &Truth| !all_finished(truth);
            let uncommitted = |truth: &Truth| truth.commit.is_none_or(|commit| commit <= last());
            if !self.truth.values().any(|truth| behind(truth) || uncommitted(truth)) {
                return Ok(());
            }
            let due = self.processor.next_deadline();
            self.wait(due.map_or(Duration::ZERO, |due| due.since(self.now)).min(Duration::from_secs(1)))?;
        }
        Err(format!("stuck: {:?}", self.processor.snapshot()))
    }

    fn drain(&mut self) -> Result<(), String> {
        let deadline = self.now.plus(Duration::from_secs(3));
        for held in self.held.values_mut() {
            held.revoked = true;
        }
        self.tell(Input::Drain { deadline })?;
        self.wait(Duration::from_secs(1))?;
        self.answer_letter(0, true)?;
        if let Some((run, (owner, offsets))) = nth(&self.runs, 0) {
            self.complete(run, owner, &offsets, RunResult::Done)?;
        }
        self.wait(Duration::from_secs(3))?;
        if self.drained && self.held.is_empty() { Ok(()) } else { Err("the drain did not end".into()) }
    }

    /// Answers everything that waits for an answer, well.
    fn work(&mut self) -> Result<(), String> {
        for owner in self.held.keys().copied().collect::<Vec<_>>() {
            self.verify(owner)?;
            self.answer_claim(owner, false)?;
            self.fetch(owner, FETCH, false)?;
            while self.held.get(&owner).is_some_and(|held| !held.unanswered.is_empty()) {
                self.answer_commit(owner, false)?;
            }
        }
        for _ in 0..20 {
            self.answer_letter(0, true)?;
            let Some((run, (owner, offsets))) = nth(&self.runs, 0) else { continue };
            let result = if offsets.iter().any(|offset| offset % 19 == 4) {
                RunResult::Failed(Failure::new(Class::Dead(Reason::Rejected), "bad", ""))
            } else {
                RunResult::Done
            };
            self.complete(run, owner, &offsets, result)?;
        }
        Ok(())
    }

    fn tell(&mut self, input: Input<i64>) -> Result<(), String> {
        if self.ticks == Ticks::Needless {
            self.processor.handle(self.now, Input::Tick);
        }
        self.story.push(format!("{:?} {input:?}", self.now));
        self.processor.handle(self.now, input);
        if self.ticks == Ticks::Needless {
            self.processor.handle(self.now, Input::Tick);
        }
        while let Some(output) = self.processor.poll_output() {
            self.journal.push(format!("{output:?}"));
            self.story.push(format!("    {output:?}"));
            self.check(output).map_err(|rule| format!("{rule}: {}", self.journal.last().unwrap()))?;
        }
        for held in self.held.values() {
            let unfinished = held.received.values().filter(|seen| !seen.finished).count();
            if unfinished > MARK + 2 * FETCH {
                return Err(format!("{unfinished} unfinished records"));
            }
        }
        // A deliberate bug must be seen from outside.
        match self.processor.broken_invariant() {
            Some(rule) if !self.mistaken() => Err(rule.into()),
            _ => Ok(()),
        }
    }

    fn runs_of(&self, owner: u64) -> Vec<RunId> {
        self.runs.iter().filter(|(_, (of, _))| *of == owner).map(|(run, _)| *run).collect()
    }
}

fn nth(runs: &BTreeMap<RunId, (u64, Vec<i64>)>, at: usize) -> Option<(RunId, (u64, Vec<i64>))> {
    let (run, flight) = runs.iter().nth(at % runs.len().max(1))?;
    Some((*run, flight.clone()))
}

fn transient(retry_after: Option<Duration>, ended: Ended) -> Failure {
    Failure::new(Class::Transient { retry_after, ended }, "busy", "")
}

fn record(offset: i64) -> Record<i64> {
    Record { offset: Offset(offset), key: key(offset), bytes: 100, payload: offset }
}

fn name(partition: i32) -> TopicPartition {
    TopicPartition::new(Topic::new("blog.comments"), Partition(partition))
}

fn key(offset: i64) -> Option<KeyHash> {
    let number = offset.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61;
    (number > 0).then(|| KeyHash(number.wrapping_mul(0x1234_5678_9ABC_DEF1)))
}

/// The log has gaps.
fn exists(offset: i64) -> bool {
    offset % 11 != 3 && !(40..70).contains(&offset)
}

fn last() -> i64 {
    (0..END).rfind(|offset| exists(*offset)).unwrap()
}

fn all_finished(truth: &Truth) -> bool {
    (0..END).all(|offset| !exists(offset) || truth.finished.contains(&offset))
}

const PARTITIONS: i32 = 3;
const END: i64 = 120;
const FETCH: usize = 8;
const MARK: usize = 16;
