//! How far a publisher may run ahead of the groups: the embedded broker keeps some 5 MiB a partition and cuts the
//! rest in silence.

use crate::cli::publish::Counts;
use crate::runtime::Group;
use crate::telemetry::Status;

/// The groups that are waited for: their names, and what they read.
pub(crate) struct Backlog {
    groups: Vec<(String, Vec<&'static str>)>,
}

impl Backlog {
    /// Watches these groups, whose full names begin with `prefix`.
    pub(crate) fn of(groups: &[Group], prefix: &str) -> Self {
        let groups = groups.iter().map(|group| (group.full_name(prefix), group.topics()));
        Self { groups: groups.collect() }
    }

    /// Returns how many published records the slowest group has not finished.
    pub(crate) fn behind(&self, published: &Counts, status: &Status) -> u64 {
        let of = |(name, topics): &(String, Vec<&'static str>)| {
            let due: u64 = topics.iter().filter_map(|topic| published.by_topic.get(topic)).sum();
            due.saturating_sub(finished(status, name, topics))
        };
        self.groups.iter().map(of).max().unwrap_or_default()
    }

    /// Returns how many more records may be published before the slowest group must catch up.
    pub(crate) fn room(&self, published: &Counts, status: &Status) -> u64 {
        let average = published.bytes.checked_div(published.total()).unwrap_or(LARGE_RECORD).max(1);
        (WINDOW_BYTES / average).max(1).saturating_sub(self.behind(published, status))
    }
}

/// Counts what a group has finished of topics that were empty when it began: the sum of its positions.
fn finished(status: &Status, group: &str, topics: &[&str]) -> u64 {
    let Some(group) = status.groups.iter().find(|one| one.group == group) else { return 0 };
    let own = group.partitions.iter().filter(|one| topics.contains(&one.topic.as_str()));
    own.filter_map(|one| u64::try_from(one.position?).ok()).fold(0, u64::saturating_add)
}

/// What may be unfinished: a third of what the broker keeps of one partition, should all go there.
const WINDOW_BYTES: u64 = 1_600_000;

/// What a record is taken for while nothing is known.
const LARGE_RECORD: u64 = 4_096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::telemetry::{GroupStatus, PartitionStatus};

    fn backlog() -> Backlog {
        Backlog { groups: vec![("fast".to_owned(), vec!["a"]), ("slow".to_owned(), vec!["a", "b"])] }
    }

    fn published(a: u64, b: u64) -> Counts {
        Counts { by_topic: BTreeMap::from([("a", a), ("b", b)]), bytes: (a + b) * 1_000, ..Counts::default() }
    }

    fn status(slow: i64) -> Status {
        let partition = |topic: &str, position| PartitionStatus {
            topic: topic.to_owned(),
            position: Some(position),
            ..PartitionStatus::default()
        };
        let group = |name: &str, partitions| GroupStatus {
            group: name.to_owned(),
            partitions,
            ..GroupStatus::default()
        };
        let retry = partition("retry.slow", 900);
        let groups = vec![
            group("fast", vec![partition("a", 100)]),
            group("slow", vec![partition("a", slow), partition("b", 10), retry]),
        ];
        Status { groups, ..Status::default() }
    }

    #[test]
    fn the_slowest_group_counts_with_its_own_topics_alone() {
        assert_eq!(backlog().behind(&published(100, 10), &status(60)), 40);
        assert_eq!(backlog().behind(&published(100, 10), &status(100)), 0);
    }

    #[test]
    fn a_publisher_runs_ahead_by_bytes_and_stops_at_the_window() {
        assert_eq!(backlog().room(&published(100, 10), &status(60)), 1_600 - 40);
        assert_eq!(backlog().room(&published(5_000, 10), &status(60)), 0);
    }

    #[test]
    fn a_group_that_says_nothing_yet_has_finished_nothing() {
        assert_eq!(backlog().behind(&published(3, 0), &Status::default()), 3);
    }
}
