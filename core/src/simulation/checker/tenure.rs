//! What one assignment's owner was told and may do: the contract between edge and processor.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{Lane, Place};
use crate::failure::Class;
use crate::record::{FetchEpoch, Moment, Offset, OffsetRange, RunId};
use crate::simulation::history::Process;

/// One assignment.
#[derive(Debug)]
pub(super) struct Tenure {
    pub(super) process: Process,
    pub(super) place: usize,
    pub(super) phase: Phase,
    /// Everything below was finished before.
    base: Offset,
    /// Kafka's commit at the start.
    pub(super) start: Option<Offset>,
    hint: Vec<OffsetRange>,
    /// The hint is in order: its owner has no excuse to doubt it.
    sound_hint: bool,
    /// By record index: what the owner knows to be finished.
    done: Vec<bool>,
    /// What it holds, finished or not: received in the current fetch epoch.
    received: BTreeSet<usize>,
    received_up_to: Option<Offset>,
    epoch: FetchEpoch,
    delivered: Vec<bool>,
    low: usize,
    lane_low: BTreeMap<Lane, usize>,
    pub(super) claims: u32,
    pub(super) last_asked: Option<Offset>,
    pub(super) commits_asked: u32,
    pub(super) commits_answered: u32,
    pub(super) last_commit_taken: bool,
    /// It did not end in good order: crash, freeze, loss, abandoned run, unanswered dead letter.
    pub(super) dirty: bool,
    /// By entries of the history: when it began and ended.
    pub(super) began: usize,
    pub(super) ended: Option<usize>,
    pub(super) in_flight: Vec<RunId>,
    /// By record index: its own transient failures, and its last own failure.
    pub(super) failures: BTreeMap<usize, (u32, Option<Class>)>,
    /// By record index: transient failures that it shared with others of its run.
    pub(super) shared_failures: BTreeMap<usize, u32>,
    /// Attempts that earlier owners had begun.
    pub(super) begun: BTreeMap<usize, u32>,
    /// Attempts that the store was asked to count.
    pub(super) counted: BTreeMap<usize, u32>,
    /// By record index: when it may be tried again.
    pub(super) not_before: BTreeMap<usize, Moment>,
    /// By first record and length: how often such a run was refused as a whole.
    pub(super) refused_whole: BTreeMap<(usize, usize), u32>,
    /// Dead letters asked for and not answered.
    pub(super) condemned: Vec<usize>,
}

/// What an owner may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Wait for the store.
    Claiming,
    /// Dispatch.
    Active,
    /// Wait for word whether it is still the owner.
    Fenced,
    /// Let what is in flight end, in the world's time.
    Draining(Moment),
    /// Nothing.
    Over,
}

impl Tenure {
    /// Begins an assignment.
    pub(super) fn new(
        process: Process,
        place: usize,
        phase: Phase,
        start: Option<Offset>,
        finished: &[OffsetRange],
    ) -> Self {
        let base = start.unwrap_or(Offset(0));
        let sound = finished.iter().all(|range| range.from < range.to)
            && finished.first().is_none_or(|range| range.from >= base)
            && finished.is_sorted_by(|one, other| one.to < other.from);
        Self {
            process,
            place,
            phase,
            base,
            start,
            hint: finished.to_vec(),
            sound_hint: sound,
            done: Vec::new(),
            received: BTreeSet::new(),
            received_up_to: start,
            epoch: FetchEpoch::default(),
            delivered: Vec::new(),
            low: 0,
            lane_low: BTreeMap::new(),
            claims: 0,
            last_asked: None,
            commits_asked: 0,
            commits_answered: 0,
            last_commit_taken: true,
            dirty: false,
            began: 0,
            ended: None,
            in_flight: Vec::new(),
            failures: BTreeMap::new(),
            shared_failures: BTreeMap::new(),
            begun: BTreeMap::new(),
            counted: BTreeMap::new(),
            not_before: BTreeMap::new(),
            refused_whole: BTreeMap::new(),
            condemned: Vec::new(),
        }
    }

    /// The store's position replaces Kafka's.
    pub(super) fn claimed(&mut self, next: Option<Offset>) {
        self.claims += 1;
        self.phase = Phase::Active;
        // A claim begins anew: of earlier attempts only the store knows.
        self.failures.clear();
        self.shared_failures.clear();
        self.refused_whole.clear();
        self.not_before.clear();
        if let Some(next) = next {
            self.base = next;
            self.low = 0;
            self.lane_low.clear();
            self.hint.clear();
        }
    }

