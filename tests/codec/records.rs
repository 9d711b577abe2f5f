//! Records for the codec's tests, made without Kafka.

use postroom::codec::Outgoing;
use postroom::event::{RawBatchBuilder, RawHeader, RawParts, RawRecord};
use postroom_core::{Offset, Partition, Topic, TopicPartition};

/// The record as it would be polled.
pub(crate) fn polled(outgoing: &Outgoing) -> RawRecord {
    let headers: Vec<(&str, Option<&[u8]>)> =
        outgoing.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    record(outgoing.key.as_deref(), outgoing.value.as_deref(), outgoing.timestamp, &headers)
}

/// A record of partition 3 at offset 42 of `blog.posts`.
pub(crate) fn record(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    timestamp: Option<i64>,
    headers: &[(&str, Option<&[u8]>)],
) -> RawRecord {
    let mut batch = RawBatchBuilder::new(TopicPartition::new(Topic::new("blog.posts"), Partition(3)));
    let headers = headers.iter().map(|(name, value)| RawHeader { name, value: *value });
    batch.push(RawParts { offset: Offset(42), timestamp, key, value }, headers);
    batch.finish().remove(0)
}
