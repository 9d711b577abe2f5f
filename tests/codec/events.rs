//! Every event survives the way to bytes and back, whoever wrote it and whoever reads it.

use crate::records::polled;
use postroom::codec::{Codec, Framing, Limits};
use postroom::event::{BlogEvent, PostPublished};

#[test]
fn an_event_comes_back_as_it_was_in_both_framings() {
    let codec = Codec::new(Limits::default());
    let event = BlogEvent::PostPublished(PostPublished {
        event_id: "e1".to_owned(),
        blog: "b".to_owned(),
        post_id: "p1".to_owned(),
        author: "a".to_owned(),
        title: Some("On order".to_owned()),
        occurred_at: 1_700_000_000_123,
        tags: vec!["kafka".to_owned()],
        ..PostPublished::default()
    });

    for framing in [Framing::ConfluentV0, Framing::HeaderGuid] {
        let record = polled(&codec.encode(&event, framing).unwrap());
        let envelope = codec.envelope::<BlogEvent>(&record).unwrap().unwrap();

        assert_eq!(envelope.event, event);
        assert_eq!(envelope.id.as_str(), "e1");
        assert_eq!(envelope.event_type, "post.published");
        assert_eq!(envelope.time, 1_700_000_000_123);
    }
}
