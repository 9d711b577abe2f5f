//! The records that were received and are unfinished.

use crate::input::Record;
use crate::record::{Attempt, KeyHash, Moment, Offset};

/// A store of unfinished records with stable short names: memory follows what is unfinished.
#[derive(Debug)]
pub(crate) struct Records<T> {
    slots: Vec<Option<Held<T>>>,
    free: Vec<Slot>,
    len: usize,
    bytes: usize,
}

/// The short name of an unfinished record; used again once that is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(usize);

/// An unfinished record.
#[derive(Debug)]
pub(crate) struct Held<T> {
    pub(crate) offset: Offset,
    pub(crate) key: Option<KeyHash>,
    pub(crate) bytes: u32,
    pub(crate) payload: T,
    pub(crate) stage: Stage,
    /// How many attempts failed.
    pub(crate) failed: u32,
    /// The highest attempt that the outside was told to count.
    pub(crate) counted: u32,
    pub(crate) first_failed: Option<Moment>,
    /// Whether it stands in the side queue of its key.
    pub(crate) aside: bool,
}

/// Where an unfinished record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In a lane's queue.
    Queued,
    /// In a dispatched run.
    InFlight,
    /// Out of the queue until its next attempt.
    Waiting { until: Moment },
    /// Out of the queue until its dead letter is acknowledged.
    Dead,
}

impl<T> Held<T> {
    /// Returns the number of its next attempt.
    pub(crate) fn attempt(&self) -> Attempt {
        Attempt(self.failed).next()
    }

    /// Takes note that `attempts` were begun by earlier owners.
    pub(crate) fn begun_before(&mut self, attempts: Attempt) {
        self.failed = self.failed.max(attempts.0);
        self.counted = self.counted.max(attempts.0);
    }
}

impl<T> Records<T> {
    /// Holds nothing.
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), len: 0, bytes: 0 }
    }

    /// Holds a record that arrived.
    pub(crate) fn insert(&mut self, record: Record<T>) -> Slot {
        let Record { offset, key, bytes, payload } = record;
        let held = Held {
            offset,
            key,
            bytes,
            payload,
            stage: Stage::Queued,
            failed: 0,
            counted: 0,
            first_failed: None,
            aside: false,
        };
        self.len += 1;
        self.bytes += weight(bytes);
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot.0)
        {
            *place = Some(held);
            return slot;
        }
        self.slots.push(Some(held));
        Slot(self.slots.len() - 1)
    }

    /// Lets go of a record.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Held<T>> {
        let held = self.slots.get_mut(slot.0)?.take()?;
        self.free.push(slot);
        self.len -= 1;
        self.bytes -= weight(held.bytes);
        Some(held)
    }

    /// Returns a record.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Held<T>> {
        self.slots.get(slot.0)?.as_ref()
    }

    /// Returns a record to change it.
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Held<T>> {
        self.slots.get_mut(slot.0)?.as_mut()
    }

    /// Returns all records, in no order of meaning: O(the most that was ever held).
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Held<T>)> {
        self.slots.iter().enumerate().filter_map(|(at, held)| held.as_ref().map(|held| (Slot(at), held)))
    }

    /// Returns all records to change them, in no order of meaning.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Held<T>> {
        self.slots.iter_mut().flatten()
    }

    /// Returns how many records are held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns what the held records weigh.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Returns the bytes of a record as a size.
pub(crate) fn weight(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn memory_follows_what_is_unfinished() {
        let mut records = Records::new();
        for offset in 0..1_000 {
            let slot = records.insert(record(offset));
            assert_eq!((records.len(), records.bytes()), (1, 7));
            assert_eq!(records.remove(slot).unwrap().offset, Offset(offset));
        }

        assert_eq!((records.slots.len(), records.len(), records.bytes()), (1, 0, 0));
    }

    #[test]
    fn a_record_is_removed_once() {
        let mut records = Records::new();
        let slot = records.insert(record(3));

        assert!(records.remove(slot).is_some());
        assert!(records.remove(slot).is_none());
        assert_eq!(records.free.len(), 1);
    }

    #[test]
    fn attempts_of_earlier_owners_count() {
        let mut records = Records::new();
        let slot = records.insert(record(3));
        let held = records.get_mut(slot).unwrap();
        assert_eq!(held.attempt(), Attempt::FIRST);

        held.begun_before(Attempt(3));
        assert_eq!(held.attempt(), Attempt(4));
    }

    fn record(offset: i64) -> Record<()> {
        Record { offset: Offset(offset), key: None, bytes: 7, payload: () }
    }
}
