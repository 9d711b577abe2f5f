//! Where groups stand: their commits and the ends of the logs.

#![expect(clippy::wildcard_enum_match_arm, reason = "the client library's enums are not exhaustive")]

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postroom_core::{Offset, Partition, Topic, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList, TopicPartitionListElem};

use crate::kafka::admin::blocking;
use crate::kafka::config::{Connection, Role};
use crate::kafka::errors;
use crate::kafka::grant::{Need, Operation, lacking};
use crate::kafka::metadata::{self, Reading};
use crate::ports::{CommittedPosition, EdgeError, LogRange};

/// Where a group stands in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPosition {
    /// The partition.
    pub partition: TopicPartition,
    /// The group's commit, if there is one.
    pub committed: Option<CommittedPosition>,
    /// What the log holds.
    pub log: LogRange,
}

impl GroupPosition {
    /// Returns how many offsets lie between the commit (or the log's start) and the log's end, those that are
    /// finished already left out.
    pub fn lag(&self) -> i64 {
        let next = self.committed.as_ref().map_or(self.log.start, |committed| committed.next);
        let finished: i64 = self
            .committed
            .iter()
            .flat_map(|committed| &committed.finished)
            .map(|range| range.to.0.min(self.log.end.0).saturating_sub(range.from.0).max(0))
            .sum();
        self.log.end.0.saturating_sub(next.0.max(self.log.start.0)).saturating_sub(finished).max(0)
    }
}

/// Asks where groups stand, without being a member. Each group has a client of its own, which is kept: asked again and
/// again, it costs no new connections. After a failure, and every ten minutes, it is made anew. Its calls must be made
/// within a tokio runtime.
pub struct GroupPositions {
    connection: Connection,
    clients: Arc<Mutex<Clients>>,
}

type Clients = BTreeMap<String, (Instant, Arc<BaseConsumer>)>;

impl fmt::Debug for GroupPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupPositions").field("brokers", &self.connection.brokers).finish_non_exhaustive()
    }
}

impl GroupPositions {
    /// Asks nothing yet.
    pub fn new(connection: Connection) -> Self {
        Self { connection, clients: Arc::default() }
    }

    /// Returns where a group stands in topics that are there.
    ///
    /// # Errors
    /// Says why the cluster did not answer.
    pub async fn of(&self, group: &str, topics: &[String]) -> Result<Vec<GroupPosition>, EdgeError> {
        let (connection, clients) = (self.connection.clone(), Arc::clone(&self.clients));
        let (name, topics) = (group.to_owned(), topics.to_vec());
        let found = blocking(move || {
            let client = client(&connection, &clients, &name)?;
            let found = positions(&client, &topics).map_err(|error| errors::of_request(&error));
            if found.is_err() {
                lock(&clients).remove(&name);
            }
            found
        });
        let brokers = &self.connection.brokers;
        found.await.map_err(|error| match errors::explain(error, |reason| format!("{brokers}: {reason}")) {
            EdgeError::NotAuthorised(_) => {
                let needs = [Need::group(Operation::Describe, group)];
                EdgeError::NotAuthorised(lacking(&needs, &self.connection))
            }
            error => error,
        })
    }
}

/// Returns the group's client, a new one where there is none or it is old.
fn client(
    connection: &Connection,
    clients: &Mutex<Clients>,
    group: &str,
) -> Result<Arc<BaseConsumer>, EdgeError> {
    let kept = lock(clients).get(group).cloned();
    if let Some((_, client)) = kept.filter(|(made, _)| made.elapsed() < KEPT_FOR) {
        return Ok(client);
    }
    let mut config = connection.base(Role::Consumer)?;
    config.set("group.id", group).set("enable.auto.commit", "false");
    let client: Arc<BaseConsumer> = Arc::new(config.create().map_err(|error| errors::of_request(&error))?);
    let old = lock(clients).insert(group.to_owned(), (Instant::now(), Arc::clone(&client)));
    // Here, where one may wait for its end.
    drop(old);
    Ok(client)
}

fn lock(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

fn positions(consumer: &BaseConsumer, topics: &[String]) -> Result<Vec<GroupPosition>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
        for found in metadata.topics().iter().filter(|found| found.name() == topic) {
            for partition in found.partitions() {
                list.add_partition(topic, partition.id());
            }
        }
    }
    if list.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = consumer.committed_offsets(list, PATIENCE)?;
    let mut positions = Vec::new();
    for element in &committed.elements() {
        let (topic, number) = (element.topic(), element.partition());
        let (low, high) = consumer.fetch_watermarks(topic, number, PATIENCE)?;
        let committed = match element.offset() {
            ClientOffset::Offset(next) => Some(read_commit(Offset(next), element)),
            _ => None,
        };
        positions.push(GroupPosition {
            partition: TopicPartition::new(Topic::new(topic), Partition(number)),
            committed,
            log: LogRange { start: Offset(low), end: Offset(high) },
        });
    }
    Ok(positions)
}

fn read_commit(next: Offset, element: &TopicPartitionListElem<'_>) -> CommittedPosition {
    // The library panics on metadata that is not UTF-8.
    let text = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()));
    let hint = match text.map(|text| metadata::decode(next, &text)) {
        Ok(Reading::Ours(hint)) => hint,
        Ok(Reading::Empty | Reading::Foreign) | Err(_) => metadata::Hint::default(),
    };
    CommittedPosition { next, finished: hint.finished, store: hint.store }
}

/// Long enough to save connections, and short enough that what the client notes unasked does not pile up.
const KEPT_FOR: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(10);
