//! Whole groups on the embedded broker: every record is counted once, and they end together.

#![expect(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postroom::Group;
use postroom::codec::{Codec, Framing, Limits, Outgoing};
use postroom::config::{Config, Sources, load};
use postroom::core::HaltCause;
use postroom::event::{CommentCreated, Envelope, PostPublished};
use postroom::handler::{Context, Error, Handler};
use postroom::kafka::Embedded;
use postroom::runtime::{Broker, Ending, Service};
use postroom::telemetry::{Board, BuildInfo, Health, Metrics, Totals};

/// Does what the author's name says.
struct Posts;

impl Handler for Posts {
    type Event = PostPublished;

    async fn handle(&self, post: &Envelope<PostPublished>, context: &mut Context) -> Result<(), Error> {
        match post.event.author.as_str() {
            "skip" => Err(Error::skip("by a rule")),
            "dead" => Err(Error::dead("never")),
            "fatal" => Err(Error::fatal("nothing goes any more")),
            "block" => loop {
                std::thread::park();
            },
            "hang" => std::future::pending().await,
            "panic" => panic!("as it was asked"),
            "retry" => Err(Error::retry("not now")),
            _ => {
                context.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT)", []);
                Ok(())
            }
        }
    }
}

/// Takes comments, of the same process.
struct Comments;

impl Handler for Comments {
    type Event = CommentCreated;

    async fn handle(&self, _: &Envelope<CommentCreated>, _: &mut Context) -> Result<(), Error> {
        Ok(())
    }
}

struct Stage {
    service: Service,
    codec: Codec,
    directory: tempfile::TempDir,
    board: Arc<Board>,
    metrics: Metrics,
    _broker: Embedded,
}

fn config(address: &str, store: &Path) -> Config {
    let set = |key: &str, value: &str| (format!("POSTROOM_{key}"), value.to_owned());
    let environment =
        vec![set("KAFKA__BROKERS", address), set("STORE__URL", &format!("sqlite:{}", store.display()))];
    load(&Sources { environment, ..Sources::default() }).unwrap().config
}

