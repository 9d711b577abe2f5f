//! Where a dead letter goes, and what it says about itself.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use postroom_core::{DeadLetter, Reason};

use crate::event::{RawHeader, RawRecord};

/// Where one group's dead letters go, and who sends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRoute {
    /// The consumer group.
    pub group: String,
    /// The handler's name.
    pub handler: String,
    /// How the topic is named: `{group}` and `{topic}` are filled in. Default `dlq.{group}.{topic}`.
    pub template: String,
}

impl DeadLetterRoute {
    /// Makes the route of a group with the default names.
    pub fn new(group: impl Into<String>, handler: impl Into<String>) -> Self {
        Self { group: group.into(), handler: handler.into(), template: DEFAULT_TEMPLATE.to_owned() }
    }

    /// Returns the dead-letter topic of a source topic.
    pub fn topic(&self, source: &str) -> String {
        self.template.replace("{group}", &self.group).replace("{topic}", source)
    }

    /// Returns the topic that replays of this group's dead letters go through.
    pub fn retry_topic(&self) -> String {
        retry_topic(&self.group)
    }

    /// Returns the dead-letter topics of these source topics. Records of the group's own retry topic go to
    /// the topic of their origin.
    pub(crate) fn topics(&self, sources: &[String]) -> Vec<String> {
        let retry = self.retry_topic();
        sources.iter().filter(|source| **source != retry).map(|source| self.topic(source)).collect()
    }
}

/// A header of a letter: kept from the record, or one of ours.
#[derive(Clone, Debug)]
pub(crate) struct LetterHeader<'a> {
    /// The name.
    pub(crate) name: Cow<'a, str>,
    /// The value; `None` is null.
    pub(crate) value: Option<Cow<'a, [u8]>>,
}

impl LetterHeader<'_> {
    /// Borrows it for the producer.
    pub(crate) fn as_pair(&self) -> (&str, Option<&[u8]>) {
        (&self.name, self.value.as_deref())
    }
}

/// Returns the topic through which one group alone is told again what it failed on.
pub fn retry_topic(group: &str) -> String {
    format!("retry.{group}")
}

/// A dead letter, ready to be produced.
#[derive(Debug)]
pub(crate) struct Letter<'a> {
    /// The dead-letter topic.
    pub(crate) topic: String,
    /// The partition that it first came from.
    pub(crate) source_partition: i32,
    /// The original headers, then ours.
    pub(crate) headers: Vec<LetterHeader<'a>>,
    /// The original value; null where the record is too large to be copied.
    pub(crate) value: Option<&'a [u8]>,
}

/// Writes what the dead-letter topic gets. The record's key, value, headers and timestamp stay as they are;
/// of a record that was replayed, the origin and the first failure are kept and our own headers replaced.
pub(crate) fn write<'a>(
    route: &DeadLetterRoute,
    letter: &'a DeadLetter<RawRecord>,
    now: Timestamp,
) -> Letter<'a> {
    let record = &letter.payload;
    let replayed =
        letter.partition.topic.as_str() == route.retry_topic() && record.header(REPLAY_OF).is_some();
    let origin = if replayed { Origin::of_replay(record) } else { None };
    let replayed = origin.is_some();
    let origin = origin.unwrap_or_else(|| Origin::of_record(route, letter));
    let mut headers: Vec<LetterHeader<'a>> = record
        .headers()
        .filter(|header| !(replayed && is_ours(header.name)))
        .map(|header: RawHeader<'a>| LetterHeader {
            name: Cow::Borrowed(header.name),
            value: header.value.map(Cow::Borrowed),
        })
        .collect();
    let failing_for = SignedDuration::try_from(letter.failing_for).unwrap_or(SignedDuration::ZERO);
    let first_failed = format!("{:.3}", now.checked_sub(failing_for).unwrap_or(now));
    let mut add = |name: &str, value: String| {
        headers.push(LetterHeader {
            name: Cow::Owned(format!("{PREFIX}{name}")),
            value: Some(Cow::Owned(value.into_bytes())),
        });
    };
    add("id", origin.id);
    add("group", capped(&route.group, 255));
    add("handler", capped(&route.handler, 255));
    add("topic", origin.topic.clone());
    add("partition", origin.partition.to_string());
    add("offset", origin.offset.to_string());
    if let Some(timestamp) = origin.timestamp {
        add("timestamp", timestamp.to_string());
    }
    add("reason", letter.reason.code().to_owned());
    add("detail", capped(&letter.failure.detail, 255));
    add("message", capped(&letter.failure.message, MESSAGE_LIMIT));
    add("attempts", letter.attempts.to_string());
    add("first-failed-at", origin.first_failed.unwrap_or(first_failed));
    add("failed-at", format!("{now:.3}"));
    if let Some(schema) = schema_id(record) {
        add("schema-id", schema);
    }
    add("replays", origin.replays.to_string());
    add("version", env!("CARGO_PKG_VERSION").to_owned());
    let by_reference = letter.reason == Reason::TooLarge;
    if by_reference {
        add("size", record.value().map_or(0, <[u8]>::len).to_string());
    }
    Letter {
        topic: route.topic(&origin.topic),
        source_partition: origin.partition,
        headers,
        value: if by_reference { None } else { record.value() },
    }
}

