//! Events of users.

use serde::{Deserialize, Serialize};

use crate::event::{EventRecord, EventType};

/// Somebody registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserRegistered {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The user.
    pub user_id: String,
    /// The name to show.
    pub name: Option<String>,
    /// The address that mail goes to.
    pub email: Option<String>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
    /// Whether new posts are announced to this user. Since version 2.
    pub subscribed: bool,
    /// The language to write in, as a BCP 47 tag. Since version 2.
    pub locale: String,
}

impl Default for UserRegistered {
    fn default() -> Self {
        Self {
            event_id: String::new(),
            blog: String::new(),
            user_id: String::new(),
            name: None,
            email: None,
            occurred_at: 0,
            recorded_at: None,
            subscribed: false,
            locale: "en".to_owned(),
        }
    }
}

impl EventRecord for UserRegistered {
    const TYPE: EventType = EventType {
        name: "user.registered",
        record: "blog.UserRegistered",
        topic: "blog.users",
        schema: include_str!("../../schemas/user.registered/v2.avsc"),
    };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.user_id)
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }
}

/// A user's name, address or subscription changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserUpdated {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The user.
    pub user_id: String,
    /// The new name; `None`: unchanged or not told.
    pub name: Option<String>,
    /// The new address; `None`: unchanged or not told.
    pub email: Option<String>,
    /// The new subscription to new posts; `None`: unchanged or not told.
    pub subscribed: Option<bool>,
    /// The new language; `None`: unchanged or not told.
    pub locale: Option<String>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
}

impl EventRecord for UserUpdated {
    const TYPE: EventType = EventType {
        name: "user.updated",
        record: "blog.UserUpdated",
        topic: "blog.users",
        schema: include_str!("../../schemas/user.updated/v1.avsc"),
    };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.user_id)
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }
}

/// A user's account was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserRemoved {
    /// The identity of this event: the same in every copy of it.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The user.
    pub user_id: String,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the blog's software wrote it down, where that differs.
    pub recorded_at: Option<i64>,
}

impl EventRecord for UserRemoved {
    const TYPE: EventType = EventType {
        name: "user.removed",
        record: "blog.UserRemoved",
        topic: "blog.users",
        schema: include_str!("../../schemas/user.removed/v1.avsc"),
    };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.user_id)
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }
}
