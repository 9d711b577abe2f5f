//! Events of pictures: claim checks, never the bytes.

use serde::{Deserialize, Serialize};

use crate::event::{EventRecord, EventType};

/// A picture was put into the object store: a claim check, not the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageUploaded {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// Where it lies in the object store.
    pub object_key: String,
    /// What it is, such as `image/jpeg`.
    pub media_type: String,
    /// The SHA-256 of its bytes, in 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its length in bytes.
    pub size: i64,
    /// The post it belongs to.
    pub post_id: Option<String>,
    /// The user who uploaded it.
    pub author: Option<String>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
}

impl EventRecord for ImageUploaded {
    const TYPE: EventType = EventType {
        name: "image.uploaded",
        record: "blog.ImageUploaded",
        topic: "blog.media",
        schema: include_str!("../../schemas/image.uploaded/v1.avsc"),
    };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(self.post_id.as_deref().unwrap_or(&self.object_key))
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }

    fn check(&self) -> Result<(), String> {
        if self.size < 0 {
            return Err(format!("the size of an image cannot be {}", self.size));
        }
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hex) {
            return Err("sha256 is not 64 lower-case hexadecimal digits".to_owned());
        }
        Ok(())
    }
}
