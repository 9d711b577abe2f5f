//! The processor: the façade that routes what happened to the partition that it concerns.

use std::collections::{BTreeMap, VecDeque};

use crate::bugs::Bug;
use crate::circuit::Gate;
use crate::input::{Input, RunResult};
use crate::output::Output;
use crate::partition::Partition;
use crate::pressure;
use crate::record::{Generation, Moment, Offset, OffsetRange, RunId, Ticket, TopicPartition};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::timers::Timer;

/// The state machine of one consumer group's member.
#[derive(Debug)]
pub struct Processor<T> {
    pub(crate) shared: Shared<T>,
    pub(crate) partitions: BTreeMap<Generation, Partition<T>>,
    pub(crate) current: BTreeMap<TopicPartition, Generation>,
    /// The highest generation that was ever assigned.
    pub(crate) latest: Option<Generation>,
    /// Partitions that can dispatch, each once: they take turns, a run each.
    turns: VecDeque<Generation>,
    pub(crate) draining: Draining,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draining {
    /// Nobody asked.
    No,
    /// Partitions are still being released.
    Yes,
    /// It was reported that all are.
    Done,
}

impl<T: Clone> Processor<T> {
    /// Builds a processor without partitions.
    pub fn new(settings: Settings) -> Self {
        Self {
            shared: Shared::new(settings),
            partitions: BTreeMap::new(),
            current: BTreeMap::new(),
            latest: None,
            turns: VecDeque::new(),
            draining: Draining::No,
        }
    }

    /// Takes note of what happened at `now`; what follows is read by [`Processor::poll_output`].
    ///
    /// A `now` before an earlier one counts as that one. What was due until `now` is done first, but for what
    /// the input ends.
    pub fn handle(&mut self, now: Moment, input: Input<T>) {
        self.shared.now = self.shared.now.max(now);
        // What is over by this input must not act once more: no commit after a loss.
        if !matches!(input, Input::Assigned { .. } | Input::Lost { .. } | Input::Fenced { .. }) {
            self.fire_timers();
        }
        self.route(input);
        self.fire_timers();
        self.dispatch();
        self.finish_drain();
        #[cfg(debug_assertions)]
        self.assert_sound();
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.shared.outputs.pop_front()
    }

    /// Returns when [`Input::Tick`] is due, if nothing else happens before. A tick may turn out to have been
    /// unneeded; that changes nothing.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.shared.timers.next()
    }

    /// Says whether further records are welcome. Whoever fetches should hold them back while not, but go on serving
    /// the group: that is cheaper than a pause, which throws the prefetch away.
    ///
    /// They are welcome while fetched partitions hold little. Some are also when nothing has ended and none have come for a
    /// moment, so that partitions which wait do not keep others hungry: those are paused at their own mark.
    pub fn wants_more(&self) -> bool {
        let fetched = self.partitions.values().filter(|partition| partition.paused.is_none());
        let held: usize = fetched.map(|partition| partition.records.len()).sum();
        held < self.shared.settings.pressure.ahead
            || self.shared.now.since(self.shared.moved_at) >= pressure::PATIENCE
    }

    /// Returns how many records of an assignment were received and are unfinished; 0 where it is over.
    pub fn unfinished(&self, generation: Generation) -> usize {
        self.partitions.get(&generation).map_or(0, |partition| partition.records.len())
    }

    fn route(&mut self, input: Input<T>) {
        match input {
            Input::Assigned { partition, generation, start, finished } => {
                self.assigned(partition, generation, start, finished);
            }
            Input::Claimed { generation, next, attempts } => {
                self.with(generation, |partition, shared| partition.claimed(next, attempts, shared));
            }
            Input::ClaimFailed { generation } => self.with(generation, Partition::claim_failed),
            Input::Fenced { generation } => {
                self.with(generation, Partition::fenced);
                self.release_if_idle(generation);
            }
            Input::Verified { generation } => self.with(generation, Partition::verified),
            Input::Records { generation, epoch, records } => {
                self.shared.moved_at = self.shared.now;
                self.with(generation, |partition, shared| partition.receive(epoch, records, shared));
            }
            Input::Completed { run, result } => self.completed(run, result),
            Input::DeadLettered { ticket: Ticket { generation, offset } } => {
                self.with(generation, |partition, shared| partition.dead_lettered(offset, shared));
                self.release_if_idle(generation);
            }
            Input::DeadLetterFailed { ticket: Ticket { generation, offset } } => {
                self.with(generation, |partition, shared| partition.dead_letter_failed(offset, shared));
                self.release_if_idle(generation);
            }
            Input::Committed { generation, next } => {
                self.with(generation, |partition, _| partition.commits.acknowledged(next));
            }
            Input::CommitFailed { generation } => self.with(generation, |partition, shared| {
                partition.commits.failed();
                shared.commit_soon();
            }),
            Input::Revoked { generations, deadline } => self.revoked(&generations, deadline),
            Input::Lost { generations } => self.lost(&generations),
            Input::Drain { deadline } => self.drain(deadline),
            Input::Tick => {}
        }
    }

