//! Side effects: one file each, one consumer group each.
//!
//! An effect in the store is a pure function from an event to [`Change`]s. The changes of a batch become visible
//! together with the group's position, in one transaction: exactly once.

pub mod mail;
mod notify;
mod origin;
mod project;
mod purge;
mod search;
mod thumbnail;
pub mod webhooks;

pub use mail::Mail;
pub use notify::{Notify, NotifySettings};
pub use project::Project;
pub use purge::Purge;
pub use search::Search;
pub use thumbnail::Thumbnail;
pub(crate) use thumbnail::{OBJECTS, PICTURES};
pub use webhooks::Webhooks;

use postroom_core::Failure;

use crate::codec::Event;
use crate::event::{Envelope, EventType, RawRecord};
use crate::ports::Change;

/// Names who carries a request out: this process, for this record. A second copy of the request that is under way at the
/// same time has to wait, and a further attempt of the same record need not.
pub(crate) fn owner_of(process: &str, record: &RawRecord) -> String {
    format!("{process}/{}/{}", record.partition(), record.offset())
}

/// Says whether an owner is of this record, in whichever process.
pub(crate) fn is_of(owner: &str, record: &RawRecord) -> bool {
    owner.ends_with(&format!("/{}/{}", record.partition(), record.offset()))
}

/// A side effect whose results live in the store.
///
/// Events come in the order of offsets, each partition by itself. Nothing is promised about the order between
/// topics: changes must say what is to hold in the end, whichever comes first.
pub trait StoreEffect: Send + Sync + 'static {
    /// The events that it can read.
    type Event: Event;

    /// Returns its name, which names its group.
    fn name(&self) -> &'static str;

    /// Returns the kinds of events that it wants, of those that it can read.
    fn types(&self) -> &'static [EventType];

    /// Collects what an event changes. No I/O, no clock: the same event makes the same changes.
    ///
    /// # Errors
    /// The event is at fault; what was collected for it is dropped.
    fn apply(&self, event: &Envelope<Self::Event>, changes: &mut Changes) -> Result<(), Failure>;
}

/// The changes of a batch, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    collected: Vec<Change>,
}

impl Changes {
    /// Adds a change.
    pub fn push(&mut self, change: Change) {
        self.collected.push(change);
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.collected.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.collected.is_empty()
    }

    /// Gives them away, for a unit.
    pub fn into_inner(self) -> Vec<Change> {
        self.collected
    }
}

/// Collects the changes of a batch, up to the first event that is at fault.
///
/// # Errors
/// The place of that event in the batch and what is wrong with it; the changes are those of the events before it.
pub fn collect<E: StoreEffect + ?Sized>(
    effect: &E,
    events: &[Envelope<E::Event>],
    changes: &mut Changes,
) -> Result<(), (usize, Failure)> {
    for (place, event) in events.iter().enumerate() {
        let before = changes.len();
        if let Err(failure) = effect.apply(event, changes) {
            changes.collected.truncate(before);
            return Err((place, failure));
        }
    }
    Ok(())
}
