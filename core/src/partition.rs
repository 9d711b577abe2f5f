//! One assignment of one partition: claiming → active → draining → gone, and fenced between.

use std::collections::BTreeMap;

use crate::bugs::Bug;
use crate::commit::Commits;
use crate::dead_letter::Dead;
use crate::input::Record;
use crate::lanes::{LaneId, Lanes, Slots, Taken, set_stage};
use crate::offsets::{Arrival, Offsets};
use crate::output::{Output, PauseCause, Run};
use crate::pressure;
use crate::record::{
    Attempt, FetchEpoch, Generation, Moment, Offset, OffsetRange, RunId, Ticket, TopicPartition,
};
use crate::records::{Records, Slot, Stage, weight};
use crate::settings::{Claims, Settings};
use crate::shared::{Flight, Ghost, Shared};

/// An assigned partition.
#[derive(Debug)]
pub(crate) struct Partition<T> {
    pub(crate) name: TopicPartition,
    pub(crate) generation: Generation,
    pub(crate) phase: Phase,
    pub(crate) epoch: FetchEpoch,
    /// Where fetching began in this epoch, as far as that is known.
    pub(crate) fetched_from: Option<Offset>,
    pub(crate) records: Records<T>,
    pub(crate) offsets: Offsets,
    pub(crate) lanes: Lanes,
    pub(crate) commits: Commits,
    /// Dead letters that are not acknowledged.
    pub(crate) dead: BTreeMap<Offset, Dead>,
    /// How many of them were refused at least once: the partition is paused over them.
    pub(crate) refused: usize,
    /// Attempts begun by earlier owners, of records that have not arrived.
    pub(crate) attempts: BTreeMap<Offset, Attempt>,
    pub(crate) claim_failures: u32,
    pub(crate) in_flight: usize,
    pub(crate) paused: Option<PauseCause>,
    /// Whether it stands in the list of partitions that can dispatch.
    pub(crate) listed: bool,
}

/// What a partition is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for the store's answer, or for the next time to ask.
    Claiming { again_at: Option<Moment>, refetch: Refetch },
    /// Dispatching.
    Active,
    /// Waiting for word whether it is still ours; fetching goes on at the given offset then, if the store
    /// knows no better.
    Fenced { from: Option<Offset> },
    /// Given back: waiting for what is in flight.
    Draining { deadline: Moment, ours: Ours },
}

/// Whether fetching must begin anew after a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refetch {
    /// No: records that arrive are taken.
    Unneeded,
    /// Yes: records were dropped, the first of them, if known, at the given offset.
    From(Option<Offset>),
}

/// Whether a partition that is given back was ours to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    /// Its progress may be committed.
    Commit,
    /// Somebody else may own it, or no claim was answered: nothing is said of it.
    Silent,
}

impl<T: Clone> Partition<T> {
    /// Begins an assignment.
    pub(crate) fn assigned(
        name: TopicPartition,
        generation: Generation,
        start: Option<Offset>,
        finished: Vec<OffsetRange>,
        shared: &mut Shared<T>,
    ) -> Self {
        let mut offsets = Offsets::new(start, finished);
        if shared.settings.has(Bug::FinishedHintAsWatermark)
            && let Some(last) = offsets.finished().last()
        {
            offsets.raise(last.to);
        }
        let mut partition = Self {
            phase: Phase::Active,
            epoch: FetchEpoch::default(),
            fetched_from: start,
            records: Records::new(),
            offsets,
            lanes: Lanes::new(&shared.settings),
            commits: Commits::new(start),
            dead: BTreeMap::new(),
            refused: 0,
            attempts: BTreeMap::new(),
            claim_failures: 0,
            in_flight: 0,
            paused: None,
            listed: false,
            name,
            generation,
        };
        if shared.settings.claims == Claims::FromStore {
            partition.claim(Refetch::Unneeded, shared);
        }
        partition
    }

    /// Takes records that were fetched in `epoch`.
    pub(crate) fn receive(&mut self, epoch: FetchEpoch, records: Vec<Record<T>>, shared: &mut Shared<T>) {
        if epoch != self.epoch || !self.accepts(records.first().map(|record| record.offset)) {
            return;
        }
        let drops = shared.settings.has(Bug::DropOnPause) && self.paused.is_some();
        for record in records {
            self.fetched_from = self.fetched_from.or(Some(record.offset));
            let (offset, key, bytes) = (record.offset, record.key, record.bytes);
            match self.offsets.arrive(offset) {
                Arrival::Stale => {}
                Arrival::Finished => self.note_progress(shared),
                Arrival::Unfinished if drops => {
                    self.offsets.finish(offset);
                }
                Arrival::Unfinished => {
                    let slot = self.records.insert(record);
                    shared.bytes += weight(bytes);
                    self.lanes.arrive(slot, key);
                    if !self.attempts.is_empty()
                        && let Some(begun) = self.attempts.remove(&offset)
                        && let Some(held) = self.records.get_mut(slot)
                    {
                        held.begun_before(begun);
                    }
                }
            }
        }
    }

    /// Dispatches one run; says whether there was one.
    pub(crate) fn dispatch(&mut self, shared: &mut Shared<T>) -> Option<RunId> {
        while self.can_dispatch() && !shared.halted {
            match self.lanes.take(&mut self.records, &shared.settings)? {
                Taken::Run { lane, slots } => return self.launch(lane, slots, shared),
                Taken::Spent { lane, slot } => self.bury_spent(lane, slot, shared),
            }
        }
        None
    }

