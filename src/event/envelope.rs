//! What is known of an event beside its own fields.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::event::RawRecord;

/// A kind of event: its name, where it is published, and the Avro schema that readers of it know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType {
    /// The `ce_type`, such as `post.published`.
    pub name: &'static str,
    /// The full name of its Avro record, such as `blog.PostPublished`: the type of records without a `ce_type`.
    pub record: &'static str,
    /// The topic it is published to.
    pub topic: &'static str,
    /// The newest schema (an `.avsc` text), to which records of other writers are resolved.
    pub schema: &'static str,
}

/// The identity of an event: 1 to 255 bytes of UTF-8 without control characters, compared as bytes.
#[derive(Clone)]
pub struct EventId(Text);

/// Ids are mostly UUIDs: those need no allocation.
#[derive(Clone)]
enum Text {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

/// The most bytes of an id that stands in place.
const SHORT: usize = 38;

impl EventId {
    /// Checks an id.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(id: &str) -> Result<Self, &'static str> {
        if id.is_empty() {
            return Err("the event id is empty");
        }
        let Some(length) = u8::try_from(id.len()).ok() else {
            return Err("the event id is longer than 255 bytes");
        };
        let usual = id.bytes().fold(true, |usual, byte| usual & matches!(byte, b' '..=b'~'));
        if !usual && id.chars().any(char::is_control) {
            return Err("the event id contains control characters");
        }
        let mut bytes = [0; SHORT];
        Ok(Self(match bytes.get_mut(..id.len()) {
            Some(place) => {
                place.copy_from_slice(id.as_bytes());
                Text::Short { length, bytes }
            }
            None => Text::Long(id.into()),
        }))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Short { length, bytes } => bytes
                .get(..usize::from(*length))
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
                .unwrap_or_default(),
            Text::Long(text) => text,
        }
    }
}

impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for EventId {}

impl PartialOrd for EventId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EventId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for EventId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventId").field(&self.as_str()).finish()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event with what its record said about it.
#[derive(Clone, Debug)]
pub struct Envelope<E> {
    /// Its identity: `ce_id`, else the header `id`, else the field `event_id`, else `topic/partition/offset`.
    pub id: EventId,
    /// Its kind, such as `post.published`.
    pub event_type: &'static str,
    /// When it happened, in milliseconds since the Unix epoch: `ce_time`, else the record's timestamp.
    pub time: i64,
    /// The event itself.
    pub event: E,
    /// The record that carried it.
    pub record: RawRecord,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_compared_as_bytes_however_long() {
        let mut texts: Vec<String> = [1, 37, 38, 39, 255].map(|length| "b".repeat(length)).to_vec();
        texts.extend(["é".repeat(19), "é".repeat(20), "a".to_owned()]);
        let mut ids: Vec<EventId> = texts.iter().map(|text| EventId::parse(text).unwrap()).collect();
        texts.sort();
        ids.sort();

        assert!(ids.iter().map(EventId::as_str).eq(&texts));
        assert_eq!(ids.iter().chain(&ids).collect::<HashSet<_>>().len(), texts.len());
    }

    #[test]
    fn an_id_that_is_empty_too_long_or_unclean_is_refused() {
        for text in ["", &"b".repeat(256), "a\nb", "\u{7f}", "é\u{85}", &format!("{}\0", "b".repeat(50))] {
            assert!(EventId::parse(text).is_err(), "{text:?}");
        }
    }
}
