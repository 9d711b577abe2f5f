//! Reads topics once from their start to where their end is now, without a group.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use postroom_core::{Offset, Partition, Topic, TopicPartition};
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};

use crate::event::{RawBatchBuilder, RawHeader, RawParts, RawRecord};
use crate::kafka::config::{Connection, Role};
use crate::kafka::errors::{self, Verdict};
use crate::kafka::grant::{Need, Operation, lacking};
use crate::kafka::reach;
use crate::ports::EdgeError;

/// Reads the topics and gives each record to `each`, those of one partition in order, until it says `false`.
/// Topics that are not there are left out. Blocks: call it on a thread that may.
///
/// # Errors
/// Says why the cluster did not answer, or stopped answering for 30 s.
pub fn scan(
    connection: &Connection,
    topics: &[String],
    mut each: impl FnMut(&RawRecord) -> bool,
) -> Result<(), EdgeError> {
    scan_on(connection, topics, &mut ReadTo::default(), &mut each)
}

/// How far topics were read: the next offset to read, by topic and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadTo(BTreeMap<(String, i32), i64>);

impl ReadTo {
    /// Returns the next offset to read of a partition that was read from.
    pub(crate) fn next(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(&(topic.to_owned(), partition)).copied()
    }

    /// Begins at the first records of this time (milliseconds since the Unix epoch) or later, where the cluster can
    /// tell; else at the start. Blocks.
    ///
    /// # Errors
    /// Says why the cluster did not answer.
    pub fn since(connection: &Connection, topics: &[String], time: i64) -> Result<Self, EdgeError> {
        let consumer = reader(connection)?;
        let mut read_to = Self::default();
        for (topic, held) in ends(connection, &consumer, topics)? {
            let mut list = TopicPartitionList::new();
            for number in held.keys() {
                list.add_partition_offset(&topic, *number, ClientOffset::Offset(time))
                    .map_err(|error| errors::of_request(&error))?;
            }
            let Ok(found) = consumer.offsets_for_times(list, PATIENCE) else { continue };
            for element in found.elements() {
                let number = element.partition();
                let next = match element.offset() {
                    ClientOffset::Offset(next) => Some(next),
                    ClientOffset::End => held.get(&number).map(|held| held.end),
                    ClientOffset::Beginning
                    | ClientOffset::Stored
                    | ClientOffset::Invalid
                    | ClientOffset::OffsetTail(_) => None,
                };
                if let Some(next) = next {
                    read_to.0.insert((topic.clone(), number), next);
                }
            }
        }
        Ok(read_to)
    }

    /// Returns how many offsets there are to read. Blocks.
    ///
    /// # Errors
    /// Says why the cluster did not answer.
    pub fn left(&self, connection: &Connection, topics: &[String]) -> Result<u64, EdgeError> {
        let consumer = reader(connection)?;
        let mut left = 0_i64;
        for (topic, held) in ends(connection, &consumer, topics)? {
            for (number, held) in held {
                let next = self.0.get(&(topic.clone(), number)).copied().unwrap_or(held.start);
                left = left.saturating_add(held.end.saturating_sub(next.max(held.start)).max(0));
            }
        }
        Ok(u64::try_from(left).unwrap_or_default())
    }
}

/// Reads as [`scan`] does, from where an earlier call ended. A topic that was made anew is read from its start.
///
/// # Errors
/// As [`scan`]. What was given to `each` before is not given again.
pub fn scan_on(
    connection: &Connection,
    topics: &[String],
    read_to: &mut ReadTo,
    each: &mut impl FnMut(&RawRecord) -> bool,
) -> Result<(), EdgeError> {
    let consumer = reader(connection)?;
    let held = ends(connection, &consumer, topics)?;
    scan_held(connection, &consumer, held, read_to, each)
}

/// Reads as [`scan_on`] does, up to what was held.
///
/// # Errors
/// As [`scan`].
pub(crate) fn scan_held(
    connection: &Connection,
    consumer: &BaseConsumer<Reading>,
    held: Held,
    read_to: &mut ReadTo,
    each: &mut impl FnMut(&RawRecord) -> bool,
) -> Result<(), EdgeError> {
    for (topic, held) in held {
        if !scan_topic(connection, consumer, &topic, held, read_to, each)? {
            break;
        }
    }
    Ok(())
}

