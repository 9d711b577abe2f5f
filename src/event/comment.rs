//! Events of comments: keyed by the post, so that everything about one post stays in order.

use serde::{Deserialize, Serialize};

use crate::event::{EventRecord, EventType};

/// Somebody commented on a post.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommentCreated {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The comment.
    pub comment_id: String,
    /// The post that is commented on.
    pub post_id: String,
    /// The user who wrote it.
    pub author: String,
    /// Its title, where it has one.
    pub title: Option<String>,
    /// How the body is written, such as `markdown` or `html`.
    pub format: Option<String>,
    /// Its text; `None` where the text is not part of the event.
    pub body: Option<String>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
    /// The comment that it answers, in threads; `None` where it answers the post. Since version 2.
    pub parent_comment_id: Option<String>,
    /// Its path on the site. Since version 2.
    pub slug: String,
    /// The part of the site it belongs to. Since version 2.
    pub section: Option<String>,
    /// Addresses of the pictures in it. Since version 2.
    pub images: Vec<String>,
    /// The length of the text in bytes, also where the text itself is left out. Since version 2.
    pub body_bytes: Option<i64>,
}

impl EventRecord for CommentCreated {
    const TYPE: EventType = EventType {
        name: "comment.created",
        record: "blog.CommentCreated",
        topic: "blog.comments",
        schema: include_str!("../../schemas/comment.created/v2.avsc"),
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

/// A comment was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommentUpdated {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The comment.
    pub comment_id: String,
    /// The post that is commented on.
    pub post_id: String,
    /// The user who changed it.
    pub editor: String,
    /// The new title; `None`: unchanged or not told.
    pub title: Option<String>,
    /// The new text; `None`: unchanged or not told.
    pub body: Option<String>,
    /// The length of the new text in bytes.
    pub body_bytes: Option<i64>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
}

impl EventRecord for CommentUpdated {
    const TYPE: EventType = EventType {
        name: "comment.updated",
        record: "blog.CommentUpdated",
        topic: "blog.comments",
        schema: include_str!("../../schemas/comment.updated/v1.avsc"),
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

/// A comment is no longer visible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommentRemoved {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The comment.
    pub comment_id: String,
    /// The post that is commented on.
    pub post_id: String,
    /// The user who removed it.
    pub editor: String,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
}

impl EventRecord for CommentRemoved {
    const TYPE: EventType = EventType {
        name: "comment.removed",
        record: "blog.CommentRemoved",
        topic: "blog.comments",
        schema: include_str!("../../schemas/comment.removed/v1.avsc"),
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
