//! Partitions that come, claims, and the records that are polled.

use std::collections::BTreeMap;

use super::{Processor, Timer, bug};
use crate::input::Record;
use crate::offsets::{Entry, State};
use crate::output::Output;
use crate::partition::{Assigned, Phase, lanes};
use crate::record::{Attempt, FetchEpoch, Generation, Moment, Offset, OffsetRange, TopicPartition};
use crate::retry::bound;
use crate::settings::Claims;

impl<T: Clone> Processor<T> {
    pub(super) fn assigned(
        &mut self,
        now: Moment,
        partition: TopicPartition,
        generation: Generation,
        start: Option<Offset>,
        finished: Vec<OffsetRange>,
    ) {
        if let Some(older) = self.names.get(&partition).copied() {
            if older >= generation {
                return;
            }
            self.lost(&[older]);
        }
        let part = Assigned::new(partition.clone(), generation, start, finished, &self.settings);
        self.names.insert(partition, generation);
        self.assigned.insert(generation, part);
        if self.drain.is_some() {
            self.release(now, generation);
            return;
        }
        match self.settings.claims {
            Claims::FromStore => self.claim(generation),
            Claims::AtOnce => self.claimed(generation, None, Vec::new()),
        }
    }

    pub(super) fn claim(&mut self, generation: Generation) {
        if let Some(part) = self.assigned.get(&generation)
            && part.phase == Phase::Claiming
        {
            self.outputs.push_back(Output::Claim { partition: part.name.clone(), generation });
        }
    }

    pub(super) fn claim_failed(&mut self, now: Moment, generation: Generation) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        part.claim_failures = part.claim_failures.saturating_add(1);
        let half = bound(&self.settings.retry, part.claim_failures) / 2;
        let at = now.plus(half).plus(self.jitter.below(half));
        self.timers.insert((at, Timer::Claim(generation)));
    }

    pub(super) fn claimed(
        &mut self,
        generation: Generation,
        next: Option<Offset>,
        attempts: Vec<(Offset, Attempt)>,
    ) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        if part.phase != Phase::Claiming {
            return;
        }
        part.phase = Phase::Active;
        part.claim_failures = 0;
        part.attempts = attempts.into_iter().collect::<BTreeMap<_, _>>();
        if let Some(next) = next {
            let received = part.window.front().map(|entry| entry.offset).or(part.window.expected());
            if received.is_some_and(|first| first <= next) {
                part.window.skip_below(next);
            } else {
                // What was fetched begins beyond the position, or nothing is known of the fetch position.
                part.epoch = FetchEpoch(part.epoch.0.saturating_add(1));
                part.window.restart_at(next);
                part.lanes = lanes(&self.settings);
                let seek = Output::Seek {
                    partition: part.name.clone(),
                    generation,
                    offset: next,
                    epoch: part.epoch,
                };
                self.outputs.push_back(seek);
            }
        }
        let known: Vec<_> = part.window.seqs().map(|(seq, entry)| (seq, entry.offset)).collect();
        for (seq, offset) in known {
            if let Some(attempt) = part.attempts.remove(&offset)
                && let Some(entry) = part.window.get_mut(seq)
            {
                entry.failures = attempt.0;
            }
        }
        self.moved(generation);
        self.take_turn(generation);
    }

    /// Forgets what is in flight and asks whether the partition is still ours.
    pub(super) fn fenced(&mut self, generation: Generation) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        if part.phase != Phase::Active || bug!(self.settings, IgnoreFence) {
            if let Phase::Draining { .. } = part.phase {
                self.abandon_runs(generation);
            }
            return;
        }
        part.phase = Phase::Fenced;
        self.abandon_runs(generation);
        self.forget_records(generation);
        self.outputs.push_back(Output::Verify { generation });
    }

    pub(super) fn verified(&mut self, generation: Generation) {
        if let Some(part) = self.assigned.get_mut(&generation)
            && part.phase == Phase::Fenced
        {
            part.phase = Phase::Claiming;
            self.claim(generation);
        }
    }

    pub(super) fn records(&mut self, generation: Generation, epoch: FetchEpoch, records: Vec<Record<T>>) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        let dropped = part.paused.is_some() && bug!(self.settings, DropOnPause);
        if epoch != part.epoch || part.phase == Phase::Fenced || dropped {
            return;
        }
        for record in records {
            let failures = part.attempts.remove(&record.offset).map_or(0, |attempt| attempt.0);
            let entry = Entry {
                offset: record.offset,
                key: record.key,
                bytes: usize::try_from(record.bytes).unwrap_or(usize::MAX),
                payload: Some(record.payload),
                state: State::Queued,
                failures,
                failing_since: None,
                retry_at: None,
            };
            if let Some(seq) = part.window.push(entry) {
                part.lanes.push(seq, record.key);
            }
        }
        self.moved(generation);
        self.take_turn(generation);
        self.relieve(generation);
    }
}