/// The context of a reader. The end of a partition, which the client reports as an error, is what it waits for.
pub(crate) struct Reading;

impl ClientContext for Reading {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!(%error, reason, "kafka reader error");
        }
    }
}

impl ConsumerContext for Reading {}

pub(crate) fn reader(connection: &Connection) -> Result<BaseConsumer<Reading>, EdgeError> {
    let mut config = connection.base(Role::Consumer)?;
    // Assigning needs a group's name; nothing is ever committed under it.
    config
        .set("group.id", "postroom-scan")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set("queued.max.messages.kbytes", "8192");
    config.create_with_context(Reading).map_err(|error| errors::of_request(&error))
}

/// Reads the record at an offset; `None` where there is none. Blocks.
///
/// # Errors
/// Says why the cluster did not answer.
pub fn read_at(
    connection: &Connection,
    partition: &TopicPartition,
    offset: Offset,
) -> Result<Option<RawRecord>, EdgeError> {
    let (topic, number) = (partition.topic.as_str(), partition.partition.0);
    let consumer = reader(connection)?;
    let ends = ends(connection, &consumer, &[topic.to_owned()])?;
    if ends.get(topic).and_then(|ends| ends.get(&number)).is_none_or(|held| offset.0 >= held.end) {
        return Ok(None);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number, ClientOffset::Offset(offset.0))
        .map_err(|error| errors::of_request(&error))?;
    consumer.assign(&list).map_err(|error| errors::of_request(&error))?;
    drop(list);
    let asked = Instant::now();
    while asked.elapsed() < SILENCE {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                return Ok((message.offset() == offset.0).then(|| copy(&partition.topic, &message)));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => go_on(connection, topic, &error)?,
            None => {}
        }
    }
    Err(EdgeError::Unreachable(format!("topic {topic}: the cluster stopped answering")))
}

fn scan_topic(
    connection: &Connection,
    consumer: &BaseConsumer<Reading>,
    topic: &str,
    held: BTreeMap<i32, Range<i64>>,
    read_to: &mut ReadTo,
    each: &mut impl FnMut(&RawRecord) -> bool,
) -> Result<bool, EdgeError> {
    let mut open = BTreeMap::new();
    let mut list = TopicPartitionList::new();
    for (number, held) in held {
        let next = read_to.0.entry((topic.to_owned(), number)).or_insert(held.start);
        if *next > held.end || *next < held.start {
            *next = held.start;
        }
        if *next < held.end {
            open.insert(number, held.end);
            list.add_partition_offset(topic, number, ClientOffset::Offset(*next))
                .map_err(|error| errors::of_request(&error))?;
        }
    }
    if open.is_empty() {
        return Ok(true);
    }
    consumer.assign(&list).map_err(|error| errors::of_request(&error))?;
    drop(list);
    let topic_name = Topic::new(topic);
    let mut heard = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let Some(end) = open.get(&message.partition()).copied() else { continue };
                if message.topic() != topic {
                    continue;
                }
                if message.offset() < end {
                    let next = message.offset().saturating_add(1);
                    read_to.0.insert((topic.to_owned(), message.partition()), next);
                    if !each(&copy(&topic_name, &message)) {
                        return Ok(false);
                    }
                }
                if message.offset().saturating_add(1) >= end {
                    open.remove(&message.partition());
                }
            }
            // The end may lie behind markers of transactions, which are no records.
            Some(Err(KafkaError::PartitionEOF(number))) => {
                heard = Instant::now();
                if let Some(end) = open.remove(&number) {
                    read_to.0.insert((topic.to_owned(), number), end);
                }
            }
            Some(Err(error)) => go_on(connection, topic, &error)?,
            None => {}
        }
        if heard.elapsed() > SILENCE {
            return Err(EdgeError::Unreachable(format!("topic {topic}: the cluster stopped answering")));
        }
    }
    Ok(true)
}

