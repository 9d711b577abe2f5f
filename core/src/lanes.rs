//! The lanes of one partition: which record may run next.
//!
//! Lanes are a fixed number of shards, so that memory does not grow with the number of keys. A key whose record
//! waits steps aside into a lane of its own; what arrives of that key reaches the side lane by way of its
//! shard, which keeps it in order.

use std::collections::{BTreeMap, VecDeque};

use crate::bugs::Bug;
use crate::lane::{Lane, State};
use crate::record::{KeyHash, Offset};
use crate::records::{Records, Slot, Stage};
use crate::settings::{Ordering, Settings};

/// The lanes of one partition.
#[derive(Debug)]
pub(crate) struct Lanes {
    ordering: Ordering,
    shards: Vec<Lane>,
    sides: BTreeMap<Option<KeyHash>, Lane>,
    /// Lanes that can dispatch, each once.
    ready: VecDeque<LaneId>,
    /// Unfinished records of keys that stepped aside.
    aside: usize,
}

/// Names a lane of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LaneId {
    /// A shard.
    Shard(usize),
    /// The side lane of a key.
    Side(Option<KeyHash>),
}

/// What a lane gives.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Records to run together, in offset order.
    Run { lane: LaneId, slots: Slots },
    /// A record without attempts left: it is to be dead-lettered unseen.
    Spent { lane: LaneId, slot: Slot },
}

/// One or more records: a run of one needs no allocation.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) first: Slot,
    pub(crate) rest: Vec<Slot>,
}

impl Slots {
    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.rest.len() + 1
    }

    /// Returns them in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }
}

impl Lanes {
    /// Makes empty lanes; their number follows from ordering and concurrency alone.
    pub(crate) fn new(settings: &Settings) -> Self {
        let count = match settings.ordering {
            Ordering::Partition | Ordering::Unordered => 1,
            Ordering::Key => {
                settings.concurrency.get().saturating_mul(SHARDS_A_RUN).clamp(SHARDS_A_RUN, MOST_SHARDS) + 1
            }
        };
        Self {
            ordering: settings.ordering,
            shards: (0..count).map(|_| Lane::new(State::Idle)).collect(),
            sides: BTreeMap::new(),
            ready: VecDeque::new(),
            aside: 0,
        }
    }

    /// Queues a record that arrived.
    pub(crate) fn arrive(&mut self, slot: Slot, key: Option<KeyHash>) {
        let shard = self.shard_of(key);
        if let Some(lane) = self.shards.get_mut(shard) {
            lane.queue.push_back(slot);
            if lane.state == State::Idle {
                lane.state = State::Ready;
                self.ready.push_back(LaneId::Shard(shard));
            }
        }
    }

    /// Says whether [`Lanes::take`] is worth a call.
    pub(crate) fn can_dispatch(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the next run; its lane waits for [`Lanes::wake`] or [`Lanes::wait`].
    pub(crate) fn take<T>(&mut self, records: &mut Records<T>, settings: &Settings) -> Option<Taken> {
        loop {
            let id = self.ready.pop_front()?;
            let first = match id {
                LaneId::Shard(shard) => self.front_of_shard(shard, records),
                LaneId::Side(_) => self.lane_mut(id).and_then(|lane| lane.queue.pop_front()),
            };
            let doubled = settings.has(Bug::TwoRunsOfALane) && matches!(id, LaneId::Shard(_));
            let exclusive = self.ordering != Ordering::Unordered && !doubled;
            let Some(lane) = self.lane_mut(id) else { continue };
            let Some(first) = first else {
                lane.state = State::Idle;
                continue;
            };
            lane.state = State::Running;
            let most = settings.retry.max_attempts.get();
            let failed = records.get(first).map_or(0, |held| held.failed);
            if failed >= most {
                return Some(Taken::Spent { lane: id, slot: first });
            }
            let size = if failed.saturating_mul(2) >= most { 1 } else { lane.run_size(settings.run_size()) };
            let rest = followers(&mut lane.queue, size - 1, records);
            if !exclusive {
                self.wake(id);
            }
            return Some(Taken::Run { lane: id, slots: Slots { first, rest } });
        }
    }

    /// Lets a lane go on: nothing of it is in flight or waits any more.
    pub(crate) fn wake(&mut self, id: LaneId) {
        let Some(lane) = self.lane_mut(id) else { return };
        if lane.state == State::Ready {
            return;
        }
        if !lane.queue.is_empty() {
            lane.state = State::Ready;
            self.ready.push_back(id);
            return;
        }
        lane.state = State::Idle;
        if let LaneId::Side(key) = id {
            self.sides.remove(&key);
        }
    }

    /// Puts records back to the front of their lane, in the given order.
    pub(crate) fn put_back(&mut self, id: LaneId, slots: &[Slot]) {
        if let Some(lane) = self.lane_mut(id) {
            lane.put_back(slots);
        }
    }

    /// Keeps what must not pass a record of `id` that waits outside of the queue: its lane, or its key only.
    pub(crate) fn wait<T>(&mut self, id: LaneId, slot: Slot, records: &mut Records<T>, settings: &Settings) {
        if settings.has(Bug::RetryOutOfOrder) {
            self.wake(id);
            return;
        }
        match (self.ordering, id) {
            (Ordering::Unordered, _) => self.wake(id),
            (Ordering::Key, LaneId::Shard(_)) => {
                if let Some(held) = records.get_mut(slot) {
                    held.aside = true;
                    self.aside += 1;
                    self.sides.insert(held.key, Lane::new(State::Waiting));
                }
                self.wake(id);
            }
            (Ordering::Partition, _) | (Ordering::Key, LaneId::Side(_)) => {
                if let Some(lane) = self.lane_mut(id) {
                    lane.state = State::Waiting;
                }
            }
        }
    }

    /// Returns which records wait for each other.
    #[cfg(any(test, debug_assertions, feature = "simulation"))]
    pub(crate) fn ordering(&self) -> Ordering {
        self.ordering
    }

    /// Returns the lane in which the record stands, or would stand.
    pub(crate) fn lane_of(&self, key: Option<KeyHash>, aside: bool) -> LaneId {
        if aside { LaneId::Side(key) } else { LaneId::Shard(self.shard_of(key)) }
    }

    /// Returns a lane to change it.
    pub(crate) fn lane_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        match id {
            LaneId::Shard(shard) => self.shards.get_mut(shard),
            LaneId::Side(key) => self.sides.get_mut(&key),
        }
    }

