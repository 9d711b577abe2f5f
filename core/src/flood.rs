//! The guard against a flood of dead letters: a bad deployment must not divert a whole topic.

use crate::record::Moment;
use crate::settings::Flood;

/// Counts a tumbling window.
#[derive(Debug)]
pub(crate) struct FloodGuard {
    limit: Flood,
    since: Moment,
    dead: u32,
    finished: u32,
}

impl FloodGuard {
    pub(crate) fn new(limit: Flood) -> Self {
        Self { limit, since: Moment::START, dead: 0, finished: 0 }
    }

    /// Counts a record that was finished without a dead letter.
    pub(crate) fn finished(&mut self, now: Moment) {
        self.roll(now);
        self.finished = self.finished.saturating_add(1);
    }

    /// Counts a dead letter that is about to be sent; answers the counts where it is one too many.
    pub(crate) fn dead(&mut self, now: Moment) -> Option<(u32, u32)> {
        self.roll(now);
        self.dead = self.dead.saturating_add(1);
        let finished = self.finished.saturating_add(self.dead);
        let share = u64::from(self.dead) * 100;
        let beyond = share > u64::from(self.limit.percent) * u64::from(finished);
        (self.dead > self.limit.minimum && beyond).then_some((self.dead, finished))
    }

    fn roll(&mut self, now: Moment) {
        if now.since(self.since) >= self.limit.window {
            *self = Self { since: now, ..Self::new(self.limit.clone()) };
        }
    }
}
