//! What a run's end means for its records.

use crate::bugs::Bug;
use crate::failure::{Class, Ended, Failure, Reason};
use crate::input::{Outcome, RunResult};
use crate::lanes::{LaneId, Slots};
use crate::output::{HaltCause, Output};
use crate::partition::{Partition, Phase};
use crate::record::{Attempt, Moment, Offset, RunId, Ticket};
use crate::records::{Slot, Stage};
use crate::shared::{Flight, Shared};
use crate::timers::Timer;

impl<T: Clone> Partition<T> {
    /// Takes note that a run of this partition ended.
    pub(crate) fn completed(
        &mut self,
        run: RunId,
        flight: Flight,
        result: RunResult,
        shared: &mut Shared<T>,
    ) {
        let Flight { lane, slots, .. } = flight;
        self.in_flight = self.in_flight.saturating_sub(1);
        match result {
            RunResult::Done => {
                self.reached(run, shared);
                let count = slots.len();
                self.passed(lane, slots.iter(), count, shared);
                self.lanes.wake(lane);
            }
            RunResult::Each(outcomes) => self.each(run, lane, &slots, outcomes, shared),
            RunResult::Failed(failure) if slots.rest.is_empty() => {
                self.failed(run, lane, slots.first, failure, shared);
            }
            RunResult::Failed(failure) => self.failed_together(run, lane, &slots, failure, shared),
        }
    }

    /// Tries a record again, if it still waits for that moment.
    pub(crate) fn retry_due(&mut self, offset: Offset, slot: Slot, at: Moment, shared: &Shared<T>) {
        let Some(held) = self.records.get_mut(slot) else { return };
        if held.offset != offset || held.stage != (Stage::Waiting { until: at }) {
            return;
        }
        held.stage = Stage::Queued;
        let lane = self.lanes.lane_of(held.key, held.aside);
        self.lanes.put_back(lane, &[slot]);
        if !shared.settings.has(Bug::ForgetLane) {
            self.lanes.wake(lane);
        }
    }

    /// Counts the first failure's predecessors as finished; what follows it was not attempted.
    fn each(
        &mut self,
        run: RunId,
        lane: LaneId,
        slots: &Slots,
        outcomes: Vec<Outcome>,
        shared: &mut Shared<T>,
    ) {
        let slots: Vec<Slot> = slots.iter().collect();
        let mut failure = None;
        let mut good = 0;
        let mut beyond = Vec::new();
        for (at, outcome) in outcomes.into_iter().take(slots.len()).enumerate() {
            match outcome {
                Outcome::Failed(first) => {
                    failure = failure.or(Some(first));
                }
                Outcome::Done | Outcome::Skipped | Outcome::Deferred if failure.is_none() => good += 1,
                Outcome::Done | Outcome::Skipped | Outcome::Deferred => beyond.push(at),
            }
        }
        let (finished, rest) = slots.split_at(good);
        self.passed(lane, finished.iter().copied(), good, shared);
        let (first, behind) = match (failure, rest.split_first()) {
            (Some(failure), Some((first, behind))) => (Some((*first, failure)), behind),
            _ => (None, rest),
        };
        if shared.settings.has(Bug::ApplyBeyondFailure) {
            let (applied, left): (Vec<_>, Vec<_>) =
                behind.iter().enumerate().partition(|(at, _)| beyond.contains(&(at + good + 1)));
            for (_, slot) in applied {
                self.finish(*slot, shared);
            }
            let left: Vec<Slot> = left.into_iter().map(|(_, slot)| *slot).collect();
            self.put_back(lane, &left);
        } else {
            self.put_back(lane, behind);
        }
        match first {
            Some((slot, failure)) => self.failed(run, lane, slot, failure, shared),
            None => {
                self.reached(run, shared);
                self.lanes.wake(lane);
            }
        }
    }

    /// Handles the failure of one record by its class. What runs behind it in its lane stands in the queue.
    fn failed(&mut self, run: RunId, lane: LaneId, slot: Slot, failure: Failure, shared: &mut Shared<T>) {
        if let Class::Outage(_) | Class::Fatal = failure.class {
            self.not_attempted(run, lane, &[slot], failure, shared);
            return;
        }
        self.reached(run, shared);
        if let Some(lane) = self.lanes.lane_mut(lane) {
            lane.suspect(1);
        }
        let Some(held) = self.records.get_mut(slot) else { return };
        held.stage = Stage::Queued;
        held.first_failed = held.first_failed.or(Some(shared.now));
        let attempt = held.attempt();
        match failure.class {
            Class::Dead(reason) => {
                if seen_by_handler(reason) {
                    held.failed = attempt.0;
                }
                self.bury(lane, slot, reason, failure, shared);
            }
            Class::Transient { ended, .. } => {
                if !shared.settings.has(Bug::AttemptsForgotten) {
                    held.failed = attempt.0;
                }
                if held.failed >= shared.settings.retry.max_attempts.get() {
                    self.bury(lane, slot, spent(ended), failure, shared);
                } else {
                    self.schedule(lane, slot, attempt, failure, shared);
                }
            }
            Class::Outage(_) | Class::Fatal => {}
        }
    }

