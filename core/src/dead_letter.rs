//! The dead-letter gate: a record passes only after its dead letter is acknowledged.

use crate::bugs::Bug;
use crate::failure::{Class, Ended, Failure, Reason};
use crate::flood::Flooded;
use crate::lanes::{LaneId, set_stage};
use crate::output::{DeadLetter, HaltCause, Output};
use crate::partition::{Partition, Phase};
use crate::record::{Moment, Offset, Ticket};
use crate::records::{Slot, Stage};
use crate::shared::Shared;
use crate::timers::Timer;

/// A dead letter that is not acknowledged.
#[derive(Debug)]
pub(crate) struct Dead {
    slot: Slot,
    reason: Reason,
    failure: Failure,
    refusals: u32,
    again_at: Option<Moment>,
}

impl<T: Clone> Partition<T> {
    /// Sends a record to the dead-letter topic; what waits for it in `lane` goes on after the
    /// acknowledgement. Where too many were sent, the group halts instead and the record stays.
    pub(crate) fn bury(
        &mut self,
        lane: LaneId,
        slot: Slot,
        reason: Reason,
        failure: Failure,
        shared: &mut Shared<T>,
    ) {
        if let Err(Flooded { dead, finished }) = shared.flood.admit(shared.now) {
            self.put_back(lane, &[slot]);
            self.lanes.wake(lane);
            shared.halt(HaltCause::DeadLetterFlood { dead, finished });
            return;
        }
        let Some(held) = self.records.get_mut(slot) else { return };
        held.stage = Stage::Dead;
        let offset = held.offset;
        self.lanes.wait(lane, slot, &mut self.records, &shared.settings);
        self.dead.insert(offset, Dead { slot, reason, failure, refusals: 0, again_at: None });
        self.send(offset, shared);
        if shared.settings.has(Bug::PassBeforeDeadLetterAck) {
            self.dead_lettered(offset, shared);
        }
    }

    /// Buries a record whose attempts were used up before it came here.
    pub(crate) fn bury_spent(&mut self, lane: LaneId, slot: Slot, shared: &mut Shared<T>) {
        if let Some(lane) = self.lanes.lane_mut(lane) {
            lane.suspect(1);
        }
        let class = Class::Transient { retry_after: None, ended: Ended::ByError };
        let message = "earlier owners of the partition used up the record's attempts";
        self.bury(lane, slot, Reason::Exhausted, Failure::new(class, "attempts_used_up", message), shared);
    }

    /// Finishes a record whose dead letter is acknowledged, be it that of an earlier sending.
    pub(crate) fn dead_lettered(&mut self, offset: Offset, shared: &mut Shared<T>) {
        let Some(dead) = self.dead.remove(&offset) else { return };
        if dead.refusals > 0 {
            self.refused = self.refused.saturating_sub(1);
        }
        let Some(held) = self.records.get(dead.slot) else { return };
        let lane = self.lanes.lane_of(held.key, held.aside);
        self.finish(dead.slot, shared);
        shared.flood.finished(shared.now, 1);
        self.note_progress(shared);
        if let Some(lane) = self.lanes.lane_mut(lane) {
            lane.pass(1);
        }
        self.lanes.wake(lane);
    }

    /// Sends it again after a while; a partition that is given back does not wait for that.
    pub(crate) fn dead_letter_failed(&mut self, offset: Offset, shared: &mut Shared<T>) {
        let draining = matches!(self.phase, Phase::Draining { .. });
        let Some(dead) = self.dead.get_mut(&offset) else { return };
        if dead.again_at.is_some() {
            return;
        }
        if draining {
            let slot = dead.slot;
            if dead.refusals > 0 {
                self.refused = self.refused.saturating_sub(1);
            }
            self.dead.remove(&offset);
            set_stage(&mut self.records, slot, Stage::Queued);
            return;
        }
        if dead.refusals == 0 {
            self.refused += 1;
        }
        dead.refusals = dead.refusals.saturating_add(1);
        let at = shared.now.plus(shared.jitter.delay(&shared.settings.retry, dead.refusals));
        dead.again_at = Some(at);
        shared.timers.set(at, Timer::DeadLetter(self.generation, offset));
    }

    /// Sends a refused dead letter again, if that is due at this moment.
    pub(crate) fn dead_letter_due(&mut self, offset: Offset, at: Moment, shared: &mut Shared<T>) {
        let Some(dead) = self.dead.get_mut(&offset) else { return };
        if dead.again_at != Some(at) || matches!(self.phase, Phase::Draining { .. }) {
            return;
        }
        dead.again_at = None;
        self.send(offset, shared);
    }

    /// Says whether a dead letter is under way.
    pub(crate) fn awaits_acknowledgement(&self) -> bool {
        self.dead.values().any(|dead| dead.again_at.is_none())
    }

    fn send(&mut self, offset: Offset, shared: &mut Shared<T>) {
        let Some(dead) = self.dead.get(&offset) else { return };
        let Some(held) = self.records.get(dead.slot) else { return };
        shared.emit(Output::DeadLetter(DeadLetter {
            partition: self.name.clone(),
            ticket: Ticket { generation: self.generation, offset },
            reason: dead.reason,
            failure: dead.failure.clone(),
            attempts: held.failed,
            failing_for: held.first_failed.map_or_else(Default::default, |first| shared.now.since(first)),
            payload: held.payload.clone(),
        }));
    }
}
