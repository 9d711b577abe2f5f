//! One record of a dead-letter topic, read.

use crate::dead_letters::cause::whole_id;
use crate::dead_letters::dialect::{self, Dialect};
use crate::event::RawRecord;
use crate::kafka::PREFIX;

/// One dead letter: the newest copy of its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `group/topic/partition/offset` of its origin: the same for every copy.
    pub id: String,
    /// The consumer group that gave it up.
    pub group: String,
    /// The event's type, where the headers name it.
    pub event_type: Option<String>,
    /// The event's id, where the headers name it.
    pub event_id: Option<String>,
    /// The handler, where the headers name one.
    pub handler: Option<String>,
    /// Where the record first came from.
    pub origin: Origin,
    /// Why: one of our reasons, or another program's error type.
    pub reason: String,
    /// The detail beneath the reason.
    pub detail: Option<String>,
    /// What happened, in a sentence.
    pub message: Option<String>,
    /// The whole id of its [`Cause`](crate::dead_letters::Cause).
    pub cause: String,
    /// How many attempts were made.
    pub attempts: Option<u32>,
    /// How often it was replayed.
    pub replays: u32,
    /// When it first failed, as RFC 3339.
    pub first_failed_at: Option<String>,
    /// When it last failed, as RFC 3339.
    pub failed_at: Option<String>,
    /// The schema that its frame names.
    pub schema_id: Option<String>,
    /// Whose headers it carries.
    pub dialect: Dialect,
    /// Whether its value was left out because it is too large.
    pub by_reference: bool,
    /// Where this copy stands in the dead-letter topic.
    pub place: Place,
    /// What became of it.
    pub state: State,
    /// How many copies of the id were read.
    pub copies: u32,
}

/// Where a record first came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since the Unix epoch, where known.
    pub timestamp: Option<i64>,
}

/// Where a dead letter stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The dead-letter topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What became of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    Open,
    /// It was sent to its group again, and has not failed since.
    Replayed {
        /// When, as RFC 3339.
        at: String,
        /// By whom.
        by: String,
    },
    /// Somebody decided that it needs nothing.
    Discarded {
        /// When, as RFC 3339.
        at: String,
        /// By whom.
        by: String,
        /// Why; empty where nobody said.
        why: String,
    },
}

/// A record of a dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A dead letter.
    Letter(Box<Entry>),
    /// A marker: what became of an id after so many replays.
    Marker { id: String, state: State, replays: u32 },
}

/// Reads a record of a dead-letter topic. Whatever is not ours and of no known dialect is a letter that came
/// from where it stands.
pub(crate) fn read(record: &RawRecord) -> Reading {
    let text = |name: &str| {
        record.header(&format!("{PREFIX}{name}")).map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let replays = text("replays").and_then(|text| text.parse().ok()).unwrap_or(0);
    let place = Place {
        topic: record.partition().topic.as_str().to_owned(),
        partition: record.partition().partition.0,
        offset: record.offset().0,
    };
    if let (Some(id), Some(state)) = (text("id"), text("state")) {
        let at = text("state-at").unwrap_or_default();
        let by = text("state-by").unwrap_or_default();
        let why = text("state-why").unwrap_or_default();
        let state =
            if state == DISCARDED { State::Discarded { at, by, why } } else { State::Replayed { at, by } };
        return Reading::Marker { id, state, replays };
    }
    let ours = text("topic").and_then(|topic| {
        Some(Origin {
            topic,
            partition: text("partition")?.parse().ok()?,
            offset: text("offset")?.parse().ok()?,
            timestamp: text("timestamp").and_then(|text| text.parse().ok()).or_else(|| record.timestamp()),
        })
    });
    let (dialect, foreign) = match &ours {
        Some(_) => (Dialect::Postroom, dialect::Foreign::default()),
        None => dialect::read(record),
    };
    let origin = ours.or(foreign.origin).unwrap_or_else(|| Origin {
        topic: place.topic.clone(),
        partition: place.partition,
        offset: place.offset,
        timestamp: record.timestamp(),
    });
    let group = text("group").or(foreign.group).unwrap_or_default();
    let id = text("id")
        .unwrap_or_else(|| format!("{group}/{}/{}/{}", origin.topic, origin.partition, origin.offset));
    let reason = text("reason").or(foreign.error).unwrap_or_else(|| "unknown".to_owned());
    let detail = text("detail");
    let message = text("message").or(foreign.message);
    Reading::Letter(Box::new(Entry {
        id,
        cause: whole_id(&group, &reason, detail.as_deref(), message.as_deref()),
        group,
        event_type: record.header("ce_type").and_then(|name| String::from_utf8(name.to_vec()).ok()),
        event_id: record.header("ce_id").and_then(|id| String::from_utf8(id.to_vec()).ok()),
        handler: text("handler"),
        origin,
        reason,
        detail,
        message,
        attempts: text("attempts").and_then(|text| text.parse().ok()).or(foreign.attempts),
        replays,
        first_failed_at: text("first-failed-at"),
        failed_at: text("failed-at"),
        schema_id: text("schema-id"),
        dialect,
        by_reference: record.value().is_none() && text("size").is_some(),
        place,
        state: State::Open,
        copies: 1,
    }))
}

/// The state of a letter that was sent to its group again.
pub(crate) const REPLAYED: &str = "replayed";
/// The state of a letter that needs nothing.
pub(crate) const DISCARDED: &str = "discarded";

#[cfg(test)]
pub(crate) mod tests {
    use postroom_core::{Offset, Partition, Topic, TopicPartition};

    use super::*;
    use crate::event::{RawBatchBuilder, RawHeader, RawParts};

    pub(crate) fn record(headers: &[(&str, Option<&[u8]>)], offset: i64) -> RawRecord {
        let partition = TopicPartition::new(Topic::new("dlq.g.posts"), Partition(1));
        let mut batch = RawBatchBuilder::new(partition);
        let parts =
            RawParts { offset: Offset(offset), timestamp: Some(7), key: Some(b"k"), value: Some(b"v") };
        batch.push(parts, headers.iter().map(|(name, value)| RawHeader { name, value: *value }));
        batch.finish().remove(0)
    }

    #[test]
    fn a_record_of_nobody_comes_from_where_it_stands() {
        let Reading::Letter(entry) = read(&record(&[], 5)) else { unreachable!() };

        assert_eq!(entry.dialect, Dialect::Unknown);
        assert_eq!(entry.id, "/dlq.g.posts/1/5");
        assert_eq!(entry.reason, "unknown");
    }

    #[test]
    fn our_headers_are_read_from_behind() {
        let headers: &[(&str, Option<&[u8]>)] = &[
            ("postroom-dlq-topic", Some(b"of another system")),
            ("postroom-dlq-id", Some(b"g/posts/1/9")),
            ("postroom-dlq-group", Some(b"g")),
            ("postroom-dlq-topic", Some(b"posts")),
            ("postroom-dlq-partition", Some(b"1")),
            ("postroom-dlq-offset", Some(b"9")),
            ("postroom-dlq-reason", Some(b"invalid")),
            ("postroom-dlq-attempts", Some(b"8")),
        ];

        let Reading::Letter(entry) = read(&record(headers, 5)) else { unreachable!() };

        assert_eq!(entry.dialect, Dialect::Postroom);
        assert_eq!((entry.origin.topic.as_str(), entry.origin.offset), ("posts", 9));
        assert_eq!((entry.reason.as_str(), entry.attempts), ("invalid", Some(8)));
    }
}
