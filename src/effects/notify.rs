//! Who is to hear of what: one row for each recipient, reason (`comment`, `post`, `welcome`) and subject.
//!
//! Of a comment hear those who commented on the post before it (by offset) and the post's author, who is its first
//! publisher; never the comment's writer. Of a new post hear those who were subscribed at its time, but not its
//! author. Who registered is greeted. Nothing is taken back when a post or a comment is removed later, and none of
//! it depends on how topics interleave.

use postroom_core::Failure;

use super::origin::{named, origin};
use super::{Changes, StoreEffect};
use crate::event::{
    BlogEvent, CommentCreated, Envelope, EventRecord, EventType, PostPublished, UserRegistered, UserRemoved,
    UserUpdated,
};
use crate::ports::{Change, SubscriptionChange, ThreadComment, ThreadPost, Welcome};

/// Keeps the table `notifications`, and beside it what it needs to know of threads and subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify;

impl StoreEffect for Notify {
    type Event = BlogEvent;

    fn name(&self) -> &'static str {
        "notify"
    }

    fn types(&self) -> &'static [EventType] {
        &TYPES
    }

    fn apply(&self, envelope: &Envelope<BlogEvent>, changes: &mut Changes) -> Result<(), Failure> {
        let origin = origin(envelope)?;
        match &envelope.event {
            BlogEvent::CommentCreated(event) => changes.push(Change::ThreadComment(ThreadComment {
                post: named("post_id", &event.post_id)?,
                comment: named("comment_id", &event.comment_id)?,
                author: named("author", &event.author)?,
                origin,
            })),
            BlogEvent::PostPublished(event) => changes.push(Change::ThreadPost(ThreadPost {
                post: named("post_id", &event.post_id)?,
                author: named("author", &event.author)?,
                origin,
            })),
            BlogEvent::UserRegistered(event) => {
                let user = named("user_id", &event.user_id)?;
                changes.push(subscription(&user, origin.time, event.subscribed));
                changes.push(Change::Welcome(Welcome { user, origin }));
            }
            BlogEvent::UserUpdated(event) => {
                let user = named("user_id", &event.user_id)?;
                if let Some(subscribed) = event.subscribed {
                    changes.push(subscription(&user, origin.time, subscribed));
                }
            }
            BlogEvent::UserRemoved(event) => {
                changes.push(subscription(&named("user_id", &event.user_id)?, origin.time, false));
            }
            BlogEvent::CommentRemoved(_)
            | BlogEvent::CommentUpdated(_)
            | BlogEvent::ImageUploaded(_)
            | BlogEvent::PostRemoved(_)
            | BlogEvent::PostUpdated(_) => {}
        }
        Ok(())
    }
}

fn subscription(user: &str, time: i64, subscribed: bool) -> Change {
    Change::Subscription(SubscriptionChange { user: user.to_owned(), time, subscribed })
}

const TYPES: [EventType; 5] =
    [CommentCreated::TYPE, PostPublished::TYPE, UserRegistered::TYPE, UserRemoved::TYPE, UserUpdated::TYPE];