    /// The owner has this record now, unless it must drop it.
    pub(super) fn deliver(&mut self, index: usize, offset: Offset, epoch: FetchEpoch) {
        set(&mut self.delivered, index);
        let takes = match self.phase {
            Phase::Active => true,
            Phase::Claiming => self.claims == 0,
            Phase::Fenced | Phase::Draining(_) | Phase::Over => false,
        };
        if takes && epoch == self.epoch && self.received_up_to.is_none_or(|next| offset >= next) {
            self.received.insert(index);
            self.received_up_to = Some(offset.next());
        }
    }

    /// Fetching begins anew.
    pub(super) fn seek(&mut self, offset: Offset, epoch: FetchEpoch) {
        self.received.clear();
        self.received_up_to = Some(offset);
        self.epoch = epoch;
    }

    /// Another owner began: everything is dropped.
    pub(super) fn fence(&mut self) {
        self.dirty = true;
        if self.phase == Phase::Active {
            self.received.clear();
            self.phase = Phase::Fenced;
        }
    }

    /// Returns how many records it holds unfinished.
    pub(super) fn unfinished(&self, place: &Place) -> usize {
        let unfinished = |index: &&usize| !self.knows_finished(**index, place.records[**index].letter.offset);
        self.received.iter().filter(unfinished).count()
    }

    /// The owner knows that this record is finished.
    pub(super) fn finish(&mut self, index: usize) {
        set(&mut self.done, index);
    }

    /// The other side may have named the earliest moment of the next attempt.
    pub(super) fn asked_to_wait(&mut self, index: usize, class: &Class, now: Moment) {
        if let Class::Transient { retry_after, .. } = class {
            self.not_before.insert(index, now.plus(retry_after.unwrap_or_default()));
        }
    }

    /// Says whether the record was delivered.
    pub(super) fn has(&self, index: usize) -> bool {
        self.delivered.get(index).copied().unwrap_or(false)
    }

    /// Says whether the owner finished the record itself.
    pub(super) fn has_finished(&self, index: usize) -> bool {
        self.done.get(index).copied().unwrap_or(false)
    }

    /// Says whether the owner may take the record for finished, for whatever reason.
    pub(super) fn knows_finished(&self, index: usize, offset: Offset) -> bool {
        offset < self.base || self.has_finished(index) || self.is_hinted(offset)
    }

    /// Says whether sound metadata of the commit named the record.
    pub(super) fn is_surely_hinted(&self, offset: Offset) -> bool {
        self.sound_hint && self.is_hinted(offset)
    }

    fn is_hinted(&self, offset: Offset) -> bool {
        self.hint.iter().any(|range| range.contains(offset))
    }

    /// Says whether the record lies below the position that the owner was given.
    pub(super) fn is_below(&self, offset: Offset) -> bool {
        offset < self.base
    }

    /// Returns the first record below `next` that the owner cannot take for finished.
    pub(super) fn unfinished_below(&mut self, place: &Place, next: Offset) -> Option<usize> {
        loop {
            let record = place.records.get(self.low)?;
            if !self.knows_finished(self.low, record.letter.offset) {
                return (record.letter.offset < next).then_some(self.low);
            }
            self.low += 1;
        }
    }

    /// Returns an earlier record of the lane that is not finished and not in the same run.
    pub(super) fn overtaken(
        &mut self,
        place: &Place,
        index: usize,
        lane: Lane,
        run: &[usize],
    ) -> Option<usize> {
        let list = place.lanes.get(&lane)?;
        let mut low = self.lane_low.get(&lane).copied().unwrap_or(0);
        while let Some(record) = list.get(low)
            && self.knows_finished(*record, place.records[*record].letter.offset)
        {
            low += 1;
        }
        self.lane_low.insert(lane, low);
        list.iter().skip(low).copied().take_while(|earlier| *earlier < index).find(|earlier| {
            !run.contains(earlier) && !self.knows_finished(*earlier, place.records[*earlier].letter.offset)
        })
    }

    /// Ends the assignment.
    pub(super) fn end(&mut self, entry: usize) {
        self.phase = Phase::Over;
        self.ended = self.ended.or(Some(entry));
    }

    /// Says whether what it finished must be known to the next owner.
    pub(super) fn ended_in_order(&self) -> bool {
        self.ended.is_some()
            && !self.dirty
            && self.commits_asked == self.commits_answered
            && self.last_commit_taken
    }
}

fn set(flags: &mut Vec<bool>, index: usize) {
    if flags.len() <= index {
        flags.resize(index + 1, false);
    }
    flags[index] = true;
}
