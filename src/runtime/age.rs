//! Ages of records by the wall clock: for metrics only, no rule depends on them.

#![expect(clippy::disallowed_methods, reason = "the runtime reads the clock")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns how long ago a record's timestamp (milliseconds since the Unix epoch) lies; zero for the future.
pub(crate) fn since(timestamp: i64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(u64::try_from(timestamp).unwrap_or(u64::MAX)))
}
