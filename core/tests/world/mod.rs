//! A world around the processor: a log, a broker, a store and workers that a script of raw numbers drives,
//! and a reference model that says of every output whether it was allowed.

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

    fn assign(&mut self, partition: i32, b: u16) -> Result<(), String> {
        let older = self.held.iter().find(|(_, held)| held.partition == partition).map(|(at, _)| *at);
        if older.is_some() && !b.is_multiple_of(8) {
            return Ok(());
        }
        let generation = self.next_generation;
        self.next_generation += 1;
        let truth = &self.truth[&partition];
        let from_store = self.settings.claims == Claims::FromStore;
        let fetch = match truth.commit {
            Some(commit) => commit,
            None if from_store => i64::from(b % 20),
            None => 0,
        };
        let start = (truth.commit.is_some() && !b.is_multiple_of(3)).then_some(Offset(fetch));
        let hint = truth.hint.clone();
        self.held.insert(
            generation,
            Held {
                partition,
                claiming: from_store,
                fetch,
                committed: start.map(|o| o.0),
                hint: hint.clone(),
                ..Held::default()
            },
        );
        self.tell(Input::Assigned {
            partition: name(partition),
            generation: Generation(generation),
            start,
            finished: hint,
        })?;
        if let Some(older) = older
            && self.held.contains_key(&older)
        {
            return Err(format!("{older} was not released when {generation} took its place"));
        }
        Ok(())
    }

    fn fetch(&mut self, owner: u64, count: usize, late: bool) -> Result<(), String> {
        let Some(held) = self.held.get_mut(&owner) else { return Ok(()) };
        if held.paused && !(late && held.late) {
            return Ok(());
        }
        if held.paused {
            held.late = false;
        }
        let offsets: Vec<i64> = (held.fetch..END).filter(|offset| exists(*offset)).take(count).collect();
        let Some(last) = offsets.last() else { return Ok(()) };
        held.fetch = last + 1;
        // A seek drops the hint: the store knows better.
        let hint: &[OffsetRange] = if held.epoch == 0 { &held.hint } else { &[] };
        if !held.fenced && !held.revoked {
            for offset in &offsets {
                let known = self.truth[&held.partition].attempts.get(offset).copied().unwrap_or(0);
                let hinted = hint.iter().any(|range| range.contains(Offset(*offset)));
                let failed = if self.settings.claims == Claims::FromStore { known } else { 0 };
                let finished = hinted || *offset < held.claimed_to;
                let seen = Seen { failed, finished, ..Seen::default() };
                held.received.entry(*offset).or_insert(seen);
            }
        }
        let (generation, epoch) = (Generation(owner), FetchEpoch(held.epoch));
        let records = offsets.into_iter().map(record).collect();
        self.tell(Input::Records { generation, epoch, records })
    }

    fn end_run(&mut self, a: usize, b: u16) -> Result<(), String> {
        let Some((run, (owner, offsets))) = nth(&self.runs, a) else { return Ok(()) };
        let failure = match b / 16 % 8 {
            0 => Failure::new(Class::Outage(Dependency(["smtp", "store"][a % 2].into())), "away", ""),
            1 | 2 => Failure::new(Class::Dead(Reason::Rejected), "refused", ""),
            3 => transient(Some(Duration::from_millis(u64::from(b) % 900)), Ended::ByDeadline),
            _ => transient(None, Ended::ByError),
        };
        let result = match b % 8 {
            0 | 1 => RunResult::Failed(failure),
            2 | 3 => {
                let good = usize::from(b / 128) % offsets.len();
                let mut outcomes = vec![Outcome::Done; good];
                outcomes.push(Outcome::Failed(failure));
                outcomes.resize(offsets.len(), Outcome::Done);
                RunResult::Each(outcomes)
            }
            4 => RunResult::Each(vec![Outcome::Skipped; offsets.len()]),
            5 => RunResult::Each(vec![Outcome::Deferred; usize::from(b / 128) % offsets.len() + 1]),
            _ => RunResult::Done,
        };
        self.complete(run, owner, &offsets, result)
    }

    fn complete(&mut self, run: RunId, owner: u64, offsets: &[i64], result: RunResult) -> Result<(), String> {
        self.runs.remove(&run);
        if self.probe == Some(run) {
            self.probe = None;
        }
        let most = self.settings.retry.max_attempts.get();
        let held = self.held.get_mut(&owner).unwrap();
        let (good, failure) = match &result {
            RunResult::Done => (offsets.len(), None),
            RunResult::Failed(failure) => (0, Some(failure)),
            RunResult::Each(outcomes) => {
                let good =
                    outcomes.iter().take_while(|outcome| !matches!(outcome, Outcome::Failed(_))).count();
                let failure = match outcomes.get(good) {
                    Some(Outcome::Failed(failure)) => Some(failure),
                    _ => None,
                };
                (good, failure)
            }
        };
        for offset in &offsets[..good] {
            held.received.get_mut(offset).unwrap().finished = true;
            self.truth.get_mut(&held.partition).unwrap().finished.insert(*offset);
        }
        let shared = matches!(result, RunResult::Failed(_)) && offsets.len() > 1;
        if let Some(failure) = failure {
            let seen = held.received.get_mut(&offsets[good]).unwrap();
            match failure.class {
                Class::Transient { .. } if shared => seen.failed = (seen.failed + 1).min(most - 1),
                Class::Transient { .. } => seen.failed += 1,
                Class::Dead(_) => seen.doomed |= !shared,
                Class::Outage(_) | Class::Fatal => {}
            }
        }
        self.old_runs.push(run);
        self.tell(Input::Completed { run, result })
    }

    fn answer_claim(&mut self, owner: u64, fails: bool) -> Result<(), String> {
        let Some(held) = self.held.get_mut(&owner) else { return Ok(()) };
        if !held.claiming || held.revoked {
            return Ok(());
        }
        let generation = Generation(owner);
        if fails {
            return self.tell(Input::ClaimFailed { generation });
        }
        held.claiming = false;
        held.fenced = false;
        let truth = &self.truth[&held.partition];
        let row = (0..END).find(|offset| exists(*offset) && !truth.finished.contains(offset)).unwrap_or(END);
        let next = (row > 0 || held.fetch > 0).then_some(Offset(row));
        held.claimed_to = row;
        for (offset, seen) in &mut held.received {
            seen.finished |= *offset < row;
        }
        let attempts =
            truth.attempts.iter().map(|(offset, begun)| (Offset(*offset), Attempt(*begun))).collect();
        self.tell(Input::Claimed { generation, next, attempts })
    }

    fn answer_commit(&mut self, owner: u64, fails: bool) -> Result<(), String> {
        let held = self.held.get_mut(&owner).unwrap();
        let generation = Generation(owner);
        if held.unanswered.is_empty() {
            return Ok(());
        }
        let (next, finished) = held.unanswered.remove(0);
        if fails {
            return self.tell(Input::CommitFailed { generation });
        }
        let truth = self.truth.get_mut(&held.partition).unwrap();
        truth.commit = truth.commit.max(Some(next));
        truth.hint = finished;
        self.tell(Input::Committed { generation, next: Offset(next) })
    }

    fn answer_letter(&mut self, a: usize, acknowledged: bool) -> Result<(), String> {
        let mut sent = Vec::new();
        for (owner, held) in &self.held {
            let letters = held.received.iter().filter(|(_, seen)| seen.dead == Some(Letter::Sent));
            sent.extend(letters.map(|(offset, _)| (*owner, *offset)));
        }
        let Some((owner, offset)) = sent.get(a % sent.len().max(1)).copied() else { return Ok(()) };
        let held = self.held.get_mut(&owner).unwrap();
        let seen = held.received.get_mut(&offset).unwrap();
        let ticket = Ticket { generation: Generation(owner), offset: Offset(offset) };
        if acknowledged {
            seen.finished = true;
            seen.dead = None;
            self.truth.get_mut(&held.partition).unwrap().finished.insert(offset);
            self.tell(Input::DeadLettered { ticket })
        } else {
            seen.dead = Some(Letter::Refused);
            self.tell(Input::DeadLetterFailed { ticket })
        }
    }

    fn revoke(&mut self, owner: u64, b: u16) -> Result<(), String> {
        let deadline = self.now.plus(Duration::from_millis(u64::from(b) % 1_000));
        self.held.get_mut(&owner).unwrap().revoked = true;
        self.tell(Input::Revoked { generations: vec![Generation(owner)], deadline })
    }

    fn lose(&mut self, owner: u64) -> Result<(), String> {
        let commits = self.journal.iter().filter(|line| line.starts_with("Commit")).count();
        self.tell(Input::Lost { generations: vec![Generation(owner)] })?;
        if self.held.contains_key(&owner) {
            return Err("a lost partition was not released".into());
        }
        let after = self.journal.iter().filter(|line| line.starts_with("Commit")).count();
        if after > commits { Err("a lost partition was committed".into()) } else { Ok(()) }
    }

    fn fence(&mut self, owner: u64) -> Result<(), String> {
        let runs = self.runs_of(owner);
        let held = self.held.get_mut(&owner).unwrap();
        if self.settings.claims == Claims::AtOnce || held.claiming || held.fenced {
            return Ok(());
        }
        held.received.clear();
        held.fenced = true;
        self.tell(Input::Fenced { generation: Generation(owner) })?;
        if runs.iter().any(|run| self.runs.contains_key(run)) {
            return Err("a fenced partition's run was not abandoned".into());
        }
        Ok(())
    }

    fn verify(&mut self, owner: u64) -> Result<(), String> {
        let Some(held) = self.held.get_mut(&owner) else { return Ok(()) };
        if !std::mem::take(&mut held.verify) || held.revoked {
            return Ok(());
        }
        held.claiming = true;
        self.tell(Input::Verified { generation: Generation(owner) })
    }

    /// Says something of what is gone: nothing may follow.
    fn stale(&mut self, a: u16, b: u16) -> Result<(), String> {
        let offset = Offset(i64::from(b) % END);
        let old = self.old_generations.get(usize::from(a) % self.old_generations.len().max(1));
        let input = match (a % 7, old) {
            (0 | 1, _) => {
                let at = usize::from(b) % self.old_runs.len().max(1);
                let Some(run) = self.old_runs.get(at).copied() else { return Ok(()) };
                Input::Completed { run, result: RunResult::Done }
            }
            (_, None) => return Ok(()),
            (kind, Some(old)) => {
                let generation = Generation(*old);
                match kind {
                    2 => Input::DeadLettered { ticket: Ticket { generation, offset } },
                    3 => Input::Claimed { generation, next: Some(offset), attempts: vec![] },
                    4 => Input::Fenced { generation },
                    5 => Input::Records { generation, epoch: FetchEpoch(0), records: vec![record(offset.0)] },
                    _ => Input::Lost { generations: vec![generation] },
                }
            }
        };
        let (before, lines) = (format!("{:?}", self.processor.snapshot()), self.journal.len());
        let what = format!("{input:?}");
        self.tell(input)?;
        if self.journal.len() > lines || format!("{:?}", self.processor.snapshot()) != before {
            return Err(format!("{what} had an effect"));
        }
        Ok(())
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

    fn check(&mut self, output: Output<i64>) -> Result<(), &'static str> {
        match output {
            Output::Dispatch(run) => {
                let owner = run.generation.0;
                let offsets: Vec<i64> = run.records.iter().map(|(offset, _)| offset.0).collect();
                self.check_dispatch(run.id, owner, run.attempt, &offsets)?;
                self.runs.insert(run.id, (owner, offsets));
                rule(self.runs.len() <= self.settings.concurrency.get(), "the concurrency is exceeded")
            }
            Output::Abandon { run } => {
                self.old_runs.push(run);
                if self.probe == Some(run) {
                    self.probe = None;
                }
                rule(self.runs.remove(&run).is_some(), "a run is abandoned that is not in flight")
            }
            Output::CountAttempt { partition, ticket, attempt } => {
                rule(attempt.0 >= 2, "a first attempt is counted")?;
                let truth = self.truth.get_mut(&partition.partition.0).unwrap();
                truth.attempts.insert(ticket.offset.0, attempt.0);
                Ok(())
            }
            Output::RetryScheduled { ticket, attempt, at, .. } => {
                let (now, most) = (self.now, self.settings.retry.max_attempts.get());
                let seen = self.seen(ticket)?;
                seen.until = at;
                rule(at > now, "a retry is scheduled in the past")?;
                rule(
                    seen.failed == attempt.0 || seen.failed + 1 == most,
                    "a scheduled retry names the wrong attempt",
                )
            }
            Output::DeadLetter(letter) => {
                let most = self.settings.retry.max_attempts.get();
                let seen = self.seen(letter.ticket)?;
                rule(!seen.finished && seen.dead != Some(Letter::Sent), "dead-lettered twice")?;
                rule(seen.doomed || seen.failed >= most, "dead-lettered without a reason")?;
                seen.dead = Some(Letter::Sent);
                Ok(())
            }
            Output::Commit { generation, next, finished, .. } => {
                self.check_commit(generation.0, next.0, finished)
            }
            Output::Pause { generation, .. } => {
                let held = self.current(generation)?;
                rule(!held.paused, "paused twice")?;
                held.paused = true;
                held.late = true;
                Ok(())
            }
            Output::Resume { generation, .. } => {
                let held = self.current(generation)?;
                rule(held.paused, "resumed twice")?;
                held.paused = false;
                Ok(())
            }
            Output::Seek { generation, offset, epoch, .. } => {
                let held = self.held.get_mut(&generation.0).ok_or("a stale seek")?;
                rule(epoch.0 == held.epoch + 1, "a seek without a new epoch")?;
                held.epoch = epoch.0;
                held.fetch = offset.0;
                held.received.clear();
                Ok(())
            }
            Output::Verify { generation } => {
                self.held.get_mut(&generation.0).ok_or("a stale question")?.verify = true;
                Ok(())
            }
            Output::Claim { generation, .. } => rule(self.held.contains_key(&generation.0), "a stale claim"),
            Output::Released { generation, .. } => {
                let in_flight = self.runs.values().any(|(owner, _)| *owner == generation.0);
                rule(!in_flight, "released while in flight")?;
                self.old_generations.push(generation.0);
                rule(self.held.remove(&generation.0).is_some(), "released twice")
            }
            Output::Circuit { dependency, state } => {
                match state {
                    CircuitState::Closed => self.circuits.remove(&dependency),
                    CircuitState::HalfOpen | CircuitState::Open { .. } => self.circuits.insert(dependency),
                };
                Ok(())
            }
            Output::Halt { .. } => Err("halted"),
            Output::Drained { .. } => {
                rule(!self.drained, "drained twice")?;
                self.drained = true;
                Ok(())
            }
        }
    }

    fn check_dispatch(
        &mut self,
        run: RunId,
        owner: u64,
        attempt: Attempt,
        offsets: &[i64],
    ) -> Result<(), &'static str> {
        let ordering = self.settings.ordering;
        let held = self.held.get(&owner).ok_or("dispatched for a partition that is not ours")?;
        rule(!held.claiming && !held.fenced, "dispatched without a claim")?;
        rule(!held.revoked, "dispatched after a revoke")?;
        let first = offsets.first().ok_or("an empty run")?;
        let begun = held.received.get(first).ok_or("dispatched what did not arrive")?;
        rule(attempt.0 == begun.failed + 1, "the attempt is miscounted")?;
        rule(attempt.0 <= self.settings.retry.max_attempts.get(), "an attempt beyond the budget")?;
        if attempt.0 > 1 {
            let counted = self.truth[&held.partition].attempts.get(first).copied();
            rule(counted >= Some(attempt.0), "an attempt was not counted before it began")?;
        }
        rule(offsets.len() <= self.settings.batch.get(), "a run is too long")?;
        rule(offsets.is_sorted(), "a run is out of order")?;
        for offset in offsets {
            let seen = held.received.get(offset).ok_or("dispatched what did not arrive")?;
            rule(!seen.finished, "dispatched what is finished")?;
            rule(seen.dead.is_none(), "dispatched what is dead-lettered")?;
            rule(seen.until <= self.now, "dispatched before its retry is due")?;
            let in_flight = self.runs.values().any(|(other, run)| *other == owner && run.contains(offset));
            rule(!in_flight, "dispatched what is in flight")?;
            let waits = |(earlier, seen): (&i64, &Seen)| {
                !seen.finished
                    && !offsets.contains(earlier)
                    && match ordering {
                        Ordering::Partition => true,
                        Ordering::Key => key(*earlier) == key(*offset),
                        Ordering::Unordered => false,
                    }
            };
            let overtaken = held.received.range(..offset).any(waits);
            rule(!overtaken, "overtook an unfinished record")?;
        }
        if !self.circuits.is_empty() {
            rule(self.probe.is_none(), "dispatched into an open circuit")?;
            self.probe = Some(run);
        }
        Ok(())
    }

    fn check_commit(
        &mut self,
        owner: u64,
        next: i64,
        finished: Vec<OffsetRange>,
    ) -> Result<(), &'static str> {
        let held = self.held.get_mut(&owner).ok_or("committed what is not ours")?;
        rule(!held.fenced, "committed while fenced")?;
        rule(held.committed.is_none_or(|before| before <= next), "a commit went back")?;
        held.committed = Some(next);
        let truth = &self.truth[&held.partition];
        let open = |offset: &i64| exists(*offset) && !truth.finished.contains(offset);
        rule(!(0..next.min(END)).any(|offset| open(&offset)), "a commit passed an unfinished record")?;
        let mut before = next - 1;
        for range in &finished {
            rule(
                range.from.0 > before && range.from < range.to,
                "finished ranges touch or are out of order",
            )?;
            before = range.to.0;
            rule(
                !(range.from.0..range.to.0).any(|offset| open(&offset)),
                "an unfinished record is said finished",
            )?;
        }
        held.unanswered.push((next, finished));
        Ok(())
    }

    fn seen(&mut self, ticket: Ticket) -> Result<&mut Seen, &'static str> {
        let held = self.held.get_mut(&ticket.generation.0).ok_or("speaks of a partition that is not ours")?;
        held.received.get_mut(&ticket.offset.0).ok_or("speaks of a record that did not arrive")
    }

    fn current(&mut self, generation: Generation) -> Result<&mut Held, &'static str> {
        self.held.get_mut(&generation.0).ok_or("flow control of a partition that is not ours")
    }

    fn runs_of(&self, owner: u64) -> Vec<RunId> {
        self.runs.iter().filter(|(_, (of, _))| *of == owner).map(|(run, _)| *run).collect()
    }
}

fn rule(holds: bool, name: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(name) }
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
