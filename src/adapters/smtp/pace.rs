//! How fast mails go out.

use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Mutex;

/// Lets so many a second pass, in the order in which they came. A second's worth may pass at once after a rest.
pub(super) struct Pace {
    limit: Option<DefaultDirectRateLimiter>,
    clock: DefaultClock,
    /// Whoever holds it waits; the others stand in its fair queue.
    queue: Mutex<()>,
}

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        let limit = rate.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Self { limit, clock: DefaultClock::default(), queue: Mutex::new(()) }
    }

    pub(super) async fn turn(&self) {
        let Some(limit) = &self.limit else { return };
        let _turn = self.queue.lock().await;
        while let Err(too_early) = limit.check() {
            tokio::time::sleep(too_early.wait_time_from(self.clock.now())).await;
        }
    }
}
