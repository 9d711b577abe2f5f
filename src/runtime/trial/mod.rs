//! The real driver, core, workers and store on an edge in memory.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod accounts;
mod edge;
mod failures;
mod greylisting;
mod handlers;
mod life;
mod noted;
mod once;
mod outside;
mod store;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use postroom_core::{
    Failure, FetchEpoch, Generation, Input, KeyHash, Offset, Partition, Record, Topic, TopicPartition,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use self::edge::{Asked, FakeEdge};
use self::handlers::{Like, Log};
use self::store::Flaky;
use crate::adapters::store::SqliteStore;
use crate::codec::{Codec, Framing, Limits};
use crate::config::{Effect, Sources, load};
use crate::event::{EventRecord, RawBatchBuilder, RawHeader, RawParts, RawRecord};
use crate::ports::{CommittedPosition, EdgeEvent, Param};
use crate::runtime::clock::Clock;
use crate::runtime::driver::{Driver, Parts};
use crate::runtime::ending::Ending;
use crate::runtime::group::Group;
use crate::runtime::inbox::Control;
use crate::runtime::logs::Logs;
use crate::runtime::start::StartRules;
use crate::runtime::worker::Desk;
use crate::telemetry::{Board, BuildInfo, GroupMetrics, GroupShape, Journal, Metrics, TopicShape};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a handler may take, where that is short.
const DEADLINE: Duration = Duration::from_millis(100);

/// One running group.
struct Trial {
    edge: Arc<FakeEdge>,
    store: Flaky,
    log: Log,
    journal: Arc<Journal>,
    metrics: Arc<GroupMetrics>,
    board: Arc<Board>,
    control: UnboundedSender<Control>,
    driver: JoinHandle<Ending>,
    codec: Codec,
    clock: Clock,
}

impl Trial {
    /// Starts a group with short waits: back-off up to 5 ms, a commit each 5 ms.
    fn start(group: impl FnOnce(Log) -> Group) -> Self {
        Self::start_on(Flaky::new(SqliteStore::in_memory().unwrap()), group)
    }

    fn start_on(store: Flaky, group: impl FnOnce(Log) -> Group) -> Self {
        let log = Log::default();
        let group = group(log.clone()).backoff(Duration::from_millis(1), Duration::from_millis(5));
        let codec = Codec::new(Limits::default());
        codec.add_schema(Some(SCHEMA), None, Like::TYPE.schema).unwrap();
        let config = load(&Sources::default()).unwrap().config;
        let desk = Desk::new(&group, "test.", codec.clone(), Arc::new(store.clone()));
        let journal = Arc::clone(&desk.journal);
        let rules = StartRules::new(&config, &group, &Effect::default(), &desk.retry_topic);
        let mut settings = group.settings(1);
        settings.commit_interval = Duration::from_millis(5);
        let clock = Clock::start();
        let (edge, events) = FakeEdge::new();
        let board = Arc::new(Board::new("test"));
        let metrics = metrics_on(&board);
        let (driver, control) = Driver::new(Parts {
            group,
            desk,
            settings,
            rules,
            edge: edge.clone(),
            events,
            metrics: Arc::clone(&metrics),
            logs: Arc::new(Logs::default()),
            clock,
            threads: Handle::current(),
            shutdown_deadline: Duration::from_secs(5),
        });
        let driver = tokio::spawn(driver.run());
        Self { edge, store, log, journal, metrics, board, control, driver, codec, clock }
    }

    /// Hands the partition `likes/0` out, as if Kafka had committed `next`.
    fn assign(&self, generation: u64, next: Option<i64>) {
        self.assign_at(likes(), generation, next);
    }

    fn assign_at(&self, partition: TopicPartition, generation: u64, next: Option<i64>) {
        let committed =
            next.map(|next| CommittedPosition { next: Offset(next), finished: Vec::new(), store: None });
        self.edge.tell(EdgeEvent::Assigned { partition, generation: Generation(generation), committed });
    }

    /// Polls records from `first` on, one for each word.
    fn poll(&self, generation: u64, first: i64, words: &[&str]) {
        self.poll_at(&likes(), generation, first, words, &[]);
    }

    fn poll_at(
        &self,
        partition: &TopicPartition,
        generation: u64,
        first: i64,
        words: &[&str],
        headers: &[(&str, &str)],
    ) {
        let mut builder = RawBatchBuilder::new(partition.clone());
        for (offset, word) in (first..).zip(words) {
            self.push(&mut builder, offset, word, headers);
        }
        let records = builder.finish().into_iter().map(polled).collect();
        let (generation, epoch) = (Generation(generation), FetchEpoch::default());
        self.edge.tell(EdgeEvent::Input(Input::Records { generation, epoch, records }));
    }

