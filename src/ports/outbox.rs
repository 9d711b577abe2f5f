//! The outbox: mails and deliveries that are due, one row a recipient or endpoint, until they are done.
//!
//! A row waits, is taken by a relay, published, and closed by the effect that did it. Of one key (a recipient, an
//! endpoint) at most one row is out at a time, so that later rows wait for earlier ones, also over days.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::event::{MailRequested, WebhookRequested};
use crate::ports::StoreFuture;

/// What the relay asks of the store.
pub trait Outbox: Send + Sync + 'static {
    /// Takes up to `limit` rows that are due at `now` (milliseconds since the Unix epoch), the oldest first. Nobody
    /// else gets them for the span of `lease`: then they are due again.
    fn take_due(&self, now: i64, limit: u32, lease: Duration) -> StoreFuture<'_, Vec<DueRow>>;

    /// The broker has these rows: they are out. One that is not closed within `patience` no longer holds up later rows
    /// of its key.
    fn published(&self, rows: Vec<i64>, now: i64, patience: Duration) -> StoreFuture<'_, ()>;

    /// These rows could not be published: they are due again, but not before a time (milliseconds since the Unix epoch).
    fn given_back(&self, rows: Vec<i64>, not_before: i64) -> StoreFuture<'_, ()>;

    /// This row can never be published, and is closed as dead: `why` says so in a line.
    fn given_up(&self, row: i64, now: i64, why: &str) -> StoreFuture<'_, ()>;

    /// Resolves when rows may have become due because others of their key were closed on this handle or a clone of it
    /// since the last call. A hint that saves time: a store without it never resolves.
    fn made_way(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }

    /// How many rows wait or are out, and since when the oldest that is due waits.
    fn backlog(&self, now: i64) -> StoreFuture<'_, OutboxBacklog>;
}

/// A row that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRow {
    /// Its number.
    pub row: i64,
    /// What is asked for.
    pub request: Request,
}

/// What a row asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A mail.
    Mail(Box<MailRequested>),
    /// A delivery to an endpoint.
    Webhook(Box<WebhookRequested>),
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxBacklog {
    /// Rows that are not closed.
    pub pending: u64,
    /// Since when the oldest row that is due waits, in milliseconds since the Unix epoch.
    pub oldest_due: Option<i64>,
    /// Of them, those that were put off and are not due yet; what is queued behind them is not among these.
    pub deferred: u64,
    /// When the first of those is due, in milliseconds since the Unix epoch.
    pub next_due: Option<i64>,
}

/// What the effects that carry rows out ask of the store: each is done once, whatever crashes.
///
/// `id` is the request's event id. Closing a row is part of the unit that finishes the record:
/// [`Change::RequestClosed`](crate::ports::Change::RequestClosed).
pub trait Ledger: Send + Sync + 'static {
    /// Reserves the right to carry a request out until `now` + `lease`, and counts the attempt.
    fn reserve<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        lease: Duration,
    ) -> StoreFuture<'a, Reservation> {
        self.reserve_with(id, owner, now, lease, IfUnknown::Take)
    }

    /// Reserves it as [`reserve`](Self::reserve) does, and is told what to do where it is unknown whether the other side has it.
    fn reserve_with<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        lease: Duration,
        if_unknown: IfUnknown,
    ) -> StoreFuture<'a, Reservation>;

    /// The owner's attempt failed and is over, and the request waits in the outbox until `not_before`; `reply` is what the
    /// other side said. The reservation is given up. Where somebody else has it by now, or had it and closed the request,
    /// nothing changes. A request that was done or withdrawn stays so; `Refused`, and the reservation stays, where it cannot
    /// wait in the outbox: the outbox does not know it, or somebody has closed it as unknown since it was reserved.
    fn defer<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        not_before: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()>;

    /// The owner's attempt failed and is over, for one more in this process, or for a dead letter: the other side does not
    /// have it by this attempt. The reservation is given up, unless somebody else has it by now.
    fn attempt_failed<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()>;

    /// The other side has it; `reply` is what it said. Unlike [`Change::RequestClosed`](crate::ports::Change::RequestClosed)
    /// this needs no claim: it is true whoever owns the record by now.
    fn done<'a>(&'a self, id: &'a str, now: i64, reply: &'a str) -> StoreFuture<'a, ()>;

    /// The request is a dead letter, whoever decided so: its row is closed, so that later ones of its key wait no
    /// longer. A replay of the letter may still carry it out. The reservation stays as it is: who decided need not know
    /// what became of the attempt. A ledger without an outbox has nothing to close.
    fn died<'a>(&'a self, _id: &'a str, _now: i64, _why: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// What becomes of a request that is reserved while it is unknown whether the other side has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfUnknown {
    /// It is the caller's.
    Take,
    /// It stays whose it was: the answer says who left it so and how many attempts there were, and nothing is reserved or
    /// counted.
    Leave,
}

/// The answer to a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It is ours, for the attempt of this number, from 1, over restarts and deferrals.
    Ours {
        /// The attempt.
        attempt: u32,
    },
    /// It is ours, unless it was to be left ([`IfUnknown::Leave`]), and an attempt before ended without a word: whether the other side has
    /// it is unknown.
    Unknown {
        /// The attempt.
        attempt: u32,
        /// Who made that attempt before.
        by: String,
    },
    /// It was carried out already.
    Done,
    /// Somebody else is at it, until then (milliseconds since the Unix epoch).
    Held {
        /// The end of their lease.
        until: i64,
    },
    /// It is no longer wanted: the recipient unsubscribed or is gone, the endpoint is disabled.
    Withdrawn,
}
