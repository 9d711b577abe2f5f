//! What is known of an event beside its own fields.

use std::fmt;

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(String);

impl EventId {
    /// Checks an id.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(id: &str) -> Result<Self, &'static str> {
        if id.is_empty() {
            return Err("the event id is empty");
        }
        if id.len() > 255 {
            return Err("the event id is longer than 255 bytes");
        }
        let unclean = match id.is_ascii() {
            true => id.bytes().any(|byte| byte.is_ascii_control()),
            false => id.chars().any(char::is_control),
        };
        if unclean {
            return Err("the event id contains control characters");
        }
        Ok(Self(id.to_owned()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
