//! Events of posts.

use serde::{Deserialize, Serialize};

use crate::event::{EventRecord, EventType};

/// A post became visible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PostPublished {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The post.
    pub post_id: String,
    /// The user who wrote it.
    pub author: String,
    /// Its title, where it has one.
    pub title: Option<String>,
    /// Its path on the site.
    pub slug: String,
    /// The part of the site it belongs to.
    pub section: Option<String>,
    /// How the body is written, such as `markdown` or `html`.
    pub format: Option<String>,
    /// Its text; `None` where the text is not part of the event.
    pub body: Option<String>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
    /// Its tags. Since version 2.
    pub tags: Vec<String>,
    /// Addresses of the pictures in it. Since version 2.
    pub images: Vec<String>,
    /// The length of the text in bytes, also where the text itself is left out. Since version 2.
    pub body_bytes: Option<i64>,
}

impl EventRecord for PostPublished {
    const TYPE: EventType = EventType {
        name: "post.published",
        record: "blog.PostPublished",
        topic: "blog.posts",
        schema: include_str!("../../schemas/post.published/v2.avsc"),
    };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.post_id)
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }
}

/// A visible post was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PostUpdated {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The post.
    pub post_id: String,
    /// The user who changed it.
    pub editor: String,
    /// The new title; `None`: unchanged or not told.
    pub title: Option<String>,
    /// The new path; `None`: unchanged or not told.
    pub slug: Option<String>,
    /// The part of the site it belongs to.
    pub section: Option<String>,
    /// The new text; `None`: unchanged or not told.
    pub body: Option<String>,
    /// The length of the new text in bytes.
    pub body_bytes: Option<i64>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
}

impl EventRecord for PostUpdated {
    const TYPE: EventType = EventType {
        name: "post.updated",
        record: "blog.PostUpdated",
        topic: "blog.posts",
        schema: include_str!("../../schemas/post.updated/v1.avsc"),
    };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.post_id)
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }
}

/// A post is no longer visible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PostRemoved {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The post.
    pub post_id: String,
    /// The user who removed it.
    pub editor: String,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
}

impl EventRecord for PostRemoved {
    const TYPE: EventType = EventType {
        name: "post.removed",
        record: "blog.PostRemoved",
        topic: "blog.posts",
        schema: include_str!("../../schemas/post.removed/v1.avsc"),
    };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.post_id)
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }
}
