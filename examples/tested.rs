//! A handler and its test: no Kafka, no waiting, the real core. `cargo test --example tested`

use postroom::Group;
use postroom::event::{Envelope, EventRecord, EventType};
use postroom::handler::{Context, Error, Handler};
use postroom::testkit::TestBench;

#[derive(serde::Deserialize, serde::Serialize)]
struct LikeAdded {
    post_id: String,
    reader: String,
}

impl EventRecord for LikeAdded {
    const TYPE: EventType = EventType {
        name: "like.added",
        record: "blog.LikeAdded",
        topic: "blog.likes",
        schema: include_str!("like.added.avsc"),
    };
}

struct CheckLike;

impl Handler for CheckLike {
    type Event = LikeAdded;

    async fn handle(&self, like: &Envelope<LikeAdded>, _: &mut Context) -> Result<(), Error> {
        match like.event.reader.as_str() {
            "" => Err(Error::dead("nobody likes this")),
            "unlucky" => Err(Error::retry("the reader is never at home")),
            _ => Ok(()),
        }
    }
}

/// Plays the likes of some readers.
fn played(readers: &[&str], failures: u32) -> postroom::testkit::Report {
    let like = |reader: &&str| LikeAdded { post_id: "hello".to_owned(), reader: (*reader).to_owned() };
    let bench = TestBench::new(Group::each("likes", CheckLike)).fails(failures);
    readers.iter().map(like).fold(bench, |bench, like| bench.given(&like)).run()
}

fn main() {
    assert_eq!(played(&["ana", "", "unlucky"], 3).committed(), 3);
}

#[test]
fn a_failure_is_tried_again_and_committed_once() {
    let report = played(&["ana"], 3);
    assert_eq!((report.calls(), report.retries(), report.committed()), (1, 3, 1));
}

#[test]
fn what_is_refused_is_set_aside_and_the_next_goes_on() {
    let report = played(&["", "ana"], 0);
    assert_eq!(report.dead_letters(), [(postroom::core::Reason::Rejected, "nobody likes this".to_owned())]);
    assert_eq!(report.committed(), 2);
}
