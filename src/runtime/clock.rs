//! Time for the core: the span since the process's groups were started.

use std::time::Duration;

use postroom_core::Moment;
use tokio::time::Instant;

/// Turns the runtime's clock into the core's moments. Virtual where tokio's time is paused.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts a clock: now is [`Moment::START`].
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Returns the instant of [`Moment::START`], for threads outside of the runtime.
    pub(crate) fn origin(&self) -> std::time::Instant {
        self.origin.into_std()
    }

    /// Returns the present moment.
    pub fn now(&self) -> Moment {
        Moment::after_start(self.origin.elapsed())
    }

    /// Returns the instant of a moment.
    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.origin + moment.since_start().min(Duration::from_secs(86_400 * 365))
    }
}
