//! Runs that ended: what is finished, what is tried again, what is set aside.

use super::{InFlight, Processor, Timer, bug};
use crate::failure::{Class, Dependency, Ended, Failure, Reason};
use crate::input::{Outcome, RunResult};
use crate::lane::Slot;
use crate::offsets::{Seq, State};
use crate::output::{CircuitState, HaltCause, Output};
use crate::record::{Attempt, Generation, Moment, RunId, Ticket};
use crate::retry::delay;
use crate::settings::Ordering;

impl<T: Clone> Processor<T> {
    pub(super) fn completed(&mut self, now: Moment, run: RunId, result: RunResult) {
        let Some(flight) = self.runs.remove(&run) else { return };
        let generation = flight.generation;
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        part.in_flight.remove(&run);
        let outage = outage_of(&result);
        if outage.is_none() {
            for dependency in self.circuits.worked(run) {
                self.outputs.push_back(Output::Circuit { dependency, state: CircuitState::Closed });
            }
        }
        match result {
            RunResult::Done => self.finished(now, &flight, flight.seqs.len(), None),
            RunResult::Each(outcomes) => {
                let done = outcomes.iter().take_while(|outcome| is_finish(outcome)).count();
                let failure = outcomes.into_iter().find_map(|outcome| match outcome {
                    Outcome::Failed(failure) => Some(failure),
                    Outcome::Done | Outcome::Skipped | Outcome::Deferred => None,
                });
                let done = if bug!(self.settings, ApplyBeyondFailure) { flight.seqs.len() } else { done };
                self.finished(now, &flight, done.min(flight.seqs.len()), failure.map(|it| (run, it)));
            }
            RunResult::Failed(failure) => self.run_failed(now, run, &flight, failure),
        }
        self.moved(generation);
        self.take_turn(generation);
        self.relieve(generation);
        self.release_when_idle(now, generation);
    }

    /// The first `done` records are finished; the next one failed, or was not attempted; the rest goes back.
    fn finished(&mut self, now: Moment, flight: &InFlight, done: usize, failure: Option<(RunId, Failure)>) {
        let generation = flight.generation;
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        let (finished, left) = flight.seqs.split_at(done);
        for seq in finished {
            part.window.finish(*seq);
            self.flood.finished(now);
        }
        if !finished.is_empty() {
            part.batch = part.batch.saturating_mul(2).min(self.settings.batch.get());
        }
        let Some((failed, rest)) = left.split_first() else {
            part.lanes.free(flight.slot);
            return;
        };
        match failure {
            Some((run, failure)) => {
                self.put_back(generation, flight.slot, rest);
                self.record_failed(now, run, generation, flight.slot, *failed, failure);
            }
            None => {
                self.put_back(generation, flight.slot, left);
                self.free(generation, flight.slot);
            }
        }
    }

    /// The run failed as a whole: a run of one is its record's failure, a longer one is split.
    fn run_failed(&mut self, now: Moment, run: RunId, flight: &InFlight, failure: Failure) {
        let generation = flight.generation;
        let Some((first, rest)) = flight.seqs.split_first() else { return };
        if rest.is_empty() {
            self.record_failed(now, run, generation, flight.slot, *first, failure);
            return;
        }
        if !bug!(self.settings, RetryBatchAsWhole)
            && let Some(part) = self.assigned.get_mut(&generation)
        {
            part.batch = (flight.seqs.len() / 2).max(1);
        }
        match failure.class {
            Class::Transient { .. } | Class::Outage(_) | Class::Fatal => {
                self.put_back(generation, flight.slot, rest);
                self.record_failed(now, run, generation, flight.slot, *first, failure);
            }
            Class::Dead(_) => {
                self.put_back(generation, flight.slot, &flight.seqs);
                self.free(generation, flight.slot);
            }
        }
    }

