//! The store: positions with epochs, attempts, dedupe, and the tables that effects write.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use postroom_core::{Attempt, Offset, TopicPartition};

use crate::ports::{Change, Endpoints, Ledger};

/// The identity of one store: made with it, kept in it, carried in the metadata of commits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(pub String);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How often a partition was claimed: the fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

/// A claim on one partition by one owner, with the owner's own copy of the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The consumer group.
    pub group: String,
    /// The partition.
    pub partition: TopicPartition,
    /// Ours: a transaction commits only while the row still holds it.
    pub epoch: Epoch,
    /// The position in the row; `None` where nothing was applied yet. [`Store::apply`] moves it.
    pub next: Option<Offset>,
    /// Attempts that earlier owners had begun at or above the position.
    pub attempts: Vec<(Offset, Attempt)>,
}

/// What must hold for a unit to be applied, and what it leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The row holds our epoch and our copy of the position; it moves to `next`. For partition order.
    Position {
        /// The new position.
        next: Offset,
    },
    /// The row holds our epoch and this group has not applied the id before. For key order and replays.
    Once {
        /// An event id, or a dead letter's id.
        id: String,
    },
}

/// Changes that become visible together, in one transaction, or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// What must hold.
    pub guard: Guard,
    /// What changes.
    pub changes: Vec<Change>,
}

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is durable.
    Committed,
    /// The id was applied before: nothing changed.
    Duplicate,
    /// The row holds a foreign epoch, or a position that is neither the claim's nor beyond the unit's: nothing
    /// changed, and nothing of this claim ever will. Claim again.
    Fenced,
}

/// The answer of the store.
pub type StoreFuture<'a, V> = Pin<Box<dyn Future<Output = Result<V, StoreError>> + Send + 'a>>;

/// Positions, attempts and effects of all groups. Every implementation passes the contract suite in the testkit.
pub trait Store: Ledger + Endpoints {
    /// Returns the store's identity.
    fn id(&self) -> &StoreId;

    /// Raises the partition's epoch and reads its row. From then on no unit of an older claim is applied.
    fn claim<'a>(&'a self, group: &'a str, partition: &'a TopicPartition) -> StoreFuture<'a, Claim>;

    /// Applies a unit in one transaction under the claim, and moves the claim's copy of the position. A lost
    /// reply to our own commit is recognised: row at our epoch and at or beyond `next` means committed. A
    /// unit that is asked for after the answer to another comes after it; those that are asked for at once may come
    /// in any order. A unit without changes moves the position alone:
    /// past records that are skipped, and to adopt a position from elsewhere.
    fn apply<'a>(&'a self, claim: &'a mut Claim, unit: Unit) -> StoreFuture<'a, Applied>;

    /// Keeps the number of an attempt that is about to begin. Rows below the position are removed in time.
    fn count_attempt<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        offset: Offset,
        attempt: Attempt,
    ) -> StoreFuture<'a, ()>;

    /// Forgets the attempts at records below an offset, which are finished, of a partition whose position is not kept here.
    fn forget_attempts<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        below: Offset,
    ) -> StoreFuture<'a, ()>;
}

/// Announcements that wait to be written, one row a recipient, in chunks.
pub trait FanOut: Send + Sync + 'static {
    /// Looks at up to `limit` recipients and writes the notifications they are due, in one transaction. Any
    /// number of callers may call it at once: nobody is notified twice, and a crash repeats nothing.
    fn expand_fan_out(&self, limit: u32) -> StoreFuture<'_, Expansion>;
}

/// What one step of an expansion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expansion {
    /// Notifications written.
    pub written: u64,
    /// Whether more is waiting: call again.
    pub rest: Rest,
}

/// Whether work is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There may be more.
    More,
    /// Nothing waits.
    Nothing,
}

/// Why the store did not answer as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is away, locked or full: try again later; nothing is lost.
    #[error("the store is not available: {0}")]
    Away(String),
    /// The unit itself can never be applied: a statement that does not compile, a violated constraint.
    #[error("the store refused the change: {0}")]
    Refused(String),
    /// It was written by a newer version, or is not ours.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
}
