//! The dead-letter limit: a bad deployment must not divert a topic.

use crate::record::Moment;
use crate::settings;

/// Counts what ended in the current window. Windows are cut by the clock alone, so that ticks do not matter.
#[derive(Debug)]
pub(crate) struct Flood {
    limits: settings::Flood,
    window: u128,
    dead: u32,
    finished: u32,
}

/// Why a dead letter must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flooded {
    pub(crate) dead: u32,
    pub(crate) finished: u32,
}

impl Flood {
    /// Counts nothing yet.
    pub(crate) fn new(limits: settings::Flood) -> Self {
        Self { limits, window: 0, dead: 0, finished: 0 }
    }

    /// Takes note that `count` records finished.
    pub(crate) fn finished(&mut self, now: Moment, count: usize) {
        self.turn(now);
        self.finished = self.finished.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Asks to send one more dead letter; counts it where that is allowed.
    pub(crate) fn admit(&mut self, now: Moment) -> Result<(), Flooded> {
        self.turn(now);
        let dead = self.dead.saturating_add(1);
        let share = u64::from(self.limits.percent) * u64::from(self.finished);
        if dead > self.limits.minimum && u64::from(dead) * 100 > share {
            return Err(Flooded { dead, finished: self.finished });
        }
        self.dead = dead;
        Ok(())
    }

    fn turn(&mut self, now: Moment) {
        let window = now.since_start().as_nanos() / self.limits.window.as_nanos().max(1);
        if window != self.window {
            self.window = window;
            self.dead = 0;
            self.finished = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn flood(minimum: u32, percent: u32) -> Flood {
        Flood::new(settings::Flood { minimum, percent, window: Duration::from_secs(60) })
    }

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn the_minimum_is_always_let_out_and_the_next_is_not() {
        let mut flood = flood(3, 50);

        for _ in 0..3 {
            assert_eq!(flood.admit(at(1)), Ok(()));
        }
        assert_eq!(flood.admit(at(1)), Err(Flooded { dead: 4, finished: 0 }));
    }

    #[test]
    fn a_small_share_is_let_out() {
        let mut flood = flood(3, 50);
        flood.finished(at(1), 20);

        for _ in 0..10 {
            assert_eq!(flood.admit(at(1)), Ok(()));
        }
        assert_eq!(flood.admit(at(1)), Err(Flooded { dead: 11, finished: 20 }));
    }

    #[test]
    fn a_new_window_begins_with_nothing() {
        let mut flood = flood(1, 50);
        assert_eq!(flood.admit(at(59)), Ok(()));
        assert!(flood.admit(at(59)).is_err());

        assert_eq!(flood.admit(at(60)), Ok(()));
    }
}