    /// Splits a run that failed as a whole. A record is never given up for a failure that it shared: alone it
    /// always has an attempt left.
    fn failed_together(
        &mut self,
        run: RunId,
        lane: LaneId,
        slots: &Slots,
        failure: Failure,
        shared: &mut Shared<T>,
    ) {
        if let Class::Outage(_) | Class::Fatal = failure.class {
            let slots: Vec<Slot> = slots.iter().collect();
            self.not_attempted(run, lane, &slots, failure, shared);
            return;
        }
        self.reached(run, shared);
        self.put_back(lane, &slots.rest);
        if let Some(lane) = self.lanes.lane_mut(lane)
            && !shared.settings.has(Bug::RetryBatchAsWhole)
        {
            lane.suspect(slots.len());
        }
        let Some(held) = self.records.get_mut(slots.first) else { return };
        match failure.class {
            Class::Transient { .. } => {
                let attempt = held.attempt();
                held.first_failed = held.first_failed.or(Some(shared.now));
                if !shared.settings.has(Bug::AttemptsForgotten)
                    && !shared.settings.has(Bug::RetryBatchAsWhole)
                {
                    let last_shared = shared.settings.retry.max_attempts.get() - 1;
                    held.failed = attempt.0.min(last_shared);
                }
                self.schedule(lane, slots.first, attempt, failure, shared);
            }
            Class::Dead(_) | Class::Outage(_) | Class::Fatal => {
                self.put_back(lane, &[slots.first]);
                self.lanes.wake(lane);
            }
        }
    }

    /// Puts back what a missing dependency or a fatal failure kept from being tried.
    fn not_attempted(
        &mut self,
        run: RunId,
        lane: LaneId,
        slots: &[Slot],
        failure: Failure,
        shared: &mut Shared<T>,
    ) {
        self.put_back(lane, slots);
        self.lanes.wake(lane);
        match failure.class {
            Class::Outage(dependency) => {
                let Shared { circuits, settings, jitter, now, .. } = shared;
                let (changes, probe) = circuits.outage(run, dependency, *now, &settings.retry, jitter);
                shared.report(changes);
                if let Some(at) = probe {
                    shared.timers.set(at, Timer::Probe);
                }
            }
            Class::Fatal => {
                let changes = shared.circuits.end_probe(run);
                shared.report(changes);
                shared.halt(HaltCause::Fatal(failure));
            }
            Class::Transient { .. } | Class::Dead(_) => {}
        }
    }

    /// Lets a record wait for its next attempt after `attempt` failed.
    fn schedule(
        &mut self,
        lane: LaneId,
        slot: Slot,
        attempt: Attempt,
        cause: Failure,
        shared: &mut Shared<T>,
    ) {
        if matches!(self.phase, Phase::Draining { .. }) {
            self.put_back(lane, &[slot]);
            self.lanes.wake(lane);
            return;
        }
        let Some(held) = self.records.get_mut(slot) else { return };
        let asked = match cause.class {
            Class::Transient { retry_after, .. } => retry_after.unwrap_or_default(),
            Class::Outage(_) | Class::Dead(_) | Class::Fatal => return,
        };
        let delay = shared.jitter.delay(&shared.settings.retry, held.failed);
        let at = shared.now.plus(delay.max(asked));
        held.stage = Stage::Waiting { until: at };
        let offset = held.offset;
        let ticket = Ticket { generation: self.generation, offset };
        shared.timers.set(at, Timer::Retry(self.generation, offset, slot));
        shared.emit(Output::RetryScheduled { partition: self.name.clone(), ticket, attempt, at, cause });
        self.lanes.wait(lane, slot, &mut self.records, &shared.settings);
    }

    fn passed(
        &mut self,
        lane: LaneId,
        slots: impl Iterator<Item = Slot>,
        count: usize,
        shared: &mut Shared<T>,
    ) {
        if count == 0 {
            return;
        }
        for slot in slots {
            self.finish(slot, shared);
        }
        if let Some(lane) = self.lanes.lane_mut(lane) {
            lane.pass(count);
        }
        shared.flood.finished(shared.now, count);
        self.note_progress(shared);
    }

    fn reached(&mut self, run: RunId, shared: &mut Shared<T>) {
        if !shared.circuits.all_closed() {
            let changes = shared.circuits.reached(run);
            shared.report(changes);
        }
    }
}

fn spent(ended: Ended) -> Reason {
    match ended {
        Ended::ByError => Reason::Exhausted,
        Ended::ByDeadline => Reason::TimedOut,
    }
}

/// Says whether a handler saw the record: poison never reaches one.
fn seen_by_handler(reason: Reason) -> bool {
    match reason {
        Reason::Exhausted | Reason::Panicked | Reason::Rejected | Reason::TimedOut => true,
        Reason::CrashLoop
        | Reason::Invalid
        | Reason::TooLarge
        | Reason::Undecodable
        | Reason::UnknownSchema => false,
    }
}
