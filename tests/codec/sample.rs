//! The events of a real site: every line becomes an event, and comes back from Avro as it was.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;

use postroom::codec::{Codec, Framing, Limits};
use postroom::event::BlogEvent;
use postroom::event::line::{Lines, Subscribed, missing_registrations, write_line};
use serde_json::Value;

use crate::records::polled;

const SAMPLE: &str = "../shared/data/blog-sample.jsonl";

fn sample() -> Option<Vec<BlogEvent>> {
    let Ok(file) = File::open(SAMPLE) else {
        eprintln!("SKIPPED: {SAMPLE} is missing");
        return None;
    };
    Some(Lines::new(BufReader::new(file)).map(Result::unwrap).collect())
}

#[test]
fn every_line_of_a_real_site_survives_avro_and_the_export() {
    let Some(events) = sample() else { return };
    let codec = Codec::new(Limits::default());
    let mut exported = String::new();

    for event in &events {
        let record = polled(&codec.encode(event, Framing::ConfluentV0).unwrap());
        let envelope = codec.envelope::<BlogEvent>(&record).unwrap().unwrap();
        assert_eq!(&envelope.event, event);
        assert_eq!(envelope.id.as_str(), event.event_id());
        assert_eq!(envelope.time, event.occurred_at());
        assert_eq!(record.key(), Some(event.key().as_bytes()));
        exported.push_str(&write_line(event));
        exported.push('\n');
    }

    let again: Vec<BlogEvent> = Lines::new(exported.as_bytes()).map(Result::unwrap).collect();
    assert!(again == events, "the export reads back as other events");
    assert_eq!(events.len(), 9_895);
}

#[test]
fn what_the_lines_say_stands_in_the_events() {
    let Some(events) = sample() else { return };
    let text = std::fs::read_to_string(SAMPLE).unwrap();

    for (event, line) in events.iter().zip(text.lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        let said = |name: &str| line[name].as_str();
        assert_eq!(
            event.event_type().name.replace("removed", "deleted"),
            said("type").unwrap().replace('_', ".")
        );
        assert_eq!(Some(event.event_id()), said("event_id"));
        assert_eq!(event.actor(), said("author"));
        match event {
            BlogEvent::CommentCreated(comment) => {
                assert_eq!(Some(comment.post_id.as_str()), said("in_reply_to"));
                assert_eq!(Some(comment.comment_id.as_str()), said("id"));
                assert_eq!(comment.body.as_deref(), said("body"));
                assert_eq!(comment.title.as_deref(), said("title"));
            }
            BlogEvent::PostPublished(post) => {
                assert_eq!(Some(post.post_id.as_str()), said("id"));
                assert_eq!(post.body.as_deref(), said("body"));
                assert_eq!(post.title.as_deref(), said("title"));
                assert_eq!(post.images.len(), line["images"].as_array().map_or(0, Vec::len));
                assert_eq!(post.tags.len(), line["tags"].as_array().map_or(0, Vec::len));
            }
            BlogEvent::PostUpdated(post) => assert_eq!(post.body, None),
            _ => {}
        }
    }
}

#[test]
fn all_events_of_a_comment_have_the_key_of_its_post() {
    let Some(events) = sample() else { return };
    let mut posts: HashMap<&str, &str> = HashMap::new();

    for event in &events {
        match event {
            BlogEvent::CommentCreated(comment) => {
                posts.insert(&comment.comment_id, &comment.post_id);
            }
            BlogEvent::CommentUpdated(comment) => {
                assert_eq!(posts.get(comment.comment_id.as_str()), Some(&comment.post_id.as_str()));
            }
            BlogEvent::CommentRemoved(comment) => {
                assert_eq!(posts.get(comment.comment_id.as_str()), Some(&comment.post_id.as_str()));
            }
            _ => {}
        }
    }
}

#[test]
fn registrations_that_a_file_lacks_are_made_from_its_authors() {
    let Some(events) = sample() else { return };
    let authors: std::collections::HashSet<_> = events.iter().filter_map(BlogEvent::actor).collect();

    let made = missing_registrations(&events, Subscribed::Nobody);

    assert_eq!(made.len(), authors.len());
    assert!(made.is_sorted_by_key(|registration| registration.occurred_at));
    let mut complete = events.clone();
    complete.extend(made.into_iter().map(BlogEvent::UserRegistered));
    assert_eq!(missing_registrations(&complete, Subscribed::Nobody), []);
}
