//! Keeps one place in the code from flooding the log: so many lines a second, then a count.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What repeats: a place in the code, and the partition it speaks of, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Site {
    pub(crate) callsite: u64,
    pub(crate) partition: u64,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// Write it.
    Write,
    /// Only count it.
    LeaveOut,
}

/// Lines that were left out within a second that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) target: &'static str,
    pub(crate) count: u64,
}

/// Counts the lines of each site in tumbling seconds.
pub(crate) struct Repeats {
    limit: u32,
    windows: HashMap<Site, Window>,
}

struct Window {
    began: Instant,
    written: u32,
    left_out: u64,
    target: &'static str,
}

impl Repeats {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, windows: HashMap::new() }
    }

    /// Rules on a line of `site`, which belongs to `target`.
    pub(crate) fn rule(&mut self, now: Instant, site: Site, target: &'static str) -> Ruling {
        let fresh = Window { began: now, written: 0, left_out: 0, target };
        let window = self.windows.entry(site).or_insert(fresh);
        if window.written < self.limit {
            window.written = window.written.saturating_add(1);
            return Ruling::Write;
        }
        window.left_out = window.left_out.saturating_add(1);
        Ruling::LeaveOut
    }

    /// Ends the seconds that are over, and returns what was left out in them.
    pub(crate) fn end(&mut self, now: Instant) -> Vec<LeftOut> {
        self.end_where(|window| now.duration_since(window.began) >= SECOND)
    }

    /// Ends all, at the end of the process.
    pub(crate) fn end_all(&mut self) -> Vec<LeftOut> {
        self.end_where(|_window| true)
    }

    fn end_where(&mut self, over: impl Fn(&Window) -> bool) -> Vec<LeftOut> {
        let mut told = Vec::new();
        self.windows.retain(|_site, window| {
            let over = over(window);
            if over && window.left_out > 0 {
                told.push(LeftOut { target: window.target, count: window.left_out });
            }
            !over
        });
        told
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Site = Site { callsite: 1, partition: 1 };

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_when_the_second_is_over() {
        let mut repeats = Repeats::new(2);
        let start = Instant::now();

        let rulings: Vec<_> = (0..5).map(|_| repeats.rule(start, HERE, "failed")).collect();

        assert_eq!(rulings.iter().filter(|ruling| **ruling == Ruling::Write).count(), 2);
        assert_eq!(repeats.end(start), []);
        assert_eq!(repeats.end(start + SECOND), [LeftOut { target: "failed", count: 3 }]);
        assert_eq!(repeats.rule(start + SECOND, HERE, "failed"), Ruling::Write);
    }

    #[test]
    fn other_partitions_are_not_silenced() {
        let mut repeats = Repeats::new(1);
        let start = Instant::now();
        repeats.rule(start, HERE, "failed");

        assert_eq!(repeats.rule(start, HERE, "failed"), Ruling::LeaveOut);
        assert_eq!(repeats.rule(start, Site { partition: 2, ..HERE }, "failed"), Ruling::Write);
    }
}
