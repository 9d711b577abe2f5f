//! Ages of records by the wall clock: for metrics only, no rule depends on them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock, read once for many records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock(Duration);

impl WallClock {
    /// Reads it.
    #[expect(clippy::disallowed_methods, reason = "ages of records are told by the wall clock")]
    pub(crate) fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Returns it in milliseconds since the Unix epoch.
    pub(crate) fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// Returns how long ago a record's timestamp (milliseconds since the Unix epoch) lies; zero for the future.
    pub(crate) fn since(self, timestamp: i64) -> Duration {
        self.0.saturating_sub(Duration::from_millis(u64::try_from(timestamp).unwrap_or(u64::MAX)))
    }
}
