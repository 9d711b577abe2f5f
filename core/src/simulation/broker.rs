//! The broker: logs with gaps, committed offsets with metadata, and the scripts of the records' handlers.

use super::history::Letter;
use super::plan::Plan;
use super::random::Random;
use super::script::Script;
use crate::record::{Offset, OffsetRange, Partition, Topic, TopicPartition};

/// All partitions.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) places: Vec<Place>,
}

/// One partition: its log and its group's commit.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: TopicPartition,
    pub(super) log: Vec<Stored>,
    /// The next offset that a producer gets.
    end: Offset,
    pub(super) committed: Option<Commit>,
    /// The highest position that was ever committed: a careless broker may go back.
    pub(super) highest: Offset,
}

/// A record in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) letter: Letter,
    pub(super) script: Script,
    /// How many handlers have looked at it, over all processes.
    pub(super) tries: u32,
    /// The attempts that owners have begun, as the store keeps them.
    pub(super) attempts: u32,
}

/// A committed position with its metadata.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) next: Offset,
    pub(super) finished: Vec<OffsetRange>,
}

impl Broker {
    /// Makes empty partitions.
    pub(super) fn new(plan: &Plan) -> Self {
        let topic = Topic::new("blog.comments");
        let place = |index: usize| Place {
            name: TopicPartition::new(topic.clone(), Partition(i32::try_from(index).unwrap_or(0))),
            log: Vec::with_capacity(plan.records),
            end: Offset(0),
            committed: None,
            highest: Offset(0),
        };
        Self { places: (0..plan.partitions).map(place).collect() }
    }

    /// Returns the index of a partition that the core named.
    pub(super) fn index_of(&self, name: &TopicPartition) -> Option<usize> {
        self.places.iter().position(|place| place.name == *name)
    }
}

impl Place {
    /// Appends a record, now and then behind a transaction marker's gap.
    pub(super) fn produce(&mut self, index: usize, plan: &Plan, random: &mut Random) -> Letter {
        if random.chance(120) {
            self.end = Offset(self.end.0 + i64::from(random.count(1, 3)));
        }
        let key = if random.chance(80) { None } else { Some(random.count(1, plan.keys)) };
        let letter = Letter { place: index, offset: self.end, key, body: random.bits() };
        let script = Script::draw(plan, random);
        self.log.push(Stored { letter, script, tries: 0, attempts: 0 });
        self.end = self.end.next();
        letter
    }

    /// Returns the records from `position` on, at most `limit`.
    pub(super) fn fetch(&self, position: Offset, limit: usize) -> &[Stored] {
        let from = self.log.partition_point(|stored| stored.letter.offset < position);
        self.log.get(from..self.log.len().min(from + limit)).unwrap_or_default()
    }

    /// Returns the record at `offset`.
    pub(super) fn stored(&mut self, offset: Offset) -> Option<&mut Stored> {
        let index = self.log.binary_search_by_key(&offset, |stored| stored.letter.offset).ok()?;
        self.log.get_mut(index)
    }

    /// Says whether everything in the log was committed.
    pub(super) fn was_committed(&self) -> bool {
        self.log.last().is_none_or(|last| self.highest > last.letter.offset)
    }

    /// Damages the metadata as a careless tool might; what it says stays true.
    pub(super) fn damage(&mut self, random: &mut Random) -> bool {
        let Some(commit) = self.committed.as_mut().filter(|commit| !commit.finished.is_empty()) else {
            return false;
        };
        let some = commit.finished[random.index(commit.finished.len())];
        match random.index(4) {
            0 => commit.finished.reverse(),
            1 => commit.finished.push(some),
            2 => commit.finished.push(OffsetRange { from: some.to, to: some.from }),
            _ => commit.finished.retain(|range| *range != some),
        }
        true
    }
}
