//! Everything that only time can bring about: what can wake us is one screen.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::record::{Generation, Moment, Offset};
use crate::records::Slot;

/// What is to be looked at when a moment comes. Each is checked again when it fires, so that none needs to be
/// taken back: a timer that outlived its reason changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Ask the store again.
    Claim(Generation),
    /// Commit what changed.
    Commit,
    /// Send a refused dead letter again.
    DeadLetter(Generation, Offset),
    /// Stop waiting for what is in flight.
    Deadline(Generation),
    /// A circuit may be probed.
    Probe,
    /// A record's next attempt is due.
    Retry(Generation, Offset, Slot),
}

/// The timers that are set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Moment, Timer)>>,
}

impl Timers {
    /// Sets a timer.
    pub(crate) fn set(&mut self, at: Moment, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    /// Takes the earliest timer that is due at `now`, with its moment.
    pub(crate) fn due(&mut self, now: Moment) -> Option<(Moment, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer)
    }

    /// Returns the moment of the earliest timer.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_fire_once_in_the_order_of_their_moments_and_not_early() {
        let at = |seconds| Moment::after_start(Duration::from_secs(seconds));
        let mut timers = Timers::default();
        timers.set(at(3), Timer::Commit);
        timers.set(at(1), Timer::Deadline(Generation(4)));
        timers.set(at(1), Timer::Claim(Generation(4)));

        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.due(at(0)), None);
        assert_eq!(timers.due(at(2)), Some((at(1), Timer::Claim(Generation(4)))));
        assert_eq!(timers.due(at(2)), Some((at(1), Timer::Deadline(Generation(4)))));
        assert_eq!(timers.due(at(2)), None);
        assert_eq!(timers.due(at(3)), Some((at(3), Timer::Commit)));
        assert_eq!(timers.next(), None);
    }
}
