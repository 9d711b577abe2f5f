//! Dead letters: a record is finished by one only when the dead-letter topic acknowledged it.

use super::{Processor, Timer, bug};
use crate::failure::{Failure, Reason};
use crate::lane::Slot;
use crate::offsets::{Seq, State};
use crate::output::{DeadLetter, HaltCause, Output};
use crate::partition::Letter;
use crate::record::{Generation, Moment, Ticket};
use crate::retry::bound;

impl<T: Clone> Processor<T> {
    /// Sets a record aside; its queue waits for the acknowledgement.
    pub(super) fn dead_letter(
        &mut self,
        now: Moment,
        generation: Generation,
        slot: Slot,
        seq: Seq,
        reason: Reason,
        failure: Failure,
    ) {
        if let Some((dead, finished)) = self.flood.dead(now) {
            self.halt(HaltCause::DeadLetterFlood { dead, finished });
        }
        let halted = self.halted;
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        let Some(entry) = part.window.get_mut(seq) else { return };
        entry.failing_since.get_or_insert(now);
        entry.state = State::DeadLetter;
        let (key, attempts) = (entry.key, entry.failures);
        let slot = part.lanes.wait(slot, seq, key);
        let letter = Letter { reason, failure, attempts, slot, refusals: 0, sent: false };
        part.letters.insert(seq, letter);
        if !halted {
            self.send_letter(now, generation, seq);
        }
        if bug!(self.settings, PassBeforeDeadLetterAck) {
            self.pass(now, generation, seq);
        }
    }

    pub(super) fn send_letter(&mut self, now: Moment, generation: Generation, seq: Seq) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        let (Some(letter), Some(entry)) = (part.letters.get_mut(&seq), part.window.get(seq)) else { return };
        let Some(payload) = entry.payload.clone() else { return };
        letter.sent = true;
        self.outputs.push_back(Output::DeadLetter(DeadLetter {
            partition: part.name.clone(),
            ticket: Ticket { generation, offset: entry.offset },
            reason: letter.reason,
            failure: letter.failure.clone(),
            attempts: letter.attempts,
            failing_for: entry.failing_since.map_or_else(Default::default, |since| now.since(since)),
            payload,
        }));
    }

    pub(super) fn dead_lettered(&mut self, now: Moment, ticket: Ticket) {
        let Some(part) = self.assigned.get(&ticket.generation) else { return };
        let Some(seq) = part.window.find(ticket.offset) else { return };
        if part.letters.contains_key(&seq) {
            self.pass(now, ticket.generation, seq);
        }
    }

    fn pass(&mut self, now: Moment, generation: Generation, seq: Seq) {
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        let Some(letter) = part.letters.remove(&seq) else { return };
        part.window.finish(seq);
        part.lanes.pass(letter.slot, seq);
        self.moved(generation);
        self.take_turn(generation);
        self.relieve(generation);
        self.release_when_idle(now, generation);
    }

    /// The dead-letter topic refused: the record is sent again later, other partitions go on.
    pub(super) fn dead_letter_failed(&mut self, now: Moment, ticket: Ticket) {
        let generation = ticket.generation;
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        let Some(seq) = part.window.find(ticket.offset) else { return };
        let Some(letter) = part.letters.get_mut(&seq) else { return };
        if !letter.sent {
            return;
        }
        letter.sent = false;
        letter.refusals = letter.refusals.saturating_add(1);
        let half = bound(&self.settings.retry, letter.refusals) / 2;
        let at = now.plus(half).plus(self.jitter.below(half));
        self.timers.insert((at, Timer::Letter(generation, seq)));
        self.relieve(generation);
        self.release_when_idle(now, generation);
    }
}
