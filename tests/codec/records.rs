//! Records for the codec's tests, made without Kafka.

use postroom::codec::Outgoing;
use postroom::event::RawRecord;

use crate::manifest::record;

/// The record as it would be polled.
pub(crate) fn polled(outgoing: &Outgoing) -> RawRecord {
    let headers: Vec<(&str, Option<&[u8]>)> =
        outgoing.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    record(outgoing.key.as_deref(), outgoing.value.as_deref(), outgoing.timestamp, &headers)
}
