//! What Postroom asks of itself: mails and webhook deliveries, published by its relay.

use serde::{Deserialize, Serialize};

use crate::event::{EventRecord, EventType};

/// One person is to get one mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MailRequested {
    /// The identity of the mail: the same in every attempt, and part of its `Message-ID`.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The user who is to get it.
    pub recipient: String,
    /// The address as it was when the mail was requested.
    pub address: String,
    /// The recipient's name.
    pub name: Option<String>,
    /// The language to write in, as a BCP 47 tag.
    pub locale: String,
    /// Why: `comment`, `post` or `welcome`.
    pub reason: String,
    /// The event that caused it.
    pub source_event: String,
    /// The post that it is about.
    pub post_id: Option<String>,
    /// The post's title, where it is known.
    pub post_title: Option<String>,
    /// The post's path on the site, where it is known.
    pub post_slug: Option<String>,
    /// The comment that it is about.
    pub comment_id: Option<String>,
    /// The user who wrote the post or the comment.
    pub author: Option<String>,
    /// That user's name, where it is known.
    pub author_name: Option<String>,
    /// How the text is written, such as `markdown` or `html`.
    pub format: Option<String>,
    /// The text of the post or comment, cut to its first part.
    pub text: Option<String>,
    /// When the source event happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the mail was first due, in milliseconds since the Unix epoch: its time budget starts here.
    pub requested_at: i64,
}

impl EventRecord for MailRequested {
    const TYPE: EventType = EventType {
        name: "mail.requested",
        record: "blog.MailRequested",
        topic: "blog.mail",
        schema: include_str!("../../schemas/mail.requested/v1.avsc"),
    };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.recipient)
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }
}

/// One endpoint is to be told of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WebhookRequested {
    /// The identity of the delivery: the `webhook-id` of every attempt.
    pub event_id: String,
    /// Which blog, where several share a topic.
    pub blog: String,
    /// The subscription that is to be told.
    pub endpoint: String,
    /// The event that it is told of.
    pub source_event: String,
    /// The event's type, such as `post.published`.
    pub source_type: String,
    /// The JSON to send.
    pub body: String,
    /// When the source event happened, in milliseconds since the Unix epoch.
    pub occurred_at: i64,
    /// When the delivery was first due, in milliseconds since the Unix epoch: its time budget starts here.
    pub requested_at: i64,
}

impl EventRecord for WebhookRequested {
    const TYPE: EventType = EventType {
        name: "webhook.requested",
        record: "blog.WebhookRequested",
        topic: "blog.webhooks",
        schema: include_str!("../../schemas/webhook.requested/v1.avsc"),
    };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.endpoint)
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }
}