    fn push(&self, builder: &mut RawBatchBuilder, offset: i64, word: &str, headers: &[(&str, &str)]) {
        let (key, id) = word.split_once('=').unwrap_or((word, ""));
        let (offset, timestamp) = (Offset(offset), Some(0));
        if key == "poison" {
            let parts = RawParts { offset, timestamp, key: None, value: Some(b"{}") };
            return builder.push(parts, std::iter::empty());
        }
        let event = Like { word: key.to_owned(), id: id.to_owned() };
        let outgoing = self.codec.encode(&event, Framing::ConfluentV0).unwrap();
        let own = outgoing.headers.iter().map(|(name, value)| RawHeader { name, value: value.as_deref() });
        let more = headers.iter().map(|(name, value)| RawHeader { name, value: Some(value.as_bytes()) });
        let parts =
            RawParts { offset, timestamp, key: outgoing.key.as_deref(), value: outgoing.value.as_deref() };
        builder.push(parts, own.chain(more));
    }

    fn revoke(&self, generation: u64, patience: Duration) {
        let deadline = self.clock.now().plus(patience);
        let generations = vec![Generation(generation)];
        self.edge.tell(EdgeEvent::Input(Input::Revoked { generations, deadline }));
    }

    fn drain(&self, within: Duration) {
        self.control.send(Control::Drain { within }).unwrap();
    }

    /// Waits until the broker has taken a commit at `next`.
    async fn committed(&self, next: i64) -> Vec<Asked> {
        self.edge.until(|asked| asked.contains(&Asked::Commit(likes(), Offset(next)))).await
    }

    /// Drains and waits for the end.
    async fn end(self) -> Ending {
        self.drain(PATIENCE);
        self.ended().await
    }

    async fn ended(self) -> Ending {
        tokio::time::timeout(PATIENCE, self.driver).await.unwrap().unwrap()
    }

    /// Reads the first column of a query as text.
    async fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.store.inner.query(sql, Vec::new()).await.unwrap();
        let text = |row: Vec<Param>| match row.into_iter().next() {
            Some(Param::Text(text)) => text,
            Some(Param::Integer(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        rows.into_iter().map(text).collect()
    }

    /// What handlers wrote, in order.
    async fn written(&self) -> Vec<String> {
        self.column("SELECT word FROM written ORDER BY rowid").await
    }

    /// The store's position of `likes/0`.
    async fn position(&self) -> Option<Offset> {
        let rows = self.store.inner.positions().await.unwrap();
        rows.into_iter().find(|row| row.group == "test.likes" && row.partition == likes())?.next
    }
}

const SCHEMA: u32 = 9_000;

fn likes() -> TopicPartition {
    TopicPartition::new(Topic::new("likes"), Partition(0))
}

fn retry() -> TopicPartition {
    TopicPartition::new(Topic::new("retry.test.likes"), Partition(0))
}

/// A store with the table that the handlers write to.
async fn store_with_table() -> Flaky {
    let store = SqliteStore::in_memory().unwrap();
    Flaky::with_table(store).await
}

/// Waits until something holds that nobody tells of.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "waited in vain: {what}");
}

fn polled(record: RawRecord) -> Record<RawRecord> {
    let key = record.key().map(|key| KeyHash(key.iter().fold(7, |hash, byte| hash * 31 + u64::from(*byte))));
    let bytes = u32::try_from(record.size()).unwrap();
    Record { offset: record.offset(), key, bytes, payload: record }
}

fn metrics() -> Arc<GroupMetrics> {
    metrics_on(&Arc::new(Board::new("test")))
}

fn metrics_on(board: &Arc<Board>) -> Arc<GroupMetrics> {
    let word = || "test".to_owned();
    let build = BuildInfo { version: word(), revision: word(), rustc: word(), librdkafka: word() };
    let metrics = Metrics::new(&build, Arc::clone(board)).unwrap();
    let topics = [likes(), retry()].map(|partition| TopicShape {
        topic: partition.topic.to_string(),
        event_types: vec!["like.added".to_owned()],
    });
    let shape = GroupShape {
        group: "test.likes".to_owned(),
        handler: "likes".to_owned(),
        topics: topics.to_vec(),
        dependencies: vec!["store".to_owned()],
        dead_letters: Vec::new(),
        poll_interval_limit: Duration::from_secs(300),
    };
    Arc::new(metrics.group(&shape).unwrap())
}

fn letter(asked: &[Asked]) -> Vec<(&'static str, i64, u32)> {
    let each = |asked: &Asked| match asked {
        Asked::Letter { reason, offset, attempts, .. } => Some((reason.code(), offset.0, *attempts)),
        _ => None,
    };
    asked.iter().filter_map(each).collect()
}

fn message(asked: &[Asked]) -> Failure {
    let each = |asked: &Asked| match asked {
        Asked::Letter { failure, .. } => Some(failure.clone()),
        _ => None,
    };
    asked.iter().find_map(each).unwrap()
}
