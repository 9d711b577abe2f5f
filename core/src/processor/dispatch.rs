//! Starting runs: partitions take turns, a queue has one run in flight.

use super::{InFlight, Processor, bug};
use crate::circuit::Leave;
use crate::failure::{Class, Ended, Failure};
use crate::lane::Slot;
use crate::offsets::{Seq, State};
use crate::output::{CircuitState, Output, Run};
use crate::partition::Phase;
use crate::record::{Attempt, Generation, Moment, RunId, Ticket};

impl<T: Clone> Processor<T> {
    pub(super) fn dispatch(&mut self, now: Moment) {
        while self.runs.len() < self.settings.concurrency.get() && !self.halted && self.drain.is_none() {
            let leave = self.circuits.leave(now);
            if leave == Leave::None {
                return;
            }
            let Some(generation) = self.turns.pop_front() else { return };
            if let Some(run) = self.start(now, generation)
                && leave == Leave::Probe
            {
                for dependency in self.circuits.probing(run) {
                    let state = CircuitState::HalfOpen;
                    self.outputs.push_back(Output::Circuit { dependency: dependency.clone(), state });
                }
            }
            self.take_turn(generation);
        }
    }

    /// Starts the next run of a partition, if it has one.
    fn start(&mut self, now: Moment, generation: Generation) -> Option<RunId> {
        let overlap = bug!(self.settings, TwoRunsOfALane);
        let part = self.assigned.get_mut(&generation)?;
        part.in_turn = false;
        if part.phase != Phase::Active && !bug!(self.settings, DispatchWhileClaiming) {
            return None;
        }
        let window = &part.window;
        let key_of = |seq| window.get(seq).and_then(|entry| entry.key);
        let (slot, mut seqs) = part.lanes.take(part.batch, key_of, overlap)?;
        let spent = |seq: &Seq| {
            let max = self.settings.retry.max_attempts.get();
            window.get(*seq).is_some_and(|entry| entry.failures >= max)
        };
        if let Some(index) = seqs.iter().position(spent) {
            let rest = seqs.split_off(index.max(1));
            part.lanes.put_back(slot, rest.into_iter());
            if index == 0 {
                self.give_up(now, generation, slot, seqs);
                return None;
            }
        }
        Some(self.run(generation, slot, seqs))
    }

    /// Earlier owners used the attempts up.
    fn give_up(&mut self, now: Moment, generation: Generation, slot: Slot, seqs: Vec<Seq>) {
        let class = Class::Transient { retry_after: None, ended: Ended::ByError };
        let failure =
            Failure::new(class, "attempts_spent", "earlier owners of the partition used up its attempts");
        for seq in seqs {
            self.dead_letter(now, generation, slot, seq, crate::Reason::Exhausted, failure.clone());
        }
    }

    fn run(&mut self, generation: Generation, slot: Slot, seqs: Vec<Seq>) -> RunId {
        let id = RunId(self.next_run);
        self.next_run += 1;
        let Some(part) = self.assigned.get_mut(&generation) else { return id };
        let mut records = Vec::with_capacity(seqs.len());
        let mut attempt = Attempt::FIRST;
        for seq in &seqs {
            let Some(entry) = part.window.get_mut(*seq) else { continue };
            if records.is_empty() {
                attempt = Attempt(entry.failures.saturating_add(1));
            }
            entry.state = State::Running;
            entry.retry_at = None;
            if let Some(payload) = &entry.payload {
                records.push((entry.offset, payload.clone()));
            }
        }
        if attempt > Attempt::FIRST
            && let Some((offset, _)) = records.first()
        {
            let ticket = Ticket { generation, offset: *offset };
            self.outputs.push_back(Output::CountAttempt { partition: part.name.clone(), ticket, attempt });
        }
        part.in_flight.insert(id);
        self.runs.insert(id, InFlight { generation, slot, seqs });
        let partition = part.name.clone();
        self.outputs.push_back(Output::Dispatch(Run { id, partition, generation, attempt, records }));
        id
    }
}
