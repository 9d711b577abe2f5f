//! What a group says of its partitions, once in a while, from the processor's snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postroom_core::{Failure, Generation, Moment, Offset, PartitionSnapshot, Snapshot, Ticket};

use crate::event::RawRecord;
use crate::runtime::age::WallClock;
use crate::runtime::logs::Logs;
use crate::runtime::observe::word;
use crate::telemetry::{Head, PartitionReport};

/// What a snapshot does not say: since when a position stands still, and why its head failed.
pub(crate) struct Reporter {
    logs: Arc<Logs>,
    failing: BTreeMap<Ticket, String>,
    still_since: BTreeMap<Generation, (Option<Offset>, Moment)>,
}

/// How many errors are kept: heads beyond them are reported without one.
const FAILING_KEPT: usize = 4_096;

impl Reporter {
    pub(crate) fn new(logs: Arc<Logs>) -> Self {
        Self { logs, failing: BTreeMap::new(), still_since: BTreeMap::new() }
    }

    /// Keeps why a record waits.
    pub(crate) fn failed(&mut self, ticket: Ticket, cause: &Failure) {
        if self.failing.len() < FAILING_KEPT || self.failing.contains_key(&ticket) {
            self.failing.insert(ticket, cause.to_string());
        }
    }

    /// Reports on all partitions, and forgets what is over.
    pub(crate) fn partitions(&mut self, now: Moment, snapshot: &Snapshot<RawRecord>) -> Vec<PartitionReport> {
        let generations: BTreeSet<_> = snapshot.partitions.iter().map(|part| part.generation).collect();
        self.still_since.retain(|generation, _| generations.contains(generation));
        self.failing.retain(|ticket, _| {
            snapshot.partitions.iter().any(|part| {
                part.generation == ticket.generation
                    && part.watermark.is_none_or(|watermark| watermark <= ticket.offset)
            })
        });
        snapshot.partitions.iter().map(|part| self.partition(now, part)).collect()
    }

    fn partition(&mut self, now: Moment, part: &PartitionSnapshot<RawRecord>) -> PartitionReport {
        let still = self.still_since.entry(part.generation).or_insert((part.watermark, now));
        if still.0 != part.watermark || part.unfinished == 0 {
            *still = (part.watermark, now);
        }
        let blocked_seconds = now.since(still.1).as_secs_f64();
        let head = part.head.as_ref().and_then(|(offset, _, attempt, retry_at)| {
            let error = self.failing.get(&Ticket { generation: part.generation, offset: *offset })?;
            Some(Head {
                offset: offset.0,
                attempt: attempt.0.saturating_sub(1),
                next_in: retry_at.map(|at| at.since(now).as_secs_f64()),
                error: error.clone(),
            })
        });
        let oldest = part.head.as_ref().and_then(|(_, record, ..)| record.timestamp());
        PartitionReport {
            topic: part.partition.topic.to_string(),
            partition: part.partition.partition.0,
            committed: part.committed.map(|offset| offset.0),
            position: part.watermark.map(|offset| offset.0),
            end: self.logs.range(&part.partition).map(|range| range.end.0),
            lag_seconds: oldest.map_or(0.0, |time| WallClock::now().since(time).as_secs_f64()),
            blocked_seconds,
            unfinished: part.unfinished,
            unfinished_bytes: part.unfinished_bytes,
            paused: part.paused.map(|cause| word(cause).to_owned()),
            head,
        }
    }
}
