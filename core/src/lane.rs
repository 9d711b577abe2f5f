//! Lanes: queues of records that wait for each other, with at most one run in flight, and the side queues of keys
//! that stepped aside.

use std::collections::{BTreeMap, VecDeque};

use crate::offsets::Seq;
use crate::record::KeyHash;
use crate::settings::Ordering;

/// The lanes of one partition.
#[derive(Debug)]
pub(crate) struct Lanes {
    ordering: Ordering,
    lanes: Vec<Lane>,
    /// Keys that wait, with the records that queue behind them.
    aside: BTreeMap<Option<KeyHash>, Aside>,
    aside_records: usize,
    ready: VecDeque<Slot>,
}

/// Where a run's records came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A lane, by its number.
    Lane(usize),
    /// The side queue of a key.
    Aside(Option<KeyHash>),
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Seq>,
    hold: Hold,
}

#[derive(Debug, Default)]
struct Aside {
    queue: VecDeque<Seq>,
    hold: Hold,
}

/// Why a queue does not move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    /// It moves, or is empty.
    #[default]
    None,
    /// It stands in the list of those that are ready.
    Ready,
    /// Its run is in flight.
    Running,
    /// Its head waits for a retry or a dead letter's acknowledgement.
    Waiting,
}

impl Lanes {
    pub(crate) fn new(ordering: Ordering, shards: usize) -> Self {
        let count = match ordering {
            Ordering::Partition | Ordering::Unordered => 1,
            // The last lane is that of null keys.
            Ordering::Key => shards.max(1) + 1,
        };
        let lanes = std::iter::repeat_with(Lane::default).take(count).collect();
        Self { ordering, lanes, aside: BTreeMap::new(), aside_records: 0, ready: VecDeque::new() }
    }

