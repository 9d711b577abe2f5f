//! Reads one topic from a place on, without a group, to its end or as long as somebody listens.

use std::collections::BTreeMap;
use std::time::Duration;

use postroom_core::Topic;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};

use crate::event::RawRecord;
use crate::kafka::config::Connection;
use crate::kafka::errors;
use crate::kafka::scan::{Reading, copy, go_on, partitions, reader};
use crate::ports::EdgeError;

/// Where to begin, in every partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At what is written from now on.
    End,
    /// So many records before the end; ends where the end is now.
    Last(i64),
    /// At this offset, or at the first that is still there.
    Offset(i64),
    /// At the first record.
    Start,
    /// At the first record of this time or later, in milliseconds since the Unix epoch.
    Time(i64),
}

/// Reads a topic and gives each record to `each` until it says `false`; [`ReadFrom::Last`] ends by itself. Records of
/// one partition come in order. Blocks: call it on a thread that may.
///
/// # Errors
/// There is no such topic, or the cluster does not answer.
pub fn follow(
    connection: &Connection,
    topic: &str,
    from: ReadFrom,
    mut each: impl FnMut(&RawRecord) -> bool,
) -> Result<(), EdgeError> {
    let consumer = reader(connection)?;
    let mut open = assign(connection, &consumer, topic, from)?;
    let name = Topic::new(topic);
    let is_bounded = matches!(from, ReadFrom::Last(_));
    while !(is_bounded && open.is_empty()) {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                if !each(&copy(&name, &message)) {
                    return Ok(());
                }
                let partition = message.partition();
                if open.get(&partition).is_some_and(|end| message.offset().saturating_add(1) >= *end) {
                    open.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => go_on(connection, topic, &error)?,
            None => {}
        }
    }
    Ok(())
}

/// Assigns all partitions and returns the ends of those that hold something.
fn assign(
    connection: &Connection,
    consumer: &BaseConsumer<Reading>,
    topic: &str,
    from: ReadFrom,
) -> Result<BTreeMap<i32, i64>, EdgeError> {
    let of_request = |error: KafkaError| errors::of_request(&error);
    let partitions = partitions(connection, consumer, topic)?;
    if partitions.is_empty() {
        return Err(EdgeError::NoSuchTopic {
            topic: topic.to_owned(),
            fix: "see `postroom topics plan`".to_owned(),
        });
    }
    let mut ends = BTreeMap::new();
    let mut list = TopicPartitionList::new();
    for number in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, number, PATIENCE).map_err(of_request)?;
        let begin = match from {
            ReadFrom::End => high,
            ReadFrom::Last(count) => high.saturating_sub(count).max(low),
            ReadFrom::Offset(offset) => offset.clamp(low, high),
            ReadFrom::Start => low,
            ReadFrom::Time(time) => time,
        };
        if begin < high {
            ends.insert(number, high);
        }
        list.add_partition_offset(topic, number, ClientOffset::Offset(begin)).map_err(of_request)?;
    }
    if matches!(from, ReadFrom::Time(_)) {
        list = consumer.offsets_for_times(list, PATIENCE).map_err(of_request)?;
    }
    consumer.assign(&list).map_err(of_request)?;
    Ok(ends)
}

const PATIENCE: Duration = Duration::from_secs(10);
