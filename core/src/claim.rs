//! Claiming a partition from the store, and being fenced by another owner.

use crate::bugs::Bug;
use crate::output::Output;
use crate::partition::{Ours, Partition, Phase, Refetch};
use crate::record::{Attempt, FetchEpoch, Moment, Offset};
use crate::shared::Shared;
use crate::timers::Timer;

impl<T: Clone> Partition<T> {
    /// Asks the store where to go on.
    pub(crate) fn claim(&mut self, refetch: Refetch, shared: &mut Shared<T>) {
        self.phase = Phase::Claiming { again_at: None, refetch };
        shared.emit(Output::Claim { partition: self.name.clone(), generation: self.generation });
        if shared.settings.has(Bug::DispatchWhileClaiming) {
            self.phase = Phase::Active;
        }
    }

    /// Takes the store's answer and becomes active.
    pub(crate) fn claimed(
        &mut self,
        next: Option<Offset>,
        attempts: Vec<(Offset, Attempt)>,
        shared: &mut Shared<T>,
    ) {
        let Phase::Claiming { refetch, .. } = self.phase else { return };
        self.phase = Phase::Active;
        self.claim_failures = 0;
        match (refetch, next) {
            (Refetch::Unneeded, None) => {}
            (Refetch::Unneeded, Some(next)) if self.fetched_from.is_some_and(|from| from <= next) => {
                self.skip_below(next, shared);
            }
            (Refetch::Unneeded, Some(next)) => self.seek(next, shared),
            (Refetch::From(from), next) => {
                if let Some(to) = next.or(from) {
                    self.seek(to, shared);
                }
            }
        }
        self.seed_attempts(attempts);
        if self.offsets.watermark() > self.commits.named() {
            self.note_progress(shared);
        }
    }

    /// Asks again after a while.
    pub(crate) fn claim_failed(&mut self, shared: &mut Shared<T>) {
        let Phase::Claiming { again_at: again_at @ None, .. } = &mut self.phase else { return };
        self.claim_failures = self.claim_failures.saturating_add(1);
        let at = shared.now.plus(shared.jitter.delay(&shared.settings.retry, self.claim_failures));
        *again_at = Some(at);
        shared.timers.set(at, Timer::Claim(self.generation));
    }

    /// Asks again, if that is due at this moment.
    pub(crate) fn claim_due(&mut self, at: Moment, shared: &mut Shared<T>) {
        if let Phase::Claiming { again_at: Some(due), refetch } = self.phase
            && due == at
        {
            self.claim(refetch, shared);
        }
    }

    /// Drops everything: another owner has begun, or this one lost its hold.
    pub(crate) fn fenced(&mut self, shared: &mut Shared<T>) {
        if shared.settings.has(Bug::IgnoreFence) {
            return;
        }
        match self.phase {
            Phase::Active => {
                let from = self.offsets.watermark();
                self.drop_all(shared);
                if let Some(from) = from {
                    self.offsets.restart(from);
                }
                self.phase = Phase::Fenced { from };
                shared.emit(Output::Verify { generation: self.generation });
            }
            Phase::Draining { deadline, .. } => {
                self.abandon(shared);
                self.dead.clear();
                self.refused = 0;
                self.phase = Phase::Draining { deadline, ours: Ours::Silent };
            }
            Phase::Claiming { .. } | Phase::Fenced { .. } => {}
        }
    }

    /// Claims again: the partition is still ours.
    pub(crate) fn verified(&mut self, shared: &mut Shared<T>) {
        if let Phase::Fenced { from } = self.phase {
            self.claim(Refetch::From(from), shared);
        }
    }

    fn skip_below(&mut self, next: Offset, shared: &mut Shared<T>) {
        self.lanes.drop_below(next, &self.records);
        let below: Vec<_> =
            self.records.iter().filter(|(_, held)| held.offset < next).map(|(slot, _)| slot).collect();
        for slot in below {
            self.finish(slot, shared);
        }
        self.offsets.raise(next);
    }

    fn seek(&mut self, offset: Offset, shared: &mut Shared<T>) {
        self.drop_all(shared);
        self.offsets.restart(offset);
        self.epoch = FetchEpoch(self.epoch.0.saturating_add(1));
        self.fetched_from = Some(offset);
        let (partition, generation, epoch) = (self.name.clone(), self.generation, self.epoch);
        shared.emit(Output::Seek { partition, generation, offset, epoch });
    }

    fn seed_attempts(&mut self, attempts: Vec<(Offset, Attempt)>) {
        self.attempts = attempts.into_iter().collect();
        for held in self.records.iter_mut() {
            if let Some(begun) = self.attempts.remove(&held.offset) {
                held.begun_before(begun);
            }
        }
        if let Some(end) = self.offsets.end() {
            self.attempts = self.attempts.split_off(&end);
        }
    }
}
