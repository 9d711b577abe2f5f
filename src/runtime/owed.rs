//! What effects outside the store left to be written while the store was away: the next attempt writes it, and does not
//! repeat the effect. That the other side has a request is true under any claim; the rest is forgotten with its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use postroom_core::{Offset, TopicPartition};

use crate::event::RawRecord;
use crate::ports::{Change, Epoch};

type Held = BTreeMap<(TopicPartition, Offset), (Epoch, Vec<Change>)>;

/// The changes of handlers that ended well, by record. In this process alone: what it holds when it dies is done again.
#[derive(Default)]
pub(crate) struct Owed {
    held: Mutex<Held>,
    /// How many are held: nearly always none, which every record asks.
    count: AtomicUsize,
}

impl Owed {
    /// Keeps what an attempt at a record under a claim's epoch came to. Beyond [`MOST`] the oldest place is forgotten.
    pub(crate) fn hold(&self, record: &RawRecord, epoch: Epoch, changes: Vec<Change>) {
        let place = (record.partition().clone(), record.offset());
        let mut held = self.lock();
        // Whoever had the partition in between has finished the records of an earlier claim, or does them again.
        held.retain(|(partition, _), (of, changes)| {
            *partition != place.0 || *of == epoch || changes.iter().all(Change::is_done)
        });
        held.insert(place, (epoch, changes));
        if held.len() > MOST {
            held.pop_first();
        }
        self.count.store(held.len(), Ordering::Release);
    }

    /// Says whether anything is held.
    pub(crate) fn holds_some(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Takes what is owed for a record, which carries the event of that id; nothing where it was true under another claim
    /// alone.
    pub(crate) fn take(&self, record: &RawRecord, epoch: Epoch, id: &str) -> Option<Vec<Change>> {
        let mut held = self.lock();
        let (of, changes) = held.remove(&(record.partition().clone(), record.offset()))?;
        self.count.store(held.len(), Ordering::Release);
        // By its id: at that place may stand another record by now.
        let says_done = |change: &Change| matches!(change, Change::RequestClosed { id: of, .. } if change.is_done() && of == id);
        (of == epoch || changes.iter().all(says_done)).then_some(changes)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many records' changes are held at most: what is in flight when the store goes away, and each probe after that.
const MOST: usize = 4_096;