/// Where a record first came from.
struct Origin {
    id: String,
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    first_failed: Option<String>,
    replays: u32,
}

impl Origin {
    fn of_record(route: &DeadLetterRoute, letter: &DeadLetter<RawRecord>) -> Self {
        let topic = letter.partition.topic.as_str();
        let partition = letter.partition.partition.0;
        let offset = letter.ticket.offset.0;
        Self {
            id: id(&route.group, topic, partition, offset),
            topic: topic.to_owned(),
            partition,
            offset,
            timestamp: letter.payload.timestamp(),
            first_failed: None,
            replays: 0,
        }
    }

    /// Reads the origin that a replay carries; `None` where it is not whole.
    fn of_replay(record: &RawRecord) -> Option<Self> {
        let text = |name: &str| {
            let value = record.header(&format!("{PREFIX}{name}"))?;
            std::str::from_utf8(value).ok().filter(|text| text.len() <= 1_024)
        };
        let topic = text("topic").filter(|topic| super::config::is_topic_name(topic))?;
        Some(Self {
            id: text("id")?.to_owned(),
            topic: topic.to_owned(),
            partition: text("partition")?.parse().ok().filter(|partition| *partition >= 0)?,
            offset: text("offset")?.parse().ok()?,
            timestamp: text("timestamp").and_then(|text| text.parse().ok()),
            first_failed: text("first-failed-at").map(str::to_owned),
            replays: text("replays").and_then(|text| text.parse().ok()).unwrap_or(1),
        })
    }
}

/// Returns a dead letter's id: the same for every copy of it.
pub(crate) fn id(group: &str, topic: &str, partition: i32, offset: i64) -> String {
    format!("{group}/{topic}/{partition}/{offset}")
}

/// Returns the schema that the record's frame names: an id, or a GUID in hexadecimal digits.
fn schema_id(record: &RawRecord) -> Option<String> {
    if let Some([1, guid @ ..]) = record.header("__value_schema_id")
        && guid.len() == 16
    {
        return Some(guid.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    match record.value()? {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d]).to_string()),
        _ => None,
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || name.starts_with(REPLAY_PREFIX)
}

fn capped(text: &str, limit: usize) -> String {
    let end = text.floor_char_boundary(limit.min(text.len()));
    text.get(..end).unwrap_or_default().to_owned()
}