impl Stage {
    async fn start(groups: Vec<Group>) -> Self {
        let broker = Embedded::start().unwrap();
        for topic in ["blog.posts", "blog.comments"] {
            broker.create_topic(topic, 4).unwrap();
        }
        for group in &groups {
            let name = format!("postroom.{}", group.name());
            broker.create_topic(&format!("retry.{name}"), 1).unwrap();
            for topic in group.topics() {
                broker.create_topic(&format!("dlq.{name}.{topic}"), 4).unwrap();
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let config = config(broker.address(), &directory.path().join("postroom.db"));
        let word = || "test".to_owned();
        let build = BuildInfo { version: word(), revision: word(), rustc: word(), librdkafka: word() };
        let board = Arc::new(Board::new("test"));
        let metrics = Metrics::new(&build, Arc::clone(&board)).unwrap();
        let service = Service::start(&config, groups, metrics.clone(), Broker::Embedded).await.unwrap();
        let codec = Codec::new(Limits::default());
        Self { service, codec, directory, board, metrics, _broker: broker }
    }

    async fn post(&self, id: &str, author: &str) {
        let post = PostPublished {
            event_id: id.to_owned(),
            post_id: id.to_owned(),
            author: author.to_owned(),
            occurred_at: 1_000,
            ..PostPublished::default()
        };
        let outgoing = self.codec.encode(&post, Framing::ConfluentV0).unwrap();
        self.service.producer().publish_event(&outgoing).await.unwrap();
    }

    /// Waits until the totals are enough.
    async fn until(&self, enough: impl Fn(&Totals) -> bool) -> Totals {
        let begun = Instant::now();
        loop {
            let totals = self.service.status().totals;
            if enough(&totals) {
                return totals;
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "{totals:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn posts() -> Group {
    Group::each("posts", Posts)
        .max_attempts(NonZeroU32::new(2).unwrap())
        .backoff(Duration::from_millis(1), Duration::from_millis(2))
        .deadline(Duration::from_millis(100))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_counted_once_by_how_it_ended() {
    let stage = Stage::start(vec![posts()]).await;
    for number in 0..40 {
        stage.post(&format!("ok{number}"), "ana").await;
    }
    for author in ["skip", "dead", "hang", "panic", "retry"] {
        stage.post(&format!("{author}1"), author).await;
        stage.post(&format!("{author}2"), author).await;
    }
    stage.post("ok7", "ana").await;
    let poison =
        Outgoing { topic: "blog.posts".to_owned(), value: Some(b"{}".to_vec()), ..Outgoing::default() };
    stage.service.producer().publish_event(&poison).await.unwrap();
    let published = 40 + 10 + 1 + 1;

    let count = |totals: &Totals, word: &str| totals.by_outcome.get(word).copied().unwrap_or_default();
    let totals = stage
        .until(|totals| {
            let [ok, dead, duplicate] = ["ok", "dead_lettered", "duplicate"].map(|word| count(totals, word));
            (ok, dead, duplicate) == (40, 9, 1) && count(totals, "skipped") >= 2
        })
        .await;

    let all = totals.by_outcome.values().sum::<u64>();
    assert_eq!((totals.received, all, count(&totals, "skipped")), (published, published, 2), "{totals:#?}");
    let reasons: Vec<_> = totals.dead_letters.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    let expected = [("exhausted", 2), ("panicked", 2), ("rejected", 2), ("timed_out", 2), ("undecodable", 1)];
    assert_eq!(reasons, expected);
    let other = totals.by_event_type.get("other").copied();
    assert_eq!(other, Some(1), "only the poison has no type: {totals:#?}");

    let Stage { mut service, .. } = stage;
    service.drain(Duration::from_secs(10));
    let endings = service.ended(Duration::from_secs(10)).await;
    assert_eq!(endings, [("postroom.posts".to_owned(), Ending::Drained)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_poll_thread_is_seen_to_come_round() {
    let mut stage = Stage::start(vec![posts()]).await;
    let last = |page: &str| {
        let line =
            page.lines().find_map(|line| line.strip_prefix("postroom_last_poll_timestamp_seconds{")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let begun = Instant::now();

    let mut seen = BTreeSet::new();
    while seen.len() < 3 && begun.elapsed() < Duration::from_secs(40) {
        seen.insert(last(&stage.metrics.page()).to_bits());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    assert!(seen.len() >= 3, "{seen:?}");
    stage.service.drain(Duration::from_secs(5));
    stage.service.ended(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_ends_by_itself_drains_the_others() {
    let mut stage = Stage::start(vec![posts(), Group::each("comments", Comments)]).await;
    stage.post("p1", "fatal").await;

    let ended = stage.service.ended(Duration::from_secs(10));
    let endings = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();

    let of = |group: &str| endings.iter().find(|(name, _)| name == group).map(|(_, ending)| ending.clone());
    assert_eq!(of("postroom.comments"), Some(Ending::Drained));
    let posts = of("postroom.posts").unwrap();
    assert!(matches!(posts, Ending::Halted(HaltCause::Fatal(_))), "{posts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_block_their_threads_hold_up_nothing_else() {
    let mut stage = Stage::start(vec![posts(), Group::each("comments", Comments).non_blocking()]).await;
    for number in 0..64 {
        stage.post(&format!("p{number}"), "block").await;
    }
    let comment = CommentCreated {
        event_id: "c1".to_owned(),
        post_id: "p1".to_owned(),
        comment_id: "c1".to_owned(),
        author: "ben".to_owned(),
        occurred_at: 1_000,
        ..CommentCreated::default()
    };
    stage.until(|totals| totals.received >= 64).await;

    let outgoing = stage.codec.encode(&comment, Framing::ConfluentV0).unwrap();
    stage.service.producer().publish_event(&outgoing).await.unwrap();
    stage.until(|totals| totals.by_event_type.contains_key("comment.created")).await;

    stage.service.drain(Duration::from_millis(200));
    let ended = stage.service.ended(Duration::from_millis(200));
    let endings = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    let posts = endings.iter().find(|(name, _)| name == "postroom.posts").map(|(_, ending)| ending.clone());
    assert!(matches!(posts, Some(Ending::DeadlinePassed { .. })), "{endings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_cannot_go_on_ends_the_process_and_readiness_says_so() {
    let mut stage = Stage::start(vec![posts()]).await;
    let file = rusqlite::Connection::open(stage.directory.path().join("postroom.db")).unwrap();

    file.execute_batch("DROP TABLE requests").unwrap();
    let ended = stage.service.ended(Duration::from_secs(10));
    let endings = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();

    let Some((helper, Ending::Lost(why))) = endings.first() else { panic!("{endings:?}") };
    assert!(why.contains("no such table"), "{why}");
    assert_eq!(endings.get(1), Some(&("postroom.posts".to_owned(), Ending::Drained)));
    let Health::Ill(ill) = stage.board.readiness() else { panic!("it is ready") };
    assert!(
        ill.iter().any(|line| line.starts_with(helper.as_str()) && line.contains("no such table")),
        "{ill:?}"
    );
}
