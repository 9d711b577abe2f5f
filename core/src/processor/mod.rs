//! The state machine of one consumer group's member: routes what happened to the small machines that decide.

mod complete;
mod dispatch;
mod ending;
mod intake;
mod letters;
mod progress;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::circuit::Circuits;
use crate::flood::FloodGuard;
use crate::input::Input;
use crate::lane::Slot;
use crate::offsets::Seq;
use crate::output::Output;
use crate::partition::{Assigned, Phase};
use crate::record::{Generation, Moment, RunId, TopicPartition};
use crate::retry::Jitter;
use crate::settings::Settings;
use crate::snapshot::Snapshot;

/// Says whether a deliberate bug is switched on: never in the product.
macro_rules! bug {
    ($settings:expr, $bug:ident) => {{
        #[cfg(feature = "simulation")]
        let on = $settings.bug == Some(crate::bugs::Bug::$bug);
        #[cfg(not(feature = "simulation"))]
        let on = false;
        on
    }};
}
pub(crate) use bug;

/// The state machine of one consumer group's member.
#[derive(Debug)]
pub struct Processor<T> {
    settings: Settings,
    assigned: BTreeMap<Generation, Assigned<T>>,
    names: BTreeMap<TopicPartition, Generation>,
    /// Partitions that have something to dispatch, each once, in their turn.
    turns: VecDeque<Generation>,
    runs: BTreeMap<RunId, InFlight>,
    timers: BTreeSet<(Moment, Timer)>,
    outputs: VecDeque<Output<T>>,
    jitter: Jitter,
    circuits: Circuits,
    flood: FloodGuard,
    next_run: u64,
    /// When changed positions are committed.
    commit_at: Option<Moment>,
    /// Partitions whose position changed since they were last committed.
    moved: BTreeSet<Generation>,
    drain: Option<Drain>,
    halted: bool,
}

/// A dispatched run.
#[derive(Debug)]
struct InFlight {
    generation: Generation,
    slot: Slot,
    seqs: Vec<Seq>,
}

/// A shutdown under way.
#[derive(Clone, Copy, Debug)]
struct Drain {
    abandoned: usize,
    told: bool,
}

/// What can wake the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A claim that failed is made again.
    Claim(Generation),
    /// A draining partition's time is up.
    Deadline(Generation),
    /// A refused dead letter is sent again.
    Letter(Generation, Seq),
    /// A failed record is tried again.
    Retry(Generation, Seq),
}

impl<T: Clone> Processor<T> {
    /// Builds a processor without partitions.
    pub fn new(settings: Settings) -> Self {
        Self {
            jitter: Jitter::new(settings.seed),
            flood: FloodGuard::new(settings.flood.clone()),
            settings,
            assigned: BTreeMap::new(),
            names: BTreeMap::new(),
            turns: VecDeque::new(),
            runs: BTreeMap::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            circuits: Circuits::default(),
            next_run: 0,
            commit_at: None,
            moved: BTreeSet::new(),
            drain: None,
            halted: false,
        }
    }

    /// Takes note of what happened at `now`; what follows is read by [`Processor::poll_output`].
    pub fn handle(&mut self, now: Moment, input: Input<T>) {
        match input {
            Input::Assigned { partition, generation, start, finished } => {
                self.assigned(now, partition, generation, start, finished);
            }
            Input::Claimed { generation, next, attempts } => self.claimed(generation, next, attempts),
            Input::ClaimFailed { generation } => self.claim_failed(now, generation),
            Input::Fenced { generation } => self.fenced(generation),
            Input::Verified { generation } => self.verified(generation),
            Input::Records { generation, epoch, records } => self.records(generation, epoch, records),
            Input::Completed { run, result } => self.completed(now, run, result),
            Input::DeadLettered { ticket } => self.dead_lettered(now, ticket),
            Input::DeadLetterFailed { ticket } => self.dead_letter_failed(now, ticket),
            Input::Committed { generation, next } => self.committed(generation, next),
            Input::CommitFailed { generation } => self.commit_failed(now, generation),
            Input::Revoked { generations, deadline } => self.revoked(now, &generations, deadline),
            Input::Lost { generations } => self.lost(&generations),
            Input::Drain { deadline } => self.start_drain(now, deadline),
            Input::Tick => {}
        }
        self.fire(now);
        self.dispatch(now);
        self.commit_when_due(now);
        self.end_drain();
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// Returns when [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Moment> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let probe = if self.turns.is_empty() { None } else { self.circuits.deadline() };
        [timer, probe, self.commit_at].into_iter().flatten().min()
    }

    /// Returns the state as a plain value.
    pub fn snapshot(&self) -> Snapshot<T> {
        let mut partitions: Vec<_> = self.assigned.values().map(Assigned::snapshot).collect();
        partitions.sort_by(|left, right| left.partition.cmp(&right.partition));
        Snapshot {
            runs_in_flight: self.runs.len(),
            unfinished: partitions.iter().map(|partition| partition.unfinished).sum(),
            unfinished_bytes: self.bytes(),
            circuits: self.circuits.states(),
            partitions,
        }
    }

    fn fire(&mut self, now: Moment) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::Claim(generation) => self.claim(generation),
                Timer::Deadline(generation) => self.deadline_passed(now, generation),
                Timer::Letter(generation, seq) => self.send_letter(now, generation, seq),
                Timer::Retry(generation, seq) => self.retry(generation, seq),
            }
        }
    }

    fn bytes(&self) -> usize {
        self.assigned.values().map(|part| part.window.bytes()).sum()
    }

    /// Puts a partition into the round where it has something to dispatch.
    fn take_turn(&mut self, generation: Generation) {
        if let Some(part) = self.assigned.get_mut(&generation)
            && (part.phase == Phase::Active
                || (part.phase == Phase::Claiming && bug!(self.settings, DispatchWhileClaiming)))
            && part.lanes.is_ready()
            && !part.in_turn
        {
            part.in_turn = true;
            self.turns.push_back(generation);
        }
    }
}