    /// Says whether [`Partition::dispatch`] is worth a call.
    pub(crate) fn can_dispatch(&self) -> bool {
        self.phase == Phase::Active && self.lanes.can_dispatch()
    }

    /// Pauses or resumes fetching as the limits ask.
    pub(crate) fn review_pressure(&mut self, shared: &mut Shared<T>) {
        if matches!(self.phase, Phase::Draining { .. }) {
            return;
        }
        let wanted = pressure::verdict(&self.load(shared), &shared.settings, self.paused);
        if self.paused.is_some() == wanted.is_some() {
            return;
        }
        self.paused = wanted;
        let (partition, generation) = (self.name.clone(), self.generation);
        shared.emit(match wanted {
            Some(cause) => Output::Pause { partition, generation, cause },
            None => Output::Resume { partition, generation },
        });
    }

    /// Commits what changed.
    pub(crate) fn commit(&mut self, shared: &mut Shared<T>) {
        let Some((next, finished)) = self.commits.commit(&self.offsets) else { return };
        let next = self.mistaken_next(next, &shared.settings);
        let (partition, generation) = (self.name.clone(), self.generation);
        shared.emit(Output::Commit { partition, generation, next, finished });
    }

    /// Says whether its progress may be committed.
    pub(crate) fn may_commit(&self) -> bool {
        matches!(self.phase, Phase::Active | Phase::Draining { ours: Ours::Commit, .. })
    }

    /// Lets go of a finished record.
    pub(crate) fn finish(&mut self, slot: Slot, shared: &mut Shared<T>) {
        if let Some(held) = self.records.remove(slot) {
            self.offsets.finish(held.offset);
            shared.bytes = shared.bytes.saturating_sub(weight(held.bytes));
            if held.aside {
                self.lanes.left_aside();
            }
        }
    }

    /// Takes note that the watermark or the finished set moved.
    pub(crate) fn note_progress(&mut self, shared: &mut Shared<T>) {
        self.commits.changed();
        shared.commit_soon();
    }

    /// Cancels what is in flight; answers how many runs that were.
    pub(crate) fn abandon(&mut self, shared: &mut Shared<T>) -> usize {
        let runs = shared.abandon(self.generation);
        self.in_flight = 0;
        let count = runs.len();
        if shared.settings.has(Bug::ActForOldGeneration) {
            for (run, flight) in runs {
                let held = flight.slots.iter().filter_map(|slot| self.records.get(slot));
                let offsets = held.map(|held| held.offset).collect();
                shared.ghosts.push(Ghost { run, partition: self.name.clone(), offsets });
            }
        }
        count
    }

    /// Drops all records and cancels what is in flight.
    pub(crate) fn drop_all(&mut self, shared: &mut Shared<T>) {
        self.abandon(shared);
        shared.bytes = shared.bytes.saturating_sub(self.records.bytes());
        self.records = Records::new();
        self.lanes = Lanes::new(&shared.settings);
        self.dead.clear();
        self.refused = 0;
    }

    fn launch(&mut self, lane: LaneId, slots: Slots, shared: &mut Shared<T>) -> Option<RunId> {
        let mut records = Vec::with_capacity(slots.len());
        let mut attempt = Attempt::FIRST;
        for slot in slots.iter() {
            let Some(held) = self.records.get_mut(slot) else { continue };
            held.stage = Stage::InFlight;
            if records.is_empty() {
                attempt = held.attempt();
                if attempt > Attempt::FIRST && held.counted < attempt.0 {
                    held.counted = attempt.0;
                    let ticket = Ticket { generation: self.generation, offset: held.offset };
                    shared.emit(Output::CountAttempt { partition: self.name.clone(), ticket, attempt });
                }
            }
            records.push((held.offset, held.payload.clone()));
        }
        let generation = self.generation;
        let id = shared.launch(Flight { generation, lane, slots });
        self.in_flight += 1;
        shared.emit(Output::Dispatch(Run { id, partition: self.name.clone(), generation, attempt, records }));
        Some(id)
    }

    /// Puts records back to the front of their lane as if they had not been dispatched.
    pub(crate) fn put_back(&mut self, lane: LaneId, slots: &[Slot]) {
        for slot in slots {
            set_stage(&mut self.records, *slot, Stage::Queued);
        }
        self.lanes.put_back(lane, slots);
    }

    fn accepts(&mut self, first: Option<Offset>) -> bool {
        match &mut self.phase {
            Phase::Active | Phase::Claiming { refetch: Refetch::Unneeded, .. } => true,
            Phase::Claiming { refetch: Refetch::From(from), .. } | Phase::Fenced { from } => {
                *from = from.or(first);
                false
            }
            Phase::Draining { .. } => false,
        }
    }

    fn load(&self, shared: &Shared<T>) -> pressure::Load {
        pressure::Load {
            unfinished: self.records.len(),
            aside: self.lanes.aside(),
            refused: self.refused,
            pressed: shared.pressed,
            head_waits: self.lanes.head_waits(),
            outage: !shared.circuits.all_closed(),
        }
    }

    fn mistaken_next(&self, next: Offset, settings: &Settings) -> Offset {
        if settings.has(Bug::CommitTooFar) {
            return self.offsets.end().unwrap_or(next);
        }
        if settings.has(Bug::CommitBackwards) && self.commits.committed().is_some() {
            return Offset(next.0 - 2);
        }
        next
    }
}