/// Says whether reading a topic goes on after an error of a poll.
///
/// # Errors
/// Why it does not.
pub(crate) fn go_on(connection: &Connection, topic: &str, error: &KafkaError) -> Result<(), EdgeError> {
    // Nothing is asked of the group, so its rights do not matter.
    if matches!(error, KafkaError::MessageConsumption(RDKafkaErrorCode::GroupAuthorizationFailed)) {
        return Ok(());
    }
    match errors::of_poll(error) {
        Verdict::Stop(EdgeError::NotAuthorised(_)) => {
            Err(reach::obstacle(connection).unwrap_or_else(|| may_not_read(connection, topic)))
        }
        Verdict::Stop(error) => Err(error),
        Verdict::Wait | Verdict::Rejoin | Verdict::Stall => Ok(()),
    }
}

/// Returns the numbers of a topic's partitions; none where it is not there.
///
/// # Errors
/// Why the cluster does not tell.
pub(crate) fn partitions(
    connection: &Connection,
    consumer: &BaseConsumer<Reading>,
    topic: &str,
) -> Result<Vec<i32>, EdgeError> {
    let metadata =
        reach::ask(connection, PATIENCE, |patience| consumer.fetch_metadata(Some(topic), patience))?;
    let mut numbers = Vec::new();
    for found in metadata.topics().iter().filter(|found| found.name() == topic) {
        if found.error().map(RDKafkaErrorCode::from) == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
            return Err(may_not_read(connection, topic));
        }
        numbers.extend(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id));
    }
    Ok(numbers)
}

fn may_not_read(connection: &Connection, topic: &str) -> EdgeError {
    EdgeError::NotAuthorised(lacking(&[Need::topic(Operation::Read, topic)], connection))
}

/// What the partitions of topics hold that hold something, by topic and number.
pub(crate) type Held = BTreeMap<String, BTreeMap<i32, Range<i64>>>;

/// Asks what partitions hold: of all topics together, so that many partitions cost hardly more time than one.
pub(crate) fn ends(
    connection: &Connection,
    consumer: &BaseConsumer<Reading>,
    topics: &[String],
) -> Result<Held, EdgeError> {
    let mut there = Vec::new();
    for topic in topics {
        there.extend(
            partitions(connection, consumer, topic)?.into_iter().map(|number| (topic.as_str(), number)),
        );
    }
    if there.is_empty() {
        return Ok(Held::new());
    }
    let ask = |which| offsets(consumer, &there, which).map_err(|error| errors::of_request(&error));
    let starts = ask(ClientOffset::Beginning)?;
    let mut held = Held::new();
    for ((topic, number), end) in ask(ClientOffset::End)? {
        let start = starts.get(&(topic.clone(), number)).copied().filter(|start| *start < end);
        if let Some(start) = start {
            held.entry(topic).or_default().insert(number, start..end);
        }
    }
    Ok(held)
}

/// Asks each leader once for the first or last offsets of all of its partitions.
fn offsets(
    consumer: &BaseConsumer<Reading>,
    partitions: &[(&str, i32)],
    which: ClientOffset,
) -> Result<BTreeMap<(String, i32), i64>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, number) in partitions {
        list.add_partition_offset(topic, *number, which)?;
    }
    let mut offsets = BTreeMap::new();
    for element in consumer.offsets_for_times(list, PATIENCE)?.elements() {
        element.error()?;
        if let ClientOffset::Offset(offset) = element.offset() {
            offsets.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    Ok(offsets)
}

pub(crate) fn copy(topic: &Topic, message: &BorrowedMessage<'_>) -> RawRecord {
    let partition = TopicPartition::new(topic.clone(), Partition(message.partition()));
    let mut batch = RawBatchBuilder::new(partition);
    let parts = RawParts {
        offset: Offset(message.offset()),
        timestamp: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
    };
    batch.push(parts, readable_headers(message));
    batch.finish().remove(0)
}

/// Reads headers; one whose name is not UTF-8 comes without name and value (the library panics on it).
fn readable_headers<'a>(message: &'a BorrowedMessage<'_>) -> impl Iterator<Item = RawHeader<'a>> {
    let headers = message.headers();
    let count = headers.map_or(0, Headers::count);
    (0..count).filter_map(move |index| {
        let header = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| headers?.try_get(index)));
        match header {
            Ok(header) => header.map(|header| RawHeader { name: header.key, value: header.value }),
            Err(_) => Some(RawHeader { name: "", value: None }),
        }
    })
}

const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);