/// What the names of a dead letter's own headers start with.
pub const PREFIX: &str = "postroom-dlq-";
/// What the names of a replay's headers start with.
pub const REPLAY_PREFIX: &str = "postroom-replay-";
/// The header that names the dead letter which a record replays.
pub const REPLAY_OF: &str = "postroom-replay-of";
/// How dead-letter topics are named.
pub const DEFAULT_TEMPLATE: &str = "dlq.{group}.{topic}";
const MESSAGE_LIMIT: usize = 1_024;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use postroom_core::{Class, Failure, Generation, Offset, Partition, Ticket, Topic, TopicPartition};

    use super::*;
    use crate::event::{RawBatchBuilder, RawParts};

    fn letter(topic: &str, headers: &[(&str, Option<&[u8]>)], message: &str) -> DeadLetter<RawRecord> {
        let partition = TopicPartition::new(Topic::new(topic), Partition(3));
        let mut batch = RawBatchBuilder::new(partition.clone());
        let parts = RawParts {
            offset: Offset(41),
            timestamp: Some(1_700_000_000_123),
            key: Some(b"post-1"),
            value: Some(&[0, 0, 0, 0, 7, 0xff]),
        };
        batch.push(parts, headers.iter().map(|(name, value)| RawHeader { name, value: *value }));
        DeadLetter {
            partition,
            ticket: Ticket { generation: Generation(9), offset: Offset(41) },
            reason: Reason::Undecodable,
            failure: Failure::new(Class::Dead(Reason::Undecodable), "truncated", message),
            attempts: 0,
            failing_for: Duration::from_secs(60),
            payload: batch.finish().remove(0),
        }
    }

    fn text(letter: &Letter<'_>, name: &str) -> Option<String> {
        let ours = letter.headers.iter().rfind(|header| header.name == format!("{PREFIX}{name}"))?;
        Some(String::from_utf8(ours.value.as_ref()?.to_vec()).unwrap())
    }

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    #[test]
    fn a_letter_says_where_it_came_from_and_why() {
        let route = DeadLetterRoute::new("postroom.search", "search");
        let dead = letter("blog.posts", &[], "the value ends within a string");

        let letter = write(&route, &dead, now());

        assert_eq!(letter.topic, "dlq.postroom.search.blog.posts");
        assert_eq!(letter.source_partition, 3);
        for (name, value) in [
            ("id", "postroom.search/blog.posts/3/41"),
            ("partition", "3"),
            ("offset", "41"),
            ("timestamp", "1700000000123"),
            ("reason", "undecodable"),
            ("detail", "truncated"),
            ("schema-id", "7"),
            ("replays", "0"),
            ("first-failed-at", "2026-01-02T03:03:05.000Z"),
            ("failed-at", "2026-01-02T03:04:05.000Z"),
        ] {
            assert_eq!(text(&letter, name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn original_headers_stay_in_order_with_duplicates_and_nulls() {
        let route = DeadLetterRoute::new("g", "h");
        let headers: &[(&str, Option<&[u8]>)] = &[
            ("a", Some(b"1")),
            ("a", None),
            ("", Some(b"")),
            ("postroom-dlq-id", Some(b"of another system")),
        ];
        let dead = letter("blog.posts", headers, "m");

        let letter = write(&route, &dead, now());

        let kept: Vec<_> = letter.headers.iter().take(4).map(LetterHeader::as_pair).collect();
        assert_eq!(kept, headers);
        assert_eq!(text(&letter, "id").as_deref(), Some("g/blog.posts/3/41"));
    }

    #[test]
    fn a_replay_that_fails_again_keeps_its_origin_and_does_not_grow() {
        let route = DeadLetterRoute::new("g", "h");
        let first = letter("blog.posts", &[("ce_id", Some(b"e1"))], "first");
        let first = write(&route, &first, now());
        let mut headers: Vec<(&str, Option<&[u8]>)> =
            first.headers.iter().map(LetterHeader::as_pair).collect();
        headers.retain(|(name, _)| *name != "postroom-dlq-replays");
        headers.push(("postroom-dlq-replays", Some(b"1")));
        headers.push((REPLAY_OF, Some(b"g/blog.posts/3/41")));
        let dead = letter("retry.g", &headers, "second");

        let second = write(&route, &dead, "2026-01-03T00:00:00Z".parse().unwrap());

        assert_eq!(second.topic, "dlq.g.blog.posts");
        assert_eq!(second.headers.len(), first.headers.len());
        for (name, value) in [
            ("id", "g/blog.posts/3/41"),
            ("message", "second"),
            ("replays", "1"),
            ("first-failed-at", "2026-01-02T03:03:05.000Z"),
            ("failed-at", "2026-01-03T00:00:00.000Z"),
        ] {
            assert_eq!(text(&second, name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn what_is_added_stays_below_8_kib() {
        let long = "g".repeat(249);
        let route = DeadLetterRoute::new(long.clone(), "h".repeat(9_000));
        let mut dead = letter(&long, &[], &"é".repeat(100_000));
        dead.failure.detail = "d".repeat(100_000).into();

        let letter = write(&route, &dead, now());

        let added: usize = letter
            .headers
            .iter()
            .map(|header| header.name.len() + header.value.as_ref().map_or(0, |value| value.len()) + 20)
            .sum();
        assert!(added <= 8 * 1_024, "{added}");
        assert_eq!(text(&letter, "message").unwrap().len(), 1_024);
    }

    #[test]
    fn a_record_that_is_too_large_goes_by_reference() {
        let route = DeadLetterRoute::new("g", "h");
        let mut dead = letter("blog.posts", &[], "m");
        dead.reason = Reason::TooLarge;

        let letter = write(&route, &dead, now());

        assert_eq!(letter.value, None);
        assert_eq!(text(&letter, "size").as_deref(), Some("6"));
        assert_eq!(text(&letter, "offset").as_deref(), Some("41"));
    }
}
