//! What all partitions share: the outputs, the runs in flight, the timers, the limits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::circuit::Circuits;
use crate::failure::Dependency;
use crate::flood::Flood;
use crate::lanes::{LaneId, Slots};
use crate::output::{CircuitState, HaltCause, Output};
use crate::record::{Generation, Moment, Offset, RunId, TopicPartition};
use crate::retry::Jitter;
use crate::settings::Settings;
use crate::timers::{Timer, Timers};

/// What all partitions of a processor share.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    pub(crate) settings: Settings,
    pub(crate) now: Moment,
    pub(crate) outputs: VecDeque<Output<T>>,
    pub(crate) runs: BTreeMap<RunId, Flight>,
    pub(crate) timers: Timers,
    pub(crate) jitter: Jitter,
    pub(crate) circuits: Circuits,
    pub(crate) flood: Flood,
    /// Bytes of unfinished records over all partitions.
    pub(crate) bytes: usize,
    /// Whether they are, or were and have not fallen to half since, above the mark.
    pub(crate) pressed: bool,
    pub(crate) halted: bool,
    /// When a run last ended, or records last came.
    pub(crate) moved_at: Moment,
    /// Runs that were abandoned because a deadline passed.
    pub(crate) abandoned: usize,
    /// What was abandoned, for the bug that lets it count.
    pub(crate) ghosts: Vec<Ghost>,
    next_run: u64,
    commit_set: bool,
}

/// A run in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) generation: Generation,
    pub(crate) lane: LaneId,
    pub(crate) slots: Slots,
}

/// An abandoned run, remembered for the deliberate bug that lets it count.
#[derive(Debug)]
pub(crate) struct Ghost {
    pub(crate) run: RunId,
    pub(crate) partition: TopicPartition,
    pub(crate) offsets: Vec<Offset>,
}

impl<T> Shared<T> {
    /// Begins with nothing in flight.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            now: Moment::START,
            outputs: VecDeque::new(),
            runs: BTreeMap::new(),
            timers: Timers::default(),
            jitter: Jitter::new(settings.seed),
            circuits: Circuits::default(),
            flood: Flood::new(settings.flood.clone()),
            bytes: 0,
            pressed: false,
            halted: false,
            moved_at: Moment::START,
            abandoned: 0,
            ghosts: Vec::new(),
            next_run: 0,
            commit_set: false,
            settings,
        }
    }

    /// Asks for something.
    pub(crate) fn emit(&mut self, output: Output<T>) {
        self.outputs.push_back(output);
    }

    /// Puts a run in flight and names it.
    pub(crate) fn launch(&mut self, flight: Flight) -> RunId {
        self.next_run += 1;
        let run = RunId(self.next_run);
        self.runs.insert(run, flight);
        run
    }

    /// Cancels all runs of an assignment and answers with them.
    pub(crate) fn abandon(&mut self, generation: Generation) -> Vec<(RunId, Flight)> {
        let belongs = |(run, flight): (&RunId, &Flight)| (flight.generation == generation).then_some(*run);
        let names: Vec<RunId> = self.runs.iter().filter_map(belongs).collect();
        let mut runs = Vec::with_capacity(names.len());
        for run in names {
            runs.extend(self.runs.remove(&run).map(|flight| (run, flight)));
            let changes = self.circuits.end_probe(run);
            self.report(changes);
            self.emit(Output::Abandon { run });
        }
        runs
    }

    /// Stops the group, once.
    pub(crate) fn halt(&mut self, cause: HaltCause) {
        if !self.halted {
            self.halted = true;
            self.emit(Output::Halt { cause });
        }
    }

    /// Reports what became of circuits.
    pub(crate) fn report(&mut self, changes: Vec<(Dependency, CircuitState)>) {
        for (dependency, state) in changes {
            self.emit(Output::Circuit { dependency, state });
        }
    }

    /// Sees to it that what changed is committed within the interval.
    pub(crate) fn commit_soon(&mut self) {
        if !self.commit_set {
            self.commit_set = true;
            let interval = self.settings.commit_interval.max(SHORTEST_INTERVAL);
            self.timers.set(self.now.plus(interval), Timer::Commit);
        }
    }

    /// Takes note that the commit timer fired.
    pub(crate) fn commit_fired(&mut self) {
        self.commit_set = false;
    }
}

/// A shorter commit interval counts as this one.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
