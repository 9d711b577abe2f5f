//! The whole path on the embedded broker: events in, tables and dead letters out.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test stops where it is wrong, and waits for a real broker"
)]

use std::time::{Duration, Instant};

use postroom::Group;
use postroom::adapters::store::SqliteStore;
use postroom::codec::{Codec, Framing};
use postroom::config::{Config, Sources, load};
use postroom::effects::{Notify, Project};
use postroom::event::{CommentCreated, PostPublished};
use postroom::kafka::Embedded;
use postroom::runtime::{Broker, Ending, Service};
use postroom::telemetry::{Board, BuildInfo, Metrics};

fn config(address: &str, store: &std::path::Path) -> Config {
    let set = |key: &str, value: &str| (format!("POSTROOM_{key}"), value.to_owned());
    let sources = Sources {
        environment: vec![
            set("KAFKA__BROKERS", address),
            set("STORE__URL", &format!("sqlite:{}", store.display())),
        ],
        effects: vec!["project".to_owned(), "notify".to_owned()],
        ..Sources::default()
    };
    load(&sources).unwrap().config
}

fn metrics() -> Metrics {
    let build = BuildInfo {
        version: "test".to_owned(),
        revision: "test".to_owned(),
        rustc: "test".to_owned(),
        librdkafka: "test".to_owned(),
    };
    Metrics::new(&build, std::sync::Arc::new(Board::new("test"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_is_counted_and_notified_and_poison_is_set_aside() {
    let broker = Embedded::start().unwrap();
    for topic in ["blog.posts", "blog.comments", "blog.users", "blog.media"] {
        broker.create_topic(topic, 4).unwrap();
        for group in ["postroom.project", "postroom.notify"] {
            broker.create_topic(&format!("dlq.{group}.{topic}"), 4).unwrap();
        }
    }
    broker.create_topic("retry.postroom.project", 4).unwrap();
    broker.create_topic("retry.postroom.notify", 4).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = config(broker.address(), &directory.path().join("postroom.db"));
    let groups = vec![Group::effect(Project), Group::effect(Notify::default())];

    let begun = Instant::now();
    let mut service = Service::start(&config, groups, metrics(), Broker::Embedded).await.unwrap();
    let codec = Codec::new(postroom::codec::Limits::default());
    let post = PostPublished {
        event_id: "e1".to_owned(),
        post_id: "p1".to_owned(),
        author: "ana".to_owned(),
        occurred_at: 1_000,
        ..PostPublished::default()
    };
    let comment = CommentCreated {
        event_id: "e2".to_owned(),
        post_id: "p1".to_owned(),
        comment_id: "c1".to_owned(),
        author: "ben".to_owned(),
        occurred_at: 2_000,
        ..CommentCreated::default()
    };
    for outgoing in [
        codec.encode(&post, Framing::ConfluentV0).unwrap(),
        codec.encode(&comment, Framing::ConfluentV0).unwrap(),
        codec.encode(&comment, Framing::HeaderGuid).unwrap(),
    ] {
        service.producer().publish_event(&outgoing).await.unwrap();
    }
    let poison = postroom::codec::Outgoing {
        topic: "blog.posts".to_owned(),
        value: Some(b"{\"not\": \"avro\"}".to_vec()),
        ..Default::default()
    };
    service.producer().publish_event(&poison).await.unwrap();

    let summary = loop {
        let summary = service.store().summary(5).await.unwrap();
        let status = service.status();
        let dead: u64 = status.totals.dead_letters.values().sum();
        if summary.comments == 1 && !summary.notifications.is_empty() && dead == 2 {
            break summary;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{summary:?} {status:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    println!("done in {:?}: {summary:?}", begun.elapsed());

    service.drain(Duration::from_secs(10));
    let endings = service.ended(Duration::from_secs(10)).await;
    assert!(endings.iter().all(|(_, ending)| *ending == Ending::Drained), "{endings:?}");
    drop(service);
    let _: SqliteStore = SqliteStore::open(&directory.path().join("postroom.db")).unwrap();
}
