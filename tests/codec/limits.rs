//! How large a record and its headers may be.

use postroom::codec::{Codec, Detail, Framing, Limits};
use postroom::event::{BlogEvent, PostPublished};
use postroom_core::Reason;

use crate::manifest::record;
use crate::records::polled;

fn post_of(bytes: usize) -> BlogEvent {
    let body = Some("x".repeat(bytes));
    BlogEvent::PostPublished(PostPublished { event_id: "1".to_owned(), body, ..PostPublished::default() })
}

#[test]
fn a_record_of_one_mebibyte_is_read_and_a_larger_one_is_too_large() {
    let codec = Codec::new(Limits::default());

    let record = polled(&codec.encode(&post_of(1024 * 1024), Framing::ConfluentV0).unwrap());
    assert!(codec.envelope::<BlogEvent>(&record).unwrap().is_some());

    let record = polled(&codec.encode(&post_of(1024 * 1024 + 64 * 1024), Framing::ConfluentV0).unwrap());
    let error = codec.envelope::<BlogEvent>(&record).unwrap_err();
    assert_eq!((error.detail(), error.reason()), (Detail::TooLarge, Reason::TooLarge));
}

#[test]
fn too_many_and_too_large_headers_are_invalid() {
    let codec = Codec::new(Limits::default());
    let value = codec.encode(&post_of(1), Framing::ConfluentV0).unwrap().value;
    let judged = |headers: &[(&str, Option<&[u8]>)]| {
        let record = record(None, value.as_deref(), None, headers);
        codec.envelope::<BlogEvent>(&record).map(|_| ()).map_err(|error| (error.detail(), error.reason()))
    };
    let large = vec![b'x'; 1024 * 1024];

    assert_eq!(judged(&vec![("x", None); 1_000]), Ok(()));
    assert_eq!(judged(&vec![("x", None); 10_000]), Err((Detail::Headers, Reason::Invalid)));
    assert_eq!(judged(&[("x", Some(&large))]), Err((Detail::Headers, Reason::Invalid)));
}

#[test]
fn a_comment_on_the_topic_of_posts_is_read_all_the_same() {
    let codec = Codec::new(Limits::default());
    let comment = BlogEvent::CommentCreated(postroom::event::CommentCreated {
        event_id: "1".to_owned(),
        ..postroom::event::CommentCreated::default()
    });

    let record = polled(&codec.encode(&comment, Framing::ConfluentV0).unwrap());

    assert_eq!(record.partition().topic.as_str(), "blog.posts");
    assert_eq!(codec.envelope::<BlogEvent>(&record).unwrap().unwrap().event, comment);
    assert!(codec.envelope::<PostPublished>(&record).unwrap().is_none());
}
