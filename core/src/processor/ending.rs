//! Partitions that go: given back with time to drain, lost at once, or all of them at shutdown.

use super::{Drain, Processor, Timer, bug};
use crate::offsets::{State, Window};
use crate::output::Output;
use crate::partition::{Phase, lanes};
use crate::record::{Generation, Moment};

impl<T: Clone> Processor<T> {
    pub(super) fn revoked(&mut self, now: Moment, generations: &[Generation], deadline: Moment) {
        for generation in generations {
            let Some(part) = self.assigned.get_mut(generation) else { continue };
            if matches!(part.phase, Phase::Claiming | Phase::Fenced) {
                // Nothing was dispatched since: there is nothing to wait for, and nothing to commit.
                self.release(now, *generation);
                continue;
            }
            part.phase = Phase::Draining { deadline };
            self.timers.insert((deadline, Timer::Deadline(*generation)));
            if bug!(self.settings, ReleaseWhileInFlight) {
                self.release(now, *generation);
            } else {
                self.release_when_idle(now, *generation);
            }
        }
    }

    pub(super) fn lost(&mut self, generations: &[Generation]) {
        for generation in generations {
            if bug!(self.settings, CommitAfterLost) {
                self.commit(*generation);
            }
            self.abandon_runs(*generation);
            self.forget(*generation);
        }
    }

    pub(super) fn start_drain(&mut self, now: Moment, deadline: Moment) {
        if self.drain.is_some() {
            return;
        }
        self.drain = Some(Drain { abandoned: 0, told: false });
        let all: Vec<_> = self.assigned.keys().copied().collect();
        self.revoked(now, &all, deadline);
    }

    pub(super) fn end_drain(&mut self) {
        if let Some(drain) = &mut self.drain
            && self.assigned.is_empty()
            && !drain.told
        {
            drain.told = true;
            self.outputs.push_back(Output::Drained { abandoned: drain.abandoned });
        }
    }

    /// A draining partition with nothing in flight is released.
    pub(super) fn release_when_idle(&mut self, now: Moment, generation: Generation) {
        if let Some(part) = self.assigned.get(&generation)
            && matches!(part.phase, Phase::Draining { .. })
            && !part.is_in_flight()
        {
            self.release(now, generation);
        }
    }

    pub(super) fn deadline_passed(&mut self, now: Moment, generation: Generation) {
        let Some(part) = self.assigned.get(&generation) else { return };
        if let Phase::Draining { .. } = part.phase {
            let abandoned = part.in_flight.len();
            if let Some(drain) = &mut self.drain {
                drain.abandoned += abandoned;
            }
            self.abandon_runs(generation);
            self.release(now, generation);
        }
    }

    /// Commits what is new and lets the partition go.
    pub(super) fn release(&mut self, _now: Moment, generation: Generation) {
        if bug!(self.settings, SkipOnDrain)
            && let Some(part) = self.assigned.get_mut(&generation)
        {
            let all: Vec<_> = part.window.seqs().map(|(seq, _)| seq).collect();
            for seq in all {
                part.window.finish(seq);
            }
        }
        self.commit(generation);
        self.forget(generation);
    }

    /// Drops an assignment with all that belongs to it.
    fn forget(&mut self, generation: Generation) {
        let Some(part) = self.assigned.remove(&generation) else { return };
        if self.names.get(&part.name) == Some(&generation) {
            self.names.remove(&part.name);
        }
        self.moved.remove(&generation);
        self.turns.retain(|other| *other != generation);
        self.timers.retain(|(_, timer)| timer.generation() != generation);
        let unfinished = part.window.unfinished();
        self.outputs.push_back(Output::Released { partition: part.name, generation, unfinished });
    }

    /// Cancels what is in flight: its completions will have no effect.
    pub(super) fn abandon_runs(&mut self, generation: Generation) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        for run in std::mem::take(&mut part.in_flight) {
            self.circuits.abandoned(run);
            if let Some(flight) = self.runs.remove(&run) {
                for seq in flight.seqs {
                    if let Some(entry) = part.window.get_mut(seq) {
                        entry.state = State::Queued;
                    }
                }
            }
            self.outputs.push_back(Output::Abandon { run });
        }
        part.letters.values_mut().for_each(|letter| letter.sent = false);
    }

    /// Drops all records of a fenced partition: they will be fetched again.
    pub(super) fn forget_records(&mut self, generation: Generation) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        part.window = Window::new(None, Vec::new());
        part.lanes = lanes(&self.settings);
        part.waits.clear();
        part.letters.clear();
        part.attempts.clear();
        self.timers.retain(|(_, timer)| timer.generation() != generation);
    }
}

impl Timer {
    fn generation(self) -> Generation {
        match self {
            Self::Claim(generation)
            | Self::Deadline(generation)
            | Self::Letter(generation, _)
            | Self::Retry(generation, _) => generation,
        }
    }
}
