//! The smallest handler: an event type of your own, a function, and an error that is the policy.
//!
//! `cargo run --example smallest` joins the group `postroom.likes` on the brokers of `postroom.toml`.

use postroom::event::{Envelope, EventRecord, EventType};
use postroom::handler::{Context, Error, Handler};
use postroom::{Group, Postroom};

#[derive(serde::Deserialize)]
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

struct ThankReader;

impl Handler for ThankReader {
    type Event = LikeAdded;

    async fn handle(&self, like: &Envelope<LikeAdded>, context: &mut Context) -> Result<(), Error> {
        if like.event.reader.is_empty() {
            return Err(Error::dead("a like without a reader cannot be thanked for"));
        }
        tracing::info!(post = like.event.post_id, attempt = context.attempt(), "thank you");
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(Postroom::from_env()?.with(Group::each("likes", ThankReader)).run().await?)
}
