//! The truth about every record: what became of it, whoever did it.

use std::collections::BTreeMap;

use crate::record::{Generation, Offset, RunId};
use crate::settings::Ordering;
use crate::simulation::history::{Letter, Process};

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) records: Vec<Record>,
    /// The records of each lane, by index.
    pub(super) lanes: BTreeMap<Lane, Vec<usize>>,
    /// Everything below this index is finished.
    low: usize,
    pub(super) epoch: u64,
    /// The highest offset whose effect is in the store.
    pub(super) stored_up_to: Option<Offset>,
    pub(super) committed: Option<Offset>,
    /// Somebody damaged the commit's metadata, or the broker believed a stale member.
    pub(super) disturbed: bool,
}

/// One record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) letter: Letter,
    pub(super) effects: Vec<Effect>,
    pub(super) settled: bool,
    /// A dead letter was asked for.
    pub(super) condemned: bool,
    /// The dead-letter topic has it.
    pub(super) buried: bool,
}

/// One effect of a record.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) process: Process,
    pub(super) generation: Generation,
    pub(super) run: RunId,
    /// Its owner heard of it.
    pub(super) reported: bool,
}

/// Records that wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Whole,
    Key(Option<u32>),
    Alone(Offset),
}

impl Lane {
    /// Returns the lane of a record.
    pub(super) fn of(letter: Letter, ordering: Ordering) -> Self {
        match ordering {
            Ordering::Partition => Self::Whole,
            Ordering::Key => Self::Key(letter.key),
            Ordering::Unordered => Self::Alone(letter.offset),
        }
    }
}

impl Record {
    /// Says whether one of the final states is reached.
    pub(super) fn is_finished(&self) -> bool {
        !self.effects.is_empty() || self.settled || self.buried
    }
}

impl Place {
    /// A record came into the log.
    pub(super) fn produce(&mut self, letter: Letter, ordering: Ordering) {
        self.lanes.entry(Lane::of(letter, ordering)).or_default().push(self.records.len());
        self.records.push(Record {
            letter,
            effects: Vec::new(),
            settled: false,
            condemned: false,
            buried: false,
        });
    }

    /// Returns the index of the record at `offset`.
    pub(super) fn index_of(&self, offset: Offset) -> Option<usize> {
        self.records.binary_search_by_key(&offset, |record| record.letter.offset).ok()
    }

    /// Returns the index of the first record at or above `offset`.
    pub(super) fn first_from(&self, offset: Offset) -> usize {
        self.records.partition_point(|record| record.letter.offset < offset)
    }

    /// Returns the first unfinished record below `next`.
    pub(super) fn unfinished_below(&mut self, next: Offset) -> Option<&Record> {
        while self.records.get(self.low).is_some_and(Record::is_finished) {
            self.low += 1;
        }
        self.records.get(self.low).filter(|record| record.letter.offset < next)
    }
}
