//! What effects outside the store left to be written while the store was away: the next attempt writes it, and does not
//! repeat the effect.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use postroom_core::{Offset, TopicPartition};

use crate::event::RawRecord;
use crate::ports::{Change, Epoch};

/// The changes of handlers that ended well, by record. In this process alone: what it holds when it dies is done again.
#[derive(Default)]
pub(crate) struct Owed {
    held: Mutex<BTreeMap<(TopicPartition, Offset), (Epoch, Vec<Change>)>>,
}

impl Owed {
    /// Keeps what an attempt at a record under a claim's epoch came to. Beyond [`MOST`] the oldest place is forgotten.
    pub(crate) fn hold(&self, record: &RawRecord, epoch: Epoch, changes: Vec<Change>) {
        let place = (record.partition().clone(), record.offset());
        let mut held = self.lock();
        // Whoever had the partition in between has finished the records of an earlier claim, or does them again.
        held.retain(|(partition, _), (of, _)| *partition != place.0 || *of == epoch);
        held.insert(place, (epoch, changes));
        if held.len() > MOST {
            held.pop_first();
        }
    }

    /// Takes what is owed for a record; nothing where that was under another claim.
    pub(crate) fn take(&self, record: &RawRecord, epoch: Epoch) -> Option<Vec<Change>> {
        let mut held = self.lock();
        if held.is_empty() {
            return None;
        }
        let (of, changes) = held.remove(&(record.partition().clone(), record.offset()))?;
        (of == epoch).then_some(changes)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(TopicPartition, Offset), (Epoch, Vec<Change>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many records' changes are held at most: what is in flight when the store goes away, and each probe after that.
const MOST: usize = 4_096;