    /// Puts a new record at the end of its lane.
    pub(crate) fn push(&mut self, seq: Seq, key: Option<KeyHash>) {
        let number = self.number(key);
        if let Some(lane) = self.lanes.get_mut(number) {
            lane.queue.push_back(seq);
        }
        self.wake(Slot::Lane(number));
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many records wait aside, behind or as the head of their key.
    pub(crate) fn aside_records(&self) -> usize {
        self.aside_records
    }

    /// Takes up to `most` records of the next ready queue for a run. `key_of` tells a record's key.
    pub(crate) fn take(
        &mut self,
        most: usize,
        key_of: impl Fn(Seq) -> Option<KeyHash>,
        overlap: bool,
    ) -> Option<(Slot, Vec<Seq>)> {
        while let Some(slot) = self.ready.pop_front() {
            let taken = match slot {
                Slot::Lane(number) => self.take_from_lane(number, most, &key_of),
                Slot::Aside(key) => self.take_from_aside(key),
            };
            if taken.is_empty() {
                continue;
            }
            if self.ordering == Ordering::Unordered || overlap {
                self.set_hold(slot, Hold::None);
                self.wake(slot);
            }
            return Some((slot, taken));
        }
        None
    }

    fn take_from_lane(
        &mut self,
        number: usize,
        most: usize,
        key_of: &impl Fn(Seq) -> Option<KeyHash>,
    ) -> Vec<Seq> {
        let mut taken = Vec::new();
        let Some(lane) = self.lanes.get_mut(number) else { return taken };
        while taken.len() < most {
            let Some(seq) = lane.queue.pop_front() else { break };
            let key = key_of(seq);
            match self.aside.get_mut(&key) {
                Some(aside) if self.ordering == Ordering::Key => {
                    aside.queue.push_back(seq);
                    self.aside_records += 1;
                }
                _ => taken.push(seq),
            }
        }
        lane.hold = if taken.is_empty() { Hold::None } else { Hold::Running };
        taken
    }

    fn take_from_aside(&mut self, key: Option<KeyHash>) -> Vec<Seq> {
        let Some(aside) = self.aside.get_mut(&key) else { return Vec::new() };
        let Some(seq) = aside.queue.pop_front() else { return Vec::new() };
        aside.hold = Hold::Running;
        self.aside_records -= 1;
        vec![seq]
    }

    /// The run of a queue ended and its head does not wait: it moves on.
    pub(crate) fn free(&mut self, slot: Slot) {
        self.set_hold(slot, Hold::None);
        match slot {
            Slot::Aside(key) if self.aside.get(&key).is_some_and(|aside| aside.queue.is_empty()) => {
                self.aside.remove(&key);
            }
            Slot::Lane(_) | Slot::Aside(_) => self.wake(slot),
        }
    }

    /// Puts records back to the head of their queue, in their order.
    pub(crate) fn put_back(&mut self, slot: Slot, seqs: impl DoubleEndedIterator<Item = Seq>) {
        for seq in seqs.rev() {
            match slot {
                Slot::Lane(number) => {
                    if let Some(lane) = self.lanes.get_mut(number) {
                        lane.queue.push_front(seq);
                    }
                }
                Slot::Aside(key) => {
                    self.aside.entry(key).or_default().queue.push_front(seq);
                    self.aside_records += 1;
                }
            }
        }
    }

    /// The record failed and waits: its queue stops, or its key steps aside and the lane flows on. `later` are the
    /// run's further records, which go back. Returns where the record waits.
    pub(crate) fn wait(&mut self, slot: Slot, seq: Seq, key: Option<KeyHash>) -> Slot {
        match (self.ordering, slot) {
            (Ordering::Partition, _) => {
                self.put_back(slot, std::iter::once(seq));
                self.set_hold(slot, Hold::Waiting);
                slot
            }
            (Ordering::Key, _) => {
                let aside = Slot::Aside(key);
                self.put_back(aside, std::iter::once(seq));
                self.set_hold(aside, Hold::Waiting);
                if let Slot::Lane(_) = slot {
                    self.free(slot);
                }
                aside
            }
            (Ordering::Unordered, _) => slot,
        }
    }

    /// The head of a waiting queue may be tried again.
    pub(crate) fn retry(&mut self, slot: Slot, seq: Seq) {
        if self.ordering == Ordering::Unordered {
            self.put_back(slot, std::iter::once(seq));
        } else {
            self.set_hold(slot, Hold::None);
        }
        self.wake(slot);
    }

    /// The head of a waiting queue was finished without a run: its dead letter was acknowledged.
    pub(crate) fn pass(&mut self, slot: Slot, seq: Seq) {
        match slot {
            Slot::Lane(number) => {
                if let Some(lane) = self.lanes.get_mut(number)
                    && lane.queue.front() == Some(&seq)
                {
                    lane.queue.pop_front();
                }
            }
            Slot::Aside(key) => {
                if let Some(aside) = self.aside.get_mut(&key)
                    && aside.queue.front() == Some(&seq)
                {
                    aside.queue.pop_front();
                    self.aside_records -= 1;
                }
            }
        }
        if self.ordering != Ordering::Unordered {
            self.free(slot);
        }
    }

    fn wake(&mut self, slot: Slot) {
        let (queue, hold) = match slot {
            Slot::Lane(number) => match self.lanes.get_mut(number) {
                Some(lane) => (&lane.queue, &mut lane.hold),
                None => return,
            },
            Slot::Aside(key) => match self.aside.get_mut(&key) {
                Some(aside) => (&aside.queue, &mut aside.hold),
                None => return,
            },
        };
        if *hold == Hold::None && !queue.is_empty() {
            *hold = Hold::Ready;
            self.ready.push_back(slot);
        }
    }

    fn set_hold(&mut self, slot: Slot, hold: Hold) {
        match slot {
            Slot::Lane(number) => {
                if let Some(lane) = self.lanes.get_mut(number) {
                    lane.hold = hold;
                }
            }
            Slot::Aside(key) => {
                if let Some(aside) = self.aside.get_mut(&key) {
                    aside.hold = hold;
                }
            }
        }
    }

    fn number(&self, key: Option<KeyHash>) -> usize {
        let last = self.lanes.len().saturating_sub(1);
        match (self.ordering, key) {
            (Ordering::Partition | Ordering::Unordered, _) => 0,
            (Ordering::Key, None) => last,
            (Ordering::Key, Some(KeyHash(hash))) => {
                let shards = u64::try_from(last.max(1)).unwrap_or(1);
                usize::try_from(hash % shards).unwrap_or(0)
            }
        }
    }
}
