//! Webhook subscriptions: who is told of which events, and where.

use std::time::Duration;

use crate::ports::StoreFuture;

/// The subscriptions in the store.
pub trait Endpoints: Send + Sync + 'static {
    /// Returns one; `None` where it is not there (any more).
    fn endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Endpoint>>;

    /// Returns all, by id.
    fn endpoints(&self) -> StoreFuture<'_, Vec<Endpoint>>;

    /// Counts those that are disabled, without reading any.
    fn disabled_endpoints(&self) -> StoreFuture<'_, u64>;

    /// Adds one, or replaces the one with its id.
    fn put_endpoint(&self, endpoint: Endpoint) -> StoreFuture<'_, ()>;

    /// Removes one; `false` where it was not there.
    fn remove_endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, bool>;

    /// Disables one: nothing more is sent to it, and what waits for it is withdrawn.
    fn disable_endpoint<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()>;

    /// An attempt at one failed. Returns since when all of them have failed: from `now` on, where the last one succeeded
    /// or was longer ago than `pause`.
    fn endpoint_failed<'a>(&'a self, id: &'a str, now: i64, pause: Duration) -> StoreFuture<'a, i64>;

    /// An attempt at one succeeded: it is failing no longer.
    fn endpoint_answered<'a>(&'a self, id: &'a str) -> StoreFuture<'a, ()>;
}

/// A subscription.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub id: String,
    /// Where to send.
    pub url: String,
    /// What deliveries are signed with, the newest first: two while one replaces the other. `whsec_` and base64.
    pub secrets: Vec<String>,
    /// The event types that it wants; empty: all.
    pub types: Vec<String>,
    /// Since when it is there, in milliseconds since the Unix epoch.
    pub created_at: i64,
    /// Since when and why it is disabled.
    pub disabled: Option<(i64, String)>,
    /// Since when every attempt has failed; `None` where the last one succeeded.
    pub failing_since: Option<i64>,
}

impl std::fmt::Debug for Endpoint {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("url", &self.url)
            .field("types", &self.types)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}
