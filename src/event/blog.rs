//! All events of a blog in one type.

use crate::event::{
    CommentCreated, CommentRemoved, CommentUpdated, EventRecord, EventType, ImageUploaded, PostPublished,
    PostRemoved, PostUpdated, UserRegistered, UserRemoved, UserUpdated,
};

/// Calls `$body` with `$event` bound to the struct inside, whichever it is.
macro_rules! each_event {
    ($value:expr, $event:ident => $body:expr) => {
        match $value {
            $crate::event::BlogEvent::CommentCreated($event) => $body,
            $crate::event::BlogEvent::CommentRemoved($event) => $body,
            $crate::event::BlogEvent::CommentUpdated($event) => $body,
            $crate::event::BlogEvent::ImageUploaded($event) => $body,
            $crate::event::BlogEvent::PostPublished($event) => $body,
            $crate::event::BlogEvent::PostRemoved($event) => $body,
            $crate::event::BlogEvent::PostUpdated($event) => $body,
            $crate::event::BlogEvent::UserRegistered($event) => $body,
            $crate::event::BlogEvent::UserRemoved($event) => $body,
            $crate::event::BlogEvent::UserUpdated($event) => $body,
        }
    };
}
pub(crate) use each_event;

/// Any event of a blog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlogEvent {
    /// Somebody commented on a post.
    CommentCreated(CommentCreated),
    /// A comment is no longer visible.
    CommentRemoved(CommentRemoved),
    /// A comment was changed.
    CommentUpdated(CommentUpdated),
    /// A picture was put into the object store.
    ImageUploaded(ImageUploaded),
    /// A post became visible.
    PostPublished(PostPublished),
    /// A post is no longer visible.
    PostRemoved(PostRemoved),
    /// A visible post was changed.
    PostUpdated(PostUpdated),
    /// Somebody registered.
    UserRegistered(UserRegistered),
    /// A user's account was removed.
    UserRemoved(UserRemoved),
    /// A user's name, address or subscription changed.
    UserUpdated(UserUpdated),
}

impl BlogEvent {
    /// The kinds of all variants, in their order.
    pub const TYPES: [EventType; 10] = [
        CommentCreated::TYPE,
        CommentRemoved::TYPE,
        CommentUpdated::TYPE,
        ImageUploaded::TYPE,
        PostPublished::TYPE,
        PostRemoved::TYPE,
        PostUpdated::TYPE,
        UserRegistered::TYPE,
        UserRemoved::TYPE,
        UserUpdated::TYPE,
    ];

    /// Returns its kind.
    pub fn event_type(&self) -> EventType {
        fn of<E: EventRecord>(_: &E) -> EventType {
            E::TYPE
        }
        each_event!(self, event => of(event))
    }

    /// Returns the identity that its producer gave it.
    pub fn event_id(&self) -> &str {
        each_event!(self, event => &event.event_id)
    }

    /// Returns which blog it is about.
    pub fn blog(&self) -> &str {
        each_event!(self, event => &event.blog)
    }

    /// Returns when it happened, in milliseconds since the Unix epoch.
    pub fn occurred_at(&self) -> i64 {
        each_event!(self, event => event.occurred_at)
    }

    /// Returns the record's key: the post, the user, or the object's key.
    pub fn key(&self) -> &str {
        each_event!(self, event => event.key().unwrap_or_default())
    }

    /// Returns the user who did it; `None` where the event does not say.
    pub fn actor(&self) -> Option<&str> {
        match self {
            Self::CommentCreated(event) => Some(&event.author),
            Self::CommentRemoved(event) => Some(&event.editor),
            Self::CommentUpdated(event) => Some(&event.editor),
            Self::ImageUploaded(event) => event.author.as_deref(),
            Self::PostPublished(event) => Some(&event.author),
            Self::PostRemoved(event) => Some(&event.editor),
            Self::PostUpdated(event) => Some(&event.editor),
            Self::UserRegistered(event) => Some(&event.user_id),
            Self::UserRemoved(event) => Some(&event.user_id),
            Self::UserUpdated(event) => Some(&event.user_id),
        }
    }
}
