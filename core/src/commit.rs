//! When a partition's progress is committed, and that it never goes back.

use crate::offsets::Offsets;
use crate::record::{Offset, OffsetRange};

/// What was said to the broker about one assignment.
#[derive(Debug)]
pub(crate) struct Commits {
    /// The highest offset that was ever named: Kafka's commit at first.
    named: Option<Offset>,
    /// The highest that a commit of ours named.
    ours: Option<Offset>,
    acknowledged: Option<Offset>,
    changed: bool,
    unanswered: bool,
}

impl Commits {
    /// Begins with Kafka's commit, if there is one.
    pub(crate) fn new(start: Option<Offset>) -> Self {
        Self { named: start, ours: None, acknowledged: start, changed: false, unanswered: false }
    }

    /// Takes note that something finished.
    pub(crate) fn changed(&mut self) {
        self.changed = true;
    }

    /// Says whether something finished since the last commit.
    pub(crate) fn has_news(&self) -> bool {
        self.changed
    }

    /// Says whether the broker may lack something.
    pub(crate) fn is_unsure(&self) -> bool {
        self.changed || self.unanswered
    }

    /// Forgets what is not committed yet: it is not ours to say.
    pub(crate) fn forget(&mut self) {
        self.changed = false;
        self.unanswered = false;
    }

    /// Returns what to commit now; nothing where that would be a step back.
    pub(crate) fn commit(&mut self, offsets: &Offsets) -> Option<(Offset, Vec<OffsetRange>)> {
        self.changed = false;
        let next = offsets.watermark()?;
        if self.named.is_some_and(|named| next < named) {
            return None;
        }
        self.named = Some(next);
        self.ours = Some(next);
        self.unanswered = true;
        Some((next, offsets.finished()))
    }

    /// Takes note that the broker took a commit.
    pub(crate) fn acknowledged(&mut self, next: Offset) {
        self.acknowledged = self.acknowledged.max(Some(next));
        if self.named == Some(next) {
            self.unanswered = false;
        }
    }

    /// Takes note that the broker did not take a commit.
    pub(crate) fn failed(&mut self) {
        self.changed = true;
    }

    /// Returns the highest offset that was named.
    pub(crate) fn named(&self) -> Option<Offset> {
        self.named
    }

    /// Returns the highest offset that a commit of this assignment named.
    #[cfg(any(test, debug_assertions, feature = "simulation"))]
    pub(crate) fn named_by_us(&self) -> Option<Offset> {
        self.ours
    }

    /// Returns the highest offset that the broker acknowledged.
    pub(crate) fn committed(&self) -> Option<Offset> {
        self.acknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(from: i64, count: i64) -> Offsets {
        let mut offsets = Offsets::new(Some(Offset(from)), Vec::new());
        for offset in from..from + count {
            offsets.arrive(Offset(offset));
        }
        offsets
    }

    #[test]
    fn nothing_is_committed_where_nothing_is_known() {
        let mut commits = Commits::new(None);

        assert_eq!(commits.commit(&Offsets::new(None, Vec::new())), None);
    }

    #[test]
    fn a_position_below_kafkas_commit_is_not_committed() {
        let mut commits = Commits::new(Some(Offset(12)));
        let mut offsets = offsets(10, 4);
        assert_eq!(commits.commit(&offsets), None);

        offsets.raise(Offset(12));
        assert_eq!(commits.commit(&offsets), Some((Offset(12), Vec::new())));
    }

    #[test]
    fn a_commit_is_unsure_until_it_is_acknowledged() {
        let mut commits = Commits::new(Some(Offset(10)));
        assert!(!commits.is_unsure());
        commits.changed();
        assert!(commits.commit(&offsets(10, 4)).is_some());
        assert!(commits.is_unsure() && !commits.has_news());

        commits.failed();
        assert!(commits.has_news());
        assert!(commits.commit(&offsets(10, 4)).is_some());
        commits.acknowledged(Offset(10));
        assert!(!commits.is_unsure());
        assert_eq!(commits.committed(), Some(Offset(10)));
    }
}
