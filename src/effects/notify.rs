//! Who is to hear of what: one row for each recipient, reason (`comment`, `post`, `welcome`) and subject.
//!
//! Of a comment hear those who commented on the post before it (by offset) and the post's author, who is its first
//! publisher; never the comment's writer. Of a new post hear those who were subscribed at its time, but not its
//! author. Who registered is greeted. Nothing is taken back when a post or a comment is removed later, and none of
//! it depends on how topics interleave.
//!
//! Where mail is sent, each notification of an event that is not too old leaves a request for one, with it. What mails
//! need to know of people and posts is kept in any case, so that mail can be switched on later. Where there are
//! webhooks, endpoints are told of every event.

use std::time::Duration;

use postroom_core::Failure;
use serde::Serialize;
use serde_json::{Value, json};

use super::origin::{named, origin};
use super::{Changes, StoreEffect};
use crate::event::{
    BlogEvent, CommentCreated, Envelope, EventRecord, EventType, PostPublished, PostUpdated, UserRegistered,
    UserRemoved, UserUpdated, each_event, time,
};
use crate::ports::{
    Change, MailSource, Origin, PersonChange, PersonContent, PersonFact, SubscriptionChange, ThreadComment,
    ThreadPost, ThreadText, WebhookEvent, Welcome,
};

/// Keeps the table `notifications`, and beside it what it needs to know of threads, subscriptions and people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    settings: NotifySettings,
}

/// What `notify` leaves for others to carry out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifySettings {
    /// How old an event may be that mail is sent about: history that is replayed must not mail anybody. `None`: no
    /// mail at all.
    pub mail: Option<Duration>,
    /// How old an event may be that endpoints are told of. `None`: nobody is told.
    pub webhooks: Option<Duration>,
}

impl Notify {
    /// Makes the effect. [`Default`] leaves nothing for others.
    pub fn new(settings: NotifySettings) -> Self {
        Self { settings }
    }

    /// What mails about an event say of it; `None` where no mail is sent.
    fn mail(&self, blog: &str, format: Option<&String>, text: Option<&String>) -> Option<MailSource> {
        let max_age = time::millis(self.settings.mail?);
        Some(MailSource {
            blog: blog.to_owned(),
            format: format.cloned(),
            text: text.map(|text| excerpt(text)),
            max_age,
        })
    }
}

impl StoreEffect for Notify {
    type Event = BlogEvent;

    fn name(&self) -> &'static str {
        "notify"
    }

    fn types(&self) -> &'static [EventType] {
        if self.settings.webhooks.is_some() { &BlogEvent::TYPES } else { &TYPES }
    }

    fn apply(&self, envelope: &Envelope<BlogEvent>, changes: &mut Changes) -> Result<(), Failure> {
        let origin = origin(envelope)?;
        if let Some(max_age) = self.settings.webhooks {
            changes.push(Change::Webhooks(webhook(envelope, &origin, time::millis(max_age))));
        }
        match &envelope.event {
            BlogEvent::CommentCreated(event) => changes.push(Change::ThreadComment(ThreadComment {
                post: named("post_id", &event.post_id)?,
                comment: named("comment_id", &event.comment_id)?,
                author: named("author", &event.author)?,
                origin,
                mail: self.mail(&event.blog, event.format.as_ref(), event.body.as_ref()),
            })),
            BlogEvent::PostPublished(event) => self.published(event, origin, changes)?,
            BlogEvent::PostUpdated(event) => changes.push(Change::ThreadText(ThreadText {
                post: named("post_id", &event.post_id)?,
                origin,
                title: event.title.clone(),
                slug: event.slug.clone(),
                format: None,
                text: event.body.as_deref().map(excerpt),
            })),
            BlogEvent::UserRegistered(event) => self.registered(event, origin, changes)?,
            BlogEvent::UserUpdated(event) => {
                let user = named("user_id", &event.user_id)?;
                let content = PersonContent {
                    name: event.name.clone(),
                    email: address(event.email.as_ref()),
                    subscribed: event.subscribed,
                    locale: event.locale.clone(),
                };
                if let Some(subscribed) = event.subscribed {
                    changes.push(subscription(&user, origin.time, subscribed));
                }
                changes.push(contact(user, origin, PersonFact::Updated(content)));
            }
            BlogEvent::UserRemoved(event) => {
                let user = named("user_id", &event.user_id)?;
                changes.push(subscription(&user, origin.time, false));
                changes.push(contact(user, origin, PersonFact::Removed));
            }
            BlogEvent::CommentRemoved(_)
            | BlogEvent::CommentUpdated(_)
            | BlogEvent::ImageUploaded(_)
            | BlogEvent::PostRemoved(_) => {}
        }
        Ok(())
    }
}

impl Notify {
    fn published(&self, event: &PostPublished, origin: Origin, changes: &mut Changes) -> Result<(), Failure> {
        let post = named("post_id", &event.post_id)?;
        let author = named("author", &event.author)?;
        changes.push(Change::ThreadText(ThreadText {
            post: post.clone(),
            origin: origin.clone(),
            title: event.title.clone(),
            slug: Some(event.slug.clone()).filter(|slug| !slug.is_empty()),
            format: event.format.clone(),
            text: event.body.as_deref().map(excerpt),
        }));
        let mail = self.mail(&event.blog, None, None);
        changes.push(Change::ThreadPost(ThreadPost { post, author, origin, mail }));
        Ok(())
    }

