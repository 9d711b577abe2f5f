//! What the logs of a group's partitions hold, looked up now and then for lag.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postroom_core::TopicPartition;

use crate::ports::{Edge, EdgeError, LogRange};

/// The ranges as of the last look.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    ranges: Mutex<BTreeMap<TopicPartition, Option<LogRange>>>,
    counts: Mutex<BTreeMap<String, usize>>,
    /// Looks that found no broker, one after the other.
    unanswered: AtomicU32,
}

impl Logs {
    /// Adds a partition to those that are looked up.
    pub(crate) fn watch(&self, partition: TopicPartition) {
        self.lock().entry(partition).or_insert(None);
    }

    pub(crate) fn forget(&self, partition: &TopicPartition) {
        self.lock().remove(partition);
    }

    pub(crate) fn range(&self, partition: &TopicPartition) -> Option<LogRange> {
        self.lock().get(partition).copied().flatten()
    }

    /// Says whether no broker has answered for the last few looks.
    pub(crate) fn brokers_are_away(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= AWAY_AFTER
    }

    /// How many partitions each topic has on the cluster.
    pub(crate) fn topic_partitions(&self) -> Vec<(String, usize)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(topic, count)| (topic.clone(), *count)).collect()
    }

    /// Looks them up every `interval` until it is dropped, and how many partitions `topics` have.
    pub(crate) async fn keep_fresh(
        self: Arc<Self>,
        edge: Arc<dyn Edge>,
        topics: Vec<String>,
        interval: Duration,
    ) {
        loop {
            for topic in &topics {
                if let Ok(count) = edge.partition_count(topic).await {
                    let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
                    counts.insert(topic.clone(), count);
                }
            }
            let watched: Vec<_> = self.lock().keys().cloned().collect();
            for partition in watched {
                match edge.log_range(&partition).await {
                    Ok(range) => {
                        self.unanswered.store(0, Ordering::Relaxed);
                        if let Some(known) = self.lock().get_mut(&partition) {
                            *known = Some(range);
                        }
                    }
                    // The last look is left standing, and the others would wait as long for nothing.
                    Err(EdgeError::Unreachable(_)) => {
                        self.unanswered.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Err(_) => {}
                }
            }
            tokio::time::sleep(interval).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Option<LogRange>>> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many looks in a row must find no broker: a leader that moves is no outage.
const AWAY_AFTER: u32 = 2;
