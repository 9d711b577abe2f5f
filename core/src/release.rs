//! Giving partitions back: revoked, lost, drained.

use crate::bugs::Bug;
use crate::output::Output;
use crate::partition::{Ours, Partition, Phase};
use crate::processor::{Draining, Processor};
use crate::record::{Generation, Moment};
use crate::shared::Shared;
use crate::timers::Timer;

impl<T: Clone> Processor<T> {
    /// Starts nothing new of these assignments and releases each when nothing of it is in flight, or at the
    /// deadline.
    pub(crate) fn revoked(&mut self, generations: &[Generation], deadline: Moment) {
        for generation in generations {
            let Some(partition) = self.partitions.get_mut(generation) else { continue };
            partition.drain(deadline, &mut self.shared);
            if deadline <= self.shared.now {
                self.deadline_passed(*generation);
            } else if self.shared.settings.has(Bug::ReleaseWhileInFlight) {
                self.shared.runs.retain(|_, flight| flight.generation != *generation);
                self.release(*generation);
            } else {
                self.release_if_idle(*generation);
            }
        }
    }

    /// Drops these assignments at once and commits nothing.
    pub(crate) fn lost(&mut self, generations: &[Generation]) {
        for generation in generations {
            let Some(partition) = self.partitions.get_mut(generation) else { continue };
            if self.shared.settings.has(Bug::CommitAfterLost) {
                partition.commit(&mut self.shared);
            }
            partition.commits.forget();
            self.release(*generation);
        }
    }

    /// Gives everything back.
    pub(crate) fn drain(&mut self, deadline: Moment) {
        if self.draining == Draining::No {
            self.draining = Draining::Yes;
            self.shared.abandoned = 0;
        }
        let all: Vec<Generation> = self.partitions.keys().copied().collect();
        self.revoked(&all, deadline);
    }

    /// Reports once that everything was given back.
    pub(crate) fn finish_drain(&mut self) {
        if self.draining == Draining::Yes && self.partitions.is_empty() {
            self.draining = Draining::Done;
            self.shared.emit(Output::Drained { abandoned: self.shared.abandoned });
        }
    }

    /// Releases a partition that is given back, if nothing of it is in flight.
    pub(crate) fn release_if_idle(&mut self, generation: Generation) {
        let idle = |partition: &Partition<T>| {
            matches!(partition.phase, Phase::Draining { .. })
                && partition.in_flight == 0
                && !partition.awaits_acknowledgement()
        };
        if self.partitions.get(&generation).is_some_and(idle) {
            self.release(generation);
        }
    }

    /// Stops waiting for what is in flight.
    pub(crate) fn deadline_passed(&mut self, generation: Generation) {
        let Some(partition) = self.partitions.get_mut(&generation) else { return };
        if matches!(partition.phase, Phase::Draining { deadline, .. } if deadline <= self.shared.now) {
            let abandoned = partition.abandon(&mut self.shared);
            self.shared.abandoned += abandoned;
            self.release(generation);
        }
    }

    fn release(&mut self, generation: Generation) {
        let Some(mut partition) = self.partitions.remove(&generation) else { return };
        self.current.remove(&partition.name);
        partition.end(&mut self.shared);
        self.review_pressure();
    }
}

impl<T: Clone> Partition<T> {
    fn drain(&mut self, deadline: Moment, shared: &mut Shared<T>) {
        let (deadline, ours) = match self.phase {
            Phase::Draining { deadline: earlier, ours } => (earlier.min(deadline), ours),
            Phase::Active => (deadline, Ours::Commit),
            Phase::Claiming { .. } | Phase::Fenced { .. } => (deadline, Ours::Silent),
        };
        self.phase = Phase::Draining { deadline, ours };
        shared.timers.set(deadline, Timer::Deadline(self.generation));
    }

    /// Says the last about this assignment.
    fn end(&mut self, shared: &mut Shared<T>) {
        if shared.settings.has(Bug::SkipOnDrain)
            && let Some(end) = self.offsets.end()
        {
            self.offsets.raise(end);
            self.commits.changed();
        }
        if self.may_commit() && self.commits.is_unsure() {
            self.commit(shared);
        }
        let unfinished = self.records.len();
        self.drop_all(shared);
        let (partition, generation) = (self.name.clone(), self.generation);
        shared.emit(Output::Released { partition, generation, unfinished });
    }
}
