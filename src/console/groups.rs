//! The groups as the page shows them.

use serde::Serialize;

use crate::console::words::{Tone, grouped, of_group};
use crate::telemetry::{GroupStatus, Status};

/// One group.
#[derive(Serialize)]
pub(crate) struct GroupView {
    name: String,
    handler: String,
    tone: Tone,
    words: String,
    /// Positions and ends, summed over the partitions.
    done: i64,
    end: i64,
    behind: i64,
    behind_words: String,
    finished: String,
    waiting: usize,
    dead: u64,
    dead_words: String,
    partitions: Vec<PartitionView>,
}

/// One partition of a group.
#[derive(Serialize)]
struct PartitionView {
    name: String,
    position: String,
    end: String,
    behind: i64,
    words: String,
}

/// Turns a status into what is shown.
pub(crate) fn view(status: &Status) -> Vec<GroupView> {
    status.groups.iter().map(group).collect()
}

fn group(group: &GroupStatus) -> GroupView {
    let (tone, words) = of_group(group);
    let sum = |of: fn(&crate::telemetry::PartitionStatus) -> Option<i64>| {
        group.partitions.iter().filter_map(of).fold(0_i64, i64::saturating_add)
    };
    let end = sum(|one| one.end);
    let behind = group.lag();
    let dead = group.totals.dead_letters.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    GroupView {
        name: group.group.clone(),
        handler: group.handler.clone(),
        tone,
        words,
        done: end.saturating_sub(behind).max(0),
        end,
        behind,
        behind_words: grouped(behind),
        finished: grouped(signed(group.totals.finished())),
        waiting: group.retries_waiting,
        dead,
        dead_words: grouped(signed(dead)),
        partitions: group.partitions.iter().map(partition).collect(),
    }
}

fn partition(one: &crate::telemetry::PartitionStatus) -> PartitionView {
    let number = |value: Option<i64>| value.map_or_else(|| "–".to_owned(), grouped);
    PartitionView {
        name: format!("{}/{}", one.topic, one.partition),
        position: number(one.position),
        end: number(one.end),
        behind: one.lag.unwrap_or_default(),
        words: one.summary.clone(),
    }
}

pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
