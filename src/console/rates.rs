//! How much is done in a second, from looks at the totals.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::Status;

/// The latest looks.
#[derive(Default)]
pub(crate) struct Rates {
    looks: Mutex<VecDeque<(Instant, u64)>>,
}

impl Rates {
    /// Looks at the totals, and returns how many effects were finished a second over the last ten seconds or so;
    /// `None` at the first look.
    pub(crate) fn look(&self, status: &Status, now: Instant) -> Option<f64> {
        let finished = status.totals.finished();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        // Several pages may look at once: one look in half a second is enough.
        if looks.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            looks.push_back((now, finished));
        }
        while looks.len() > 2
            && looks.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW)
        {
            looks.pop_front();
        }
        let (since, before) = *looks.front()?;
        let span = now.saturating_duration_since(since);
        let done = u32::try_from(finished.saturating_sub(before)).unwrap_or(u32::MAX);
        (span >= STEP).then(|| f64::from(done) / span.as_secs_f64())
    }
}

const STEP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(count: u64) -> Status {
        let mut status = Status::default();
        status.totals.by_outcome.insert("ok".to_owned(), count);
        status
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let rates = Rates::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);

        assert_eq!(rates.look(&finished(1_000), start), None);
        assert_eq!(rates.look(&finished(1_100), at(1)), Some(100.0));
        assert_eq!(rates.look(&finished(1_100), at(20)), Some(0.0));
    }
}
