//! What a Rust developer writes: a handler, and an error that is the policy.

mod context;
mod error;

use std::future::Future;

pub use context::{BatchContext, Context};
pub(crate) use context::{Meter, no_meter};
pub use error::Error;

use crate::codec::Event;
use crate::event::Envelope;

/// Handles one event at a time; events of one key arrive in their order, those of other keys in parallel.
///
/// `Ok` finishes the record: together with the statements that were added to the context, in one transaction.
/// An [`Error`] says what happens instead. A panic is a dead letter. The future is dropped when the deadline
/// passes or the partition is lost, so keep no lock over an await. Only an await can be cancelled: what blocks its thread
/// belongs into `tokio::task::spawn_blocking`. Where it blocks all the same, other groups and the process's end do not
/// wait for it, unless the group is [`non_blocking`](crate::Group::non_blocking).
pub trait Handler: Send + Sync + 'static {
    /// The events it wants; others are passed over before they are decoded.
    type Event: Event;

    /// Handles one event.
    ///
    /// # Errors
    /// The error's kind decides whether the event is tried again, dead-lettered or passed over.
    fn handle(
        &self,
        event: &Envelope<Self::Event>,
        context: &mut Context,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Handles up to N events of one partition at once, in offset order, each exactly once as far as the store goes.
///
/// Statements added to the context become visible together with the position. A batch that fails is split until
/// the event that fails stands alone.
pub trait BatchHandler: Send + Sync + 'static {
    /// The events it wants; others are passed over before they are decoded.
    type Event: Event;

    /// Handles a batch; it is never empty.
    ///
    /// # Errors
    /// The error's kind decides what happens to the batch.
    fn handle(
        &self,
        events: &[Envelope<Self::Event>],
        context: &mut BatchContext,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}