    fn registered(
        &self,
        event: &UserRegistered,
        origin: Origin,
        changes: &mut Changes,
    ) -> Result<(), Failure> {
        let user = named("user_id", &event.user_id)?;
        let content = PersonContent {
            name: event.name.clone(),
            email: address(event.email.as_ref()),
            subscribed: Some(event.subscribed),
            locale: Some(event.locale.clone()).filter(|locale| !locale.is_empty()),
        };
        changes.push(subscription(&user, origin.time, event.subscribed));
        changes.push(contact(user.clone(), origin.clone(), PersonFact::Registered(content)));
        let mail = self.mail(&event.blog, None, None);
        changes.push(Change::Welcome(Welcome { user, origin, mail }));
        Ok(())
    }
}

fn subscription(user: &str, time: i64, subscribed: bool) -> Change {
    Change::Subscription(SubscriptionChange { user: user.to_owned(), time, subscribed })
}

fn contact(user: String, origin: Origin, fact: PersonFact) -> Change {
    Change::Contact(PersonChange { user, origin, fact })
}

/// An empty address is none.
fn address(email: Option<&String>) -> Option<String> {
    email.filter(|email| !email.trim().is_empty()).cloned()
}

/// The part of a text that mails show.
fn excerpt(text: &str) -> String {
    text.chars().take(MOST_CHARS).collect()
}

/// What endpoints are told of an event: all of its fields but addresses.
fn webhook(envelope: &Envelope<BlogEvent>, origin: &Origin, max_age: i64) -> WebhookEvent {
    let event = &envelope.event;
    let event_type = event.event_type().name.to_owned();
    let body = body(event, origin.event.as_str(), origin.time);
    WebhookEvent {
        origin: origin.clone(),
        event_type,
        blog: event.blog().to_owned(),
        body: body.to_string(),
        max_age,
    }
}

fn body(event: &BlogEvent, id: &str, time: i64) -> Value {
    json!({
        "id": id,
        "type": event.event_type().name,
        "time": time::write(time),
        "blog": event.blog(),
        "data": each_event!(event, event => data(event)),
    })
}

/// The fields of an event, without addresses and without what would make the delivery larger than brokers take.
fn data(event: &impl Serialize) -> Value {
    // Our events are structs of plain fields: they have a form in JSON.
    let mut data = serde_json::to_value(event).unwrap_or_default();
    if let Value::Object(fields) = &mut data {
        fields.remove("email");
        if let Some(body) = fields.get_mut("body") {
            leave_out(body, MOST_BODY);
        }
        if fields.values().map(written).sum::<usize>() > MOST_DATA {
            let share = MOST_DATA / fields.len().max(1);
            fields.values_mut().for_each(|value| leave_out(value, share));
        }
    }
    data
}

fn leave_out(value: &mut Value, most: usize) {
    if written(value) > most {
        *value = Value::Null;
    }
}

/// How many bytes a value takes as it is sent: a control character takes six.
fn written(value: &Value) -> usize {
    value.to_string().len()
}

const TYPES: [EventType; 6] = [
    CommentCreated::TYPE,
    PostPublished::TYPE,
    PostUpdated::TYPE,
    UserRegistered::TYPE,
    UserRemoved::TYPE,
    UserUpdated::TYPE,
];

/// What is kept of a text for mails, in characters.
const MOST_CHARS: usize = 2_000;

/// A text that takes more bytes as JSON is left out of what endpoints are told: `null` stands in its place.
const MOST_BODY: usize = 256 * 1_024;

/// Where the fields together take more bytes as JSON, those that take more than their share are `null`.
const MOST_DATA: usize = 512 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn post(title: String, body: Option<String>) -> PostPublished {
        PostPublished { post_id: "news/p".to_owned(), title: Some(title), body, ..PostPublished::default() }
    }

    #[test]
    fn the_example_of_the_documents_is_what_endpoints_are_told() {
        let event = BlogEvent::CommentCreated(CommentCreated {
            event_id: "4731f42f18d4fd64".to_owned(),
            blog: "news".to_owned(),
            post_id: "news/the-quay".to_owned(),
            comment_id: "c-17".to_owned(),
            author: "ada".to_owned(),
            body: Some("Well said.".to_owned()),
            occurred_at: 1_767_323_045_000,
            ..CommentCreated::default()
        });

        let told = body(&event, "4731f42f18d4fd64", 1_767_323_045_000);
        let written = format!("```json\n{}\n```", serde_json::to_string_pretty(&told).unwrap_or_default());

        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webhooks.md");
        let document = std::fs::read_to_string(path).unwrap_or_default();
        assert!(document.contains(&written), "docs/webhooks.md must hold:\n{written}");
    }

    #[test]
    fn what_endpoints_are_told_is_bounded_as_it_is_sent() {
        let short = data(&post("Title".to_owned(), Some("text".to_owned())));
        // A control character takes one byte in memory, and six where it is sent.
        let escaped = data(&post("Title".to_owned(), Some("\u{1}".repeat(100_000))));
        let large = data(&post("T".repeat(3_000_000), Some("text".to_owned())));

        assert_eq!(short.get("body"), Some(&json!("text")));
        assert_eq!((escaped.get("title"), escaped.get("body")), (Some(&json!("Title")), Some(&Value::Null)));
        assert_eq!((large.get("title"), large.get("body")), (Some(&Value::Null), Some(&json!("text"))));
        for data in [short, escaped, large] {
            assert!(written(&data) <= MOST_DATA);
        }
    }
}
