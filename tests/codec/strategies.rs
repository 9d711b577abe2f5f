//! Random events, whatever their fields may hold.

use postroom::event::{
    BlogEvent, CommentCreated, CommentRemoved, CommentUpdated, ImageUploaded, PostPublished, PostRemoved,
    PostUpdated, UserRegistered, UserRemoved, UserUpdated,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

pub(crate) fn any_event() -> impl Strategy<Value = BlogEvent> {
    prop_oneof![
        (post(), texts(), texts()).prop_map(|(post, tags, images)| BlogEvent::PostPublished(PostPublished {
            tags,
            images,
            ..post
        })),
        facts().prop_map(|f| BlogEvent::PostUpdated(PostUpdated {
            event_id: f.id,
            blog: f.texts.0,
            post_id: f.texts.1,
            editor: f.texts.2,
            title: f.maybe.0,
            slug: f.maybe.1,
            section: f.maybe.2,
            body: f.maybe.3,
            body_bytes: f.number,
            occurred_at: f.time,
            recorded_at: f.later,
        })),
        facts().prop_map(|f| BlogEvent::PostRemoved(PostRemoved {
            event_id: f.id,
            blog: f.texts.0,
            post_id: f.texts.1,
            editor: f.texts.2,
            occurred_at: f.time,
            recorded_at: f.later,
        })),
        (facts(), texts()).prop_map(|(f, images)| BlogEvent::CommentCreated(CommentCreated {
            event_id: f.id,
            blog: f.texts.0,
            comment_id: f.texts.1,
            post_id: f.texts.2,
            author: f.texts.3,
            title: f.maybe.0,
            format: f.maybe.1,
            body: f.maybe.2,
            occurred_at: f.time,
            recorded_at: f.later,
            parent_comment_id: f.maybe.3,
            slug: f.texts.4,
            section: None,
            images,
            body_bytes: f.number,
        })),
        facts().prop_map(|f| BlogEvent::CommentUpdated(CommentUpdated {
            event_id: f.id,
            blog: f.texts.0,
            comment_id: f.texts.1,
            post_id: f.texts.2,
            editor: f.texts.3,
            title: f.maybe.0,
            body: f.maybe.1,
            body_bytes: f.number,
            occurred_at: f.time,
            recorded_at: f.later,
        })),
        facts().prop_map(|f| BlogEvent::CommentRemoved(CommentRemoved {
            event_id: f.id,
            blog: f.texts.0,
            comment_id: f.texts.1,
            post_id: f.texts.2,
            editor: f.texts.3,
            occurred_at: f.time,
            recorded_at: f.later,
        })),
        (facts(), any::<bool>()).prop_map(|(f, subscribed)| BlogEvent::UserRegistered(UserRegistered {
            event_id: f.id,
            blog: f.texts.0,
            user_id: f.texts.1,
            name: f.maybe.0,
            email: f.maybe.1,
            occurred_at: f.time,
            recorded_at: f.later,
            subscribed,
            locale: f.texts.2,
        })),
        (facts(), of(any::<bool>())).prop_map(|(f, subscribed)| BlogEvent::UserUpdated(UserUpdated {
            event_id: f.id,
            blog: f.texts.0,
            user_id: f.texts.1,
            name: f.maybe.0,
            email: f.maybe.1,
            subscribed,
            locale: f.maybe.2,
            occurred_at: f.time,
            recorded_at: f.later,
        })),
        facts().prop_map(|f| BlogEvent::UserRemoved(UserRemoved {
            event_id: f.id,
            blog: f.texts.0,
            user_id: f.texts.1,
            occurred_at: f.time,
            recorded_at: f.later,
        })),
        (facts(), 0..i64::MAX, "[0-9a-f]{64}").prop_map(|(f, size, sha256)| BlogEvent::ImageUploaded(
            ImageUploaded {
                event_id: f.id,
                blog: f.texts.0,
                object_key: f.texts.1,
                media_type: f.texts.2,
                sha256,
                size,
                post_id: f.maybe.0,
                author: f.maybe.1,
                occurred_at: f.time,
                recorded_at: f.later,
            }
        )),
    ]
}

/// A post without what version 1 of its schema lacks.
pub(crate) fn post() -> impl Strategy<Value = PostPublished> {
    facts().prop_map(|f| PostPublished {
        event_id: f.id,
        blog: f.texts.0,
        post_id: f.texts.1,
        author: f.texts.2,
        title: f.maybe.0,
        slug: f.texts.3,
        section: f.maybe.1,
        format: f.maybe.2,
        body: f.maybe.3,
        occurred_at: f.time,
        recorded_at: f.later,
        ..PostPublished::default()
    })
}

#[derive(Clone, Debug)]
struct Facts {
    id: String,
    texts: (String, String, String, String, String),
    maybe: (Option<String>, Option<String>, Option<String>, Option<String>),
    number: Option<i64>,
    time: i64,
    later: Option<i64>,
}

fn facts() -> impl Strategy<Value = Facts> {
    (
        "[^\\p{Cc}]{1,60}",
        (text(), text(), text(), text(), text()),
        (of(text()), of(text()), of(text()), of(text())),
        of(any::<i64>()),
        time(),
        of(time()),
    )
        .prop_map(|(id, texts, maybe, number, time, later)| Facts {
            id,
            texts,
            maybe,
            number,
            time,
            later,
        })
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..4)
}

fn text() -> impl Strategy<Value = String> {
    "[^\\x00]{0,40}"
}

fn time() -> impl Strategy<Value = i64> {
    -62_135_596_800_000..=253_402_300_799_999_i64
}