    /// Takes note that a record that stood aside is finished.
    pub(crate) fn left_aside(&mut self) {
        self.aside = self.aside.saturating_sub(1);
    }

    /// Returns how many unfinished records stand aside.
    pub(crate) fn aside(&self) -> usize {
        self.aside
    }

    /// Says whether a lane waits that holds up the whole partition.
    pub(crate) fn head_waits(&self) -> bool {
        self.ordering == Ordering::Partition
            && self.shards.first().is_some_and(|lane| lane.state == State::Waiting)
    }

    /// Drops queued records below `next`.
    pub(crate) fn drop_below<T>(&mut self, next: Offset, records: &Records<T>) {
        for lane in self.shards.iter_mut().chain(self.sides.values_mut()) {
            lane.queue.retain(|slot| records.get(*slot).is_some_and(|held| held.offset >= next));
        }
    }

    /// Returns all lanes, side lanes last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        let shards = self.shards.iter().enumerate().map(|(at, lane)| (LaneId::Shard(at), lane));
        shards.chain(self.sides.iter().map(|(key, lane)| (LaneId::Side(*key), lane)))
    }

    /// Returns the first record of a shard whose key does not stand aside; moves those that do.
    fn front_of_shard<T>(&mut self, shard: usize, records: &mut Records<T>) -> Option<Slot> {
        let queue = &mut self.shards.get_mut(shard)?.queue;
        if self.sides.is_empty() {
            return queue.pop_front();
        }
        loop {
            let slot = queue.pop_front()?;
            let Some(held) = records.get_mut(slot) else { continue };
            let Some(side) = self.sides.get_mut(&held.key) else { return Some(slot) };
            held.aside = true;
            self.aside += 1;
            side.queue.push_back(slot);
        }
    }

    fn shard_of(&self, key: Option<KeyHash>) -> usize {
        let last = self.shards.len().saturating_sub(1);
        match key {
            Some(KeyHash(hash)) if last > 0 => {
                // A hash of few bits, such as a checksum, is spread too.
                let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let spread = (u128::from(mixed) * u128::try_from(last).unwrap_or(1)) >> u64::BITS;
                usize::try_from(spread).unwrap_or(0)
            }
            Some(_) => 0,
            None => last,
        }
    }
}

/// Takes up to `most` records that may run with the one before them: not one that failed before, which
/// begins a run of its own.
fn followers<T>(queue: &mut VecDeque<Slot>, most: usize, records: &Records<T>) -> Vec<Slot> {
    let fresh = |slot: &&Slot| records.get(**slot).is_some_and(|held| held.failed == 0);
    let count = queue.iter().take(most).take_while(fresh).count();
    queue.drain(..count).collect()
}

/// Sets where the records of a run are.
pub(crate) fn set_stage<T>(records: &mut Records<T>, slot: Slot, stage: Stage) {
    if let Some(held) = records.get_mut(slot) {
        held.stage = stage;
    }
}

/// With 8 shards a run in flight nearly all of the possible concurrency is reached; 16 leave room for keys
/// that are not evenly spread.
const SHARDS_A_RUN: usize = 16;

