//! What makes a type an event: ours and a user's alike.

use serde::de::DeserializeOwned;

use crate::event::EventType;

/// A struct that is the payload of one kind of event.
///
/// Its serde name must be the name of its Avro record, and fields that older writers lack need
/// `#[serde(default)]`. With `serde::Serialize` beside it, it can be published too.
///
/// ```
/// use postroom::event::{EventRecord, EventType};
///
/// #[derive(serde::Deserialize)]
/// struct LikeAdded {
///     post_id: String,
///     #[serde(default)]
///     reader: Option<String>,
/// }
///
/// impl EventRecord for LikeAdded {
///     const TYPE: EventType = EventType {
///         name: "like.added",
///         record: "blog.LikeAdded",
///         topic: "blog.likes",
///         schema: r#"{"type": "record", "name": "LikeAdded", "namespace": "blog", "fields": [
///             {"name": "post_id", "type": "string"},
///             {"name": "reader", "type": ["null", "string"], "default": null}
///         ]}"#,
///     };
/// }
/// # assert_eq!(LikeAdded::TYPES.len(), 1);
/// ```
pub trait EventRecord: DeserializeOwned + Send + Sync + 'static {
    /// The kind of event: its name, topic, Avro record and newest schema.
    const TYPE: EventType;

    /// The same as a list of one. Leave it as it is.
    const TYPES: &'static [EventType] = &[Self::TYPE];

    /// Returns the event's identity, to be published as `ce_id`; `None` makes no such header.
    fn event_id(&self) -> Option<&str> {
        None
    }

    /// Returns what events must share to stay in order: the record's key; `None` publishes a null key.
    fn key(&self) -> Option<&str> {
        None
    }

    /// Returns when it happened, in milliseconds since the Unix epoch: published as `ce_time`. The record's
    /// timestamp is the time of publishing, since Kafka removes records by it.
    fn time(&self) -> Option<i64> {
        None
    }

    /// Checks what the schema cannot say, once after decoding.
    ///
    /// # Errors
    /// One sentence about the value that cannot be: the record becomes a dead letter (`invalid`, detail `range`).
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
