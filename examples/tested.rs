//! A handler and its test: no Kafka, no waiting, the real core.
//!
//! `cargo test --example tested` plays half a minute of back-off in milliseconds.

use postroom::event::{Envelope, EventRecord, EventType};
use postroom::handler::{Context, Error, Handler};

/// A reader liked a post.
#[derive(serde::Deserialize, serde::Serialize)]
pub struct LikeAdded {
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

    fn key(&self) -> Option<&str> {
        Some(&self.post_id)
    }
}

/// Refuses likes of nobody.
pub struct CheckLike;

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

fn main() {
    drop(CheckLike);
}

#[cfg(test)]
mod tests {
    use postroom::Group;
    use postroom::core::Reason;
    use postroom::testkit::TestBench;

    use super::*;

    fn like(reader: &str) -> LikeAdded {
        LikeAdded { post_id: "hello".to_owned(), reader: reader.to_owned() }
    }

    #[test]
    fn a_failure_is_tried_again_and_committed_once() {
        let report = TestBench::new(Group::each("likes", CheckLike)).given(&like("ana")).fails(3).run();

        assert_eq!((report.calls(), report.retries(), report.committed()), (1, 3, 1));
        assert!(report.dead_letters().is_empty());
    }

    #[test]
    fn what_is_refused_is_set_aside_and_the_next_goes_on() {
        let report =
            TestBench::new(Group::each("likes", CheckLike)).given(&like("")).given(&like("ana")).run();

        assert_eq!(report.committed(), 2);
        assert_eq!(report.dead_letters(), [(Reason::Rejected, "nobody likes this".to_owned())]);
    }

    #[test]
    fn the_attempts_are_bounded_and_take_their_time() {
        let report = TestBench::new(Group::each("likes", CheckLike)).given(&like("unlucky")).run();

        assert_eq!(report.calls(), 8);
        assert_eq!(report.dead_letters().len(), 1);
        assert!(report.elapsed().as_millis() > 0, "back-off passes in virtual time");
    }
}