    fn assigned(
        &mut self,
        name: TopicPartition,
        generation: Generation,
        start: Option<Offset>,
        finished: Vec<OffsetRange>,
    ) {
        if self.latest.is_some_and(|latest| generation <= latest) {
            return;
        }
        self.latest = Some(generation);
        if let Some(older) = self.current.get(&name) {
            self.lost(&[*older]);
        }
        if self.draining != Draining::No {
            self.shared.emit(Output::Released { partition: name, generation, unfinished: 0 });
            return;
        }
        let partition = Partition::assigned(name.clone(), generation, start, finished, &mut self.shared);
        self.current.insert(name, generation);
        self.partitions.insert(generation, partition);
    }

    fn completed(&mut self, run: RunId, result: RunResult) {
        let Some(flight) = self.shared.runs.remove(&run) else {
            self.completed_ghost(run);
            return;
        };
        self.shared.moved_at = self.shared.now;
        let generation = flight.generation;
        self.with(generation, |partition, shared| partition.completed(run, flight, result, shared));
        self.release_if_idle(generation);
    }

    /// Does something with a partition that is still ours, then looks at its limits and its turn.
    fn with(&mut self, generation: Generation, act: impl FnOnce(&mut Partition<T>, &mut Shared<T>)) {
        let Some(partition) = self.partitions.get_mut(&generation) else { return };
        act(partition, &mut self.shared);
        if !partition.listed && partition.can_dispatch() {
            partition.listed = true;
            self.turns.push_back(generation);
        }
        let shared = &mut self.shared;
        let pressed = pressure::pressed(shared.bytes, &shared.settings, shared.pressed);
        if pressed == shared.pressed {
            partition.review_pressure(shared);
        } else {
            self.review_pressure();
        }
    }

    /// Looks at the limits of all partitions: what they hold together passed a mark.
    pub(crate) fn review_pressure(&mut self) {
        let shared = &mut self.shared;
        shared.pressed = pressure::pressed(shared.bytes, &shared.settings, shared.pressed);
        for partition in self.partitions.values_mut() {
            partition.review_pressure(shared);
        }
    }

    fn dispatch(&mut self) {
        while self.shared.runs.len() < self.shared.settings.concurrency.get() && !self.shared.halted {
            let gate = self.shared.circuits.gate(self.shared.now);
            if gate == Gate::Shut {
                return;
            }
            let Some(generation) = self.turns.pop_front() else { return };
            let Some(partition) = self.partitions.get_mut(&generation) else { continue };
            let run = partition.dispatch(&mut self.shared);
            if partition.lanes.aside() > 0 {
                partition.review_pressure(&mut self.shared);
            }
            partition.listed = partition.can_dispatch();
            if partition.listed {
                self.turns.push_back(generation);
            }
            if let (Gate::Probe, Some(run)) = (gate, run) {
                let changes = self.shared.circuits.begin_probe(run);
                self.shared.report(changes);
            }
        }
    }

    fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.shared.timers.due(self.shared.now) {
            match timer {
                Timer::Claim(generation) => {
                    self.with(generation, |partition, shared| partition.claim_due(at, shared));
                }
                Timer::Commit => self.commit_all(),
                Timer::DeadLetter(generation, offset) => {
                    self.with(generation, |partition, shared| partition.dead_letter_due(offset, at, shared));
                }
                Timer::Deadline(generation) => self.deadline_passed(generation),
                Timer::Probe => {}
                Timer::Retry(generation, offset, slot) => {
                    self.with(generation, |partition, shared| partition.retry_due(offset, slot, at, shared));
                }
            }
        }
    }

    fn commit_all(&mut self) {
        self.shared.commit_fired();
        let mut held_back = false;
        for partition in self.partitions.values_mut().filter(|partition| partition.commits.has_news()) {
            if partition.may_commit() {
                partition.commit(&mut self.shared);
            } else {
                held_back = true;
            }
        }
        if held_back {
            self.shared.commit_soon();
        }
    }

    /// The deliberate bug of letting an abandoned run count.
    fn completed_ghost(&mut self, run: RunId) {
        if !self.shared.settings.has(Bug::ActForOldGeneration) {
            return;
        }
        let Some(at) = self.shared.ghosts.iter().position(|ghost| ghost.run == run) else { return };
        let ghost = self.shared.ghosts.swap_remove(at);
        let Some(generation) = self.current.get(&ghost.partition).copied() else { return };
        self.with(generation, |partition, shared| {
            for offset in ghost.offsets {
                partition.offsets.finish(offset);
            }
            partition.note_progress(shared);
        });
    }
}
