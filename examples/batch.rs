//! A batch handler: what it writes and how far it has read commit in one transaction, so that every like counts once,
//! whatever crashes.
//!
//! `cargo run --example batch` joins the group `postroom.like_counts` on the brokers of `postroom.toml`.

use postroom::event::{Envelope, EventRecord, EventType};
use postroom::handler::{BatchContext, BatchHandler, Error};
use postroom::ports::Param;
use postroom::{Group, Postroom};

#[derive(serde::Deserialize)]
struct LikeAdded {
    post_id: String,
}

impl EventRecord for LikeAdded {
    const TYPE: EventType = EventType {
        name: "like.added",
        record: "blog.LikeAdded",
        topic: "blog.likes",
        schema: include_str!("like.added.avsc"),
    };
}

struct CountLikes;

impl BatchHandler for CountLikes {
    type Event = LikeAdded;

    async fn handle(&self, likes: &[Envelope<LikeAdded>], context: &mut BatchContext) -> Result<(), Error> {
        context
            .execute("CREATE TABLE IF NOT EXISTS likes (post TEXT PRIMARY KEY, count INTEGER NOT NULL)", []);
        for like in likes {
            context.execute(
                "INSERT INTO likes VALUES (?1, 1) ON CONFLICT (post) DO UPDATE SET count = likes.count + 1",
                [Param::Text(like.event.post_id.clone())],
            );
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(Postroom::from_env()?.with(Group::batches("like_counts", CountLikes)).run().await?)
}