/// More shards than this a partition cost memory and gain nothing.
const MOST_SHARDS: usize = 512;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::num::NonZeroUsize;

    use super::*;
    use crate::input::Record;

    #[test]
    fn a_lane_gives_nothing_while_its_run_is_in_flight() {
        let mut desk = Desk::new(Ordering::Partition, 2);
        desk.arrive([(0, 1), (1, 2), (2, 3)]);

        assert_eq!(desk.take(), Some(vec![0, 1]));
        assert_eq!(desk.take(), None);
        desk.lanes.wake(LaneId::Shard(0));
        assert_eq!(desk.take(), Some(vec![2]));
    }

    #[test]
    fn a_key_that_waits_steps_aside_and_keeps_its_order() {
        let mut desk = Desk::new(Ordering::Key, 1);
        desk.arrive([(0, 1), (1, 1), (2, 2), (3, 1)]);
        let shard = desk.lanes.lane_of(Some(KeyHash(1)), false);
        assert_eq!(desk.take(), Some(vec![0]));

        let slot = desk.slot(0);
        desk.lanes.wait(shard, slot, &mut desk.records, &desk.settings);
        assert_eq!(desk.take(), Some(vec![2]));
        assert_eq!(desk.take(), None);
        desk.lanes.wake(shard);
        assert_eq!((desk.take(), desk.lanes.aside()), (None, 3));

        let side = desk.lanes.lane_of(Some(KeyHash(1)), true);
        desk.lanes.put_back(side, &[slot]);
        for offset in [0, 1, 3] {
            desk.lanes.wake(side);
            assert_eq!(desk.take(), Some(vec![offset]));
            assert_eq!(desk.take(), None);
        }
        desk.lanes.wake(side);
        assert!(desk.lanes.sides.is_empty());
    }

    #[test]
    fn lanes_do_not_grow_with_keys() {
        let mut desk = Desk::new(Ordering::Key, 1);
        let before = desk.lanes.shards.len();
        desk.arrive((0_i64..10_000).map(|offset| (offset, offset.unsigned_abs() << 40)));

        assert_eq!((desk.lanes.shards.len(), desk.lanes.sides.len()), (before, 0));
    }

    #[test]
    fn keys_spread_over_the_shards() {
        let lanes = Lanes::new(&Settings::default());
        let mut counts = vec![0; lanes.shards.len()];
        for number in 0..51_200_u64 {
            let shard = lanes.shard_of(Some(KeyHash(number)));
            *counts.get_mut(shard).unwrap() += 1;
        }

        let null_keys = counts.pop();
        assert_eq!((counts.len(), null_keys), (MOST_SHARDS, Some(0)));
        assert!(counts.iter().all(|count| (80..120).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_record_that_failed_before_begins_a_run_of_its_own() {
        let mut desk = Desk::new(Ordering::Partition, 10);
        desk.arrive([(0, 1), (1, 1), (2, 1), (3, 1)]);
        let slot = desk.slot(2);
        desk.records.get_mut(slot).unwrap().failed = 1;

        assert_eq!(desk.take(), Some(vec![0, 1]));
        desk.lanes.wake(LaneId::Shard(0));
        assert_eq!(desk.take(), Some(vec![2, 3]));
    }

    #[test]
    fn unordered_records_do_not_wait_for_each_other() {
        let mut desk = Desk::new(Ordering::Unordered, 1);
        desk.arrive([(0, 1), (1, 1)]);

        assert_eq!((desk.take(), desk.take(), desk.take()), (Some(vec![0]), Some(vec![1]), None));
    }

    struct Desk {
        lanes: Lanes,
        records: Records<()>,
        settings: Settings,
    }

    impl Desk {
        fn new(ordering: Ordering, batch: usize) -> Self {
            let batch = NonZeroUsize::new(batch).unwrap();
            let settings = Settings { ordering, batch, ..Settings::default() };
            Self { lanes: Lanes::new(&settings), records: Records::new(), settings }
        }

        fn arrive(&mut self, records: impl IntoIterator<Item = (i64, u64)>) {
            for (offset, key) in records {
                let key = Some(KeyHash(key));
                let slot = self.records.insert(Record { offset: Offset(offset), key, bytes: 1, payload: () });
                self.lanes.arrive(slot, key);
            }
        }

        fn take(&mut self) -> Option<Vec<i64>> {
            match self.lanes.take(&mut self.records, &self.settings)? {
                Taken::Run { slots, .. } => {
                    Some(slots.iter().map(|slot| self.records.get(slot).unwrap().offset.0).collect())
                }
                Taken::Spent { .. } => None,
            }
        }

        fn slot(&self, offset: i64) -> Slot {
            self.records.iter().find(|(_, held)| held.offset.0 == offset).unwrap().0
        }
    }
}