    /// One record failed: its class decides.
    fn record_failed(
        &mut self,
        now: Moment,
        run: RunId,
        generation: Generation,
        slot: Slot,
        seq: Seq,
        failure: Failure,
    ) {
        let max = self.settings.retry.max_attempts.get();
        let Some(entry) = self.assigned.get_mut(&generation).and_then(|part| part.window.get_mut(seq)) else {
            return;
        };
        match failure.class.clone() {
            Class::Transient { retry_after, ended } => {
                entry.failing_since.get_or_insert(now);
                if !bug!(self.settings, AttemptsForgotten) {
                    entry.failures = entry.failures.saturating_add(1);
                }
                if entry.failures < max {
                    self.wait(now, generation, slot, seq, failure, retry_after);
                } else {
                    let reason = match ended {
                        Ended::ByDeadline => Reason::TimedOut,
                        Ended::ByError => Reason::Exhausted,
                    };
                    self.dead_letter(now, generation, slot, seq, reason, failure);
                }
            }
            Class::Outage(dependency) => {
                self.put_back(generation, slot, &[seq]);
                self.free(generation, slot);
                self.outage(now, run, dependency);
            }
            Class::Dead(reason) => {
                entry.failing_since.get_or_insert(now);
                if !matches!(reason, Reason::Undecodable | Reason::UnknownSchema | Reason::TooLarge) {
                    entry.failures = entry.failures.saturating_add(1);
                }
                self.dead_letter(now, generation, slot, seq, reason, failure);
            }
            Class::Fatal => {
                self.put_back(generation, slot, &[seq]);
                self.free(generation, slot);
                self.halt(HaltCause::Fatal(failure));
            }
        }
    }

    fn wait(
        &mut self,
        now: Moment,
        generation: Generation,
        slot: Slot,
        seq: Seq,
        failure: Failure,
        retry_after: Option<std::time::Duration>,
    ) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        let Some(entry) = part.window.get_mut(seq) else { return };
        let at = now.plus(delay(&self.settings.retry, &mut self.jitter, entry.failures, retry_after));
        entry.state = State::Waiting;
        entry.retry_at = Some(at);
        let ticket = Ticket { generation, offset: entry.offset };
        let attempt = Attempt(entry.failures);
        let key = entry.key;
        let slot = part.lanes.wait(slot, seq, key);
        if bug!(self.settings, RetryOutOfOrder) {
            part.lanes.free(slot);
        }
        part.waits.insert(seq, slot);
        self.timers.insert((at, Timer::Retry(generation, seq)));
        let partition = part.name.clone();
        self.outputs.push_back(Output::RetryScheduled { partition, ticket, attempt, at, cause: failure });
    }

    pub(super) fn retry(&mut self, generation: Generation, seq: Seq) {
        let forget = bug!(self.settings, ForgetLane);
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        let Some(slot) = part.waits.remove(&seq) else { return };
        if let Some(entry) = part.window.get_mut(seq) {
            entry.state = State::Queued;
        }
        if !forget {
            part.lanes.retry(slot, seq);
        }
        self.take_turn(generation);
        self.relieve(generation);
    }

    fn outage(&mut self, now: Moment, run: RunId, dependency: Dependency) {
        let state = self.circuits.outage(now, run, &dependency, &self.settings.retry, &mut self.jitter);
        if let Some(state) = state {
            self.outputs.push_back(Output::Circuit { dependency, state });
        }
    }

    pub(super) fn halt(&mut self, cause: HaltCause) {
        if !self.halted {
            self.halted = true;
            self.outputs.push_back(Output::Halt { cause });
        }
    }

    pub(super) fn free(&mut self, generation: Generation, slot: Slot) {
        if let Some(part) = self.assigned.get_mut(&generation) {
            part.lanes.free(slot);
        }
    }

    fn put_back(&mut self, generation: Generation, slot: Slot, seqs: &[Seq]) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        for seq in seqs {
            if let Some(entry) = part.window.get_mut(*seq) {
                entry.state = State::Queued;
            }
        }
        part.lanes.put_back(slot, seqs.iter().copied());
    }
}

fn is_finish(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done | Outcome::Skipped | Outcome::Deferred => true,
        Outcome::Failed(_) => false,
    }
}

fn outage_of(result: &RunResult) -> Option<&Dependency> {
    let of = |failure: &Failure| matches!(failure.class, Class::Outage(_));
    match result {
        RunResult::Done => None,
        RunResult::Failed(failure) if of(failure) => match &failure.class {
            Class::Outage(dependency) => Some(dependency),
            Class::Transient { .. } | Class::Dead(_) | Class::Fatal => None,
        },
        RunResult::Failed(_) => None,
        RunResult::Each(outcomes) => outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Failed(Failure { class: Class::Outage(dependency), .. }) => Some(dependency),
            Outcome::Failed(_) | Outcome::Done | Outcome::Skipped | Outcome::Deferred => None,
        }),
    }
}

/// Orders in which a waiting record holds up its whole partition.
pub(super) fn holds_partition(ordering: Ordering) -> bool {
    ordering == Ordering::Partition
}
