//! The relay: publishes what is due in the outbox and marks it, row by row. What can never be published becomes a dead
//! letter of the group that would have carried it out.
//!
//! A crash between the two publishes a row again: its event id is the same, and the ledger lets it be done once. Any
//! number of relays may share a store.

mod hopeless;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use postroom_core::Reason;
use tokio::time::Instant;

use crate::codec::{Codec, EncodeError, Framing, Outgoing};
use crate::kafka::{Delivery, Producer, PublishError};
use crate::ports::{DueRow, Endpoints, Outbox, OutboxBacklog, Request, StoreError};
use crate::runtime::relay::hopeless::Hopeless;
use crate::telemetry::{Metrics, OutboxStatus};

pub(crate) use hopeless::Routes;

/// What publishes the rows of one store.
pub(crate) struct Relay<O> {
    outbox: O,
    producer: Producer,
    codec: Codec,
    letters: Routes,
    metrics: Metrics,
    stop: Arc<AtomicBool>,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// All that was taken is published: there may be more.
    Published,
    /// Nothing is due.
    Idle,
    /// The broker or the store did not do as asked.
    Hindered,
}

/// What became of the rows of one step.
#[derive(Debug, Default)]
struct Sorted {
    published: Vec<i64>,
    back: Vec<i64>,
    hopeless: Vec<Hopeless>,
    last: Option<String>,
}

impl<O: Outbox + Endpoints> Relay<O> {
    pub(crate) fn new(
        outbox: O,
        producer: Producer,
        codec: Codec,
        letters: Routes,
        metrics: Metrics,
    ) -> Self {
        Self { outbox, producer, codec, letters, metrics, stop: Arc::default() }
    }

    /// Returns what stops it before its next step.
    pub(crate) fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Runs until it is stopped.
    ///
    /// # Errors
    /// The store can never be used again.
    pub(crate) async fn run(self) -> Result<(), StoreError> {
        let mut tell_at = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let step = match self.telling(&mut tell_at, self.step()).await {
                Ok(step) => step,
                Err(error @ StoreError::Unusable(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read or marked");
                    Step::Hindered
                }
            };
            self.tell_now_and_then(&mut tell_at).await;
            match step {
                Step::Published => {}
                Step::Idle => {
                    tokio::select! {
                        () = tokio::time::sleep(IDLE_WAIT) => {}
                        () = self.outbox.made_way() => {}
                    }
                }
                Step::Hindered => tokio::time::sleep(HINDERED_WAIT).await,
            }
        }
        Ok(())
    }

    /// Waits for a step, and tells the backlog meanwhile: a broker that is away holds it up for a minute.
    async fn telling<V>(&self, tell_at: &mut Instant, step: impl Future<Output = V>) -> V {
        let mut step = pin!(step);
        loop {
            tokio::select! {
                biased;
                done = &mut step => return done,
                () = tokio::time::sleep(TELL_INTERVAL) => self.tell_now_and_then(tell_at).await,
            }
        }
    }

    async fn tell_now_and_then(&self, tell_at: &mut Instant) {
        let now = Instant::now();
        if now >= *tell_at {
            self.tell().await;
            *tell_at = Instant::now() + pause_after_telling(now.elapsed());
        }
    }

    /// Publishes what is due now, up to a chunk.
    ///
    /// # Errors
    /// The store's: what was taken is due again when its lease ends.
    async fn step(&self) -> Result<Step, StoreError> {
        let due = self.outbox.take_due(now(), CHUNK, LEASE).await?;
        if due.is_empty() {
            return Ok(Step::Idle);
        }
        let Sorted { published, mut back, hopeless, mut last } = self.publish(due).await;
        if !published.is_empty() {
            self.outbox.published(published, now(), PATIENCE).await?;
        }
        for hopeless in hopeless {
            match self.bury(&hopeless).await {
                Ok(()) => self.outbox.given_up(hopeless.row, now(), &hopeless.why).await?,
                // Never without a letter.
                Err(error) => {
                    back.push(hopeless.row);
                    last = Some(error.to_string());
                }
            }
        }
        if back.is_empty() {
            return Ok(Step::Published);
        }
        tracing::warn!(rows = back.len(), error = last, "requests were not published and wait");
        self.outbox.given_back(back).await?;
        Ok(Step::Hindered)
    }

    /// Hands all rows over, then waits for all acknowledgements.
    async fn publish(&self, due: Vec<DueRow>) -> Sorted {
        let mut sorted = Sorted::default();
        let mut on_their_way: Vec<(i64, Outgoing, Delivery)> = Vec::with_capacity(due.len());
        for DueRow { row, request } in due {
            match encode(&self.codec, &request) {
                Err(error @ EncodeError::Unfit { .. }) => {
                    sorted.hopeless.push(Hopeless::unfit(row, &request, error.to_string()));
                }
                Err(error @ EncodeError::Unregistered(_)) => sorted.back(row, error.to_string()),
                Ok(record) => match self.producer.enqueue_event(&record).await {
                    Ok(delivery) => on_their_way.push((row, record, delivery)),
                    Err(error) => sorted.failed(row, record, &error),
                },
            }
        }
        let mut too_large = Vec::new();
        for (row, record, delivery) in on_their_way {
            match delivery.await {
                Ok(_place) => sorted.published.push(row),
                Err(PublishError::TooLarge(_)) => too_large.push((row, record)),
                Err(error) => sorted.failed(row, record, &error),
            }
        }
        // A broker refuses a batch as a whole: only what is refused alone is too large.
        for (row, record) in too_large {
            let alone = match self.producer.enqueue_event(&record).await {
                Ok(delivery) => delivery.await,
                Err(error) => Err(error),
            };
            match alone {
                Ok(_place) => sorted.published.push(row),
                Err(error) => sorted.failed(row, record, &error),
            }
        }
        sorted
    }

    /// Writes the dead letter of a request that can never be published, and waits until all replicas have it.
    async fn bury(&self, hopeless: &Hopeless) -> Result<(), PublishError> {
        let Some(letter) = hopeless.letter() else { return Ok(()) };
        let topic = hopeless.record.topic.as_str();
        let route = self.letters.to(topic);
        self.producer.bury(route, &letter).await?;
        self.metrics.outbox_dead_letter(&route.group, topic, &route.handler, hopeless.reason);
        tracing::error!(
            group = route.group,
            topic,
            row = hopeless.row,
            reason = hopeless.reason.code(),
            message = hopeless.why,
            next = format!("postroom dlq show {}/{topic}/0/{}", route.group, hopeless.place().0),
            "a request can never be published and is a dead letter"
        );
        Ok(())
    }

    async fn tell(&self) {
        // A store that is away tells nothing: the last numbers stand.
        if let Ok(backlog) = self.outbox.backlog(now()).await {
            let OutboxBacklog { pending, oldest_due, deferred, next_due } = backlog;
            self.metrics.outbox(OutboxStatus { pending, deferred, oldest_due, next_due });
        }
        if let Ok(endpoints) = self.outbox.endpoints().await {
            self.metrics.endpoints_disabled(endpoints.iter().filter(|one| one.disabled.is_some()).count());
        }
    }
}

impl Sorted {
    fn failed(&mut self, row: i64, record: Outgoing, error: &PublishError) {
        match error {
            PublishError::TooLarge(_) => {
                let why = format!("{error}: {} bytes", record.value.as_ref().map_or(0, Vec::len));
                self.hopeless.push(Hopeless { row, reason: Reason::TooLarge, why, record });
            }
            PublishError::NoSuchTopic(_)
            | PublishError::NotAuthorised { .. }
            | PublishError::TimedOut(_)
            | PublishError::Failed { .. } => {
                self.back(row, error.to_string());
            }
        }
    }

    fn back(&mut self, row: i64, why: String) {
        self.back.push(row);
        self.last = Some(why);
    }
}

fn encode(codec: &Codec, request: &Request) -> Result<Outgoing, EncodeError> {
    match request {
        Request::Mail(mail) => codec.encode(&**mail, Framing::ConfluentV0),
        Request::Webhook(webhook) => codec.encode(&**webhook, Framing::ConfluentV0),
    }
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// How many rows are taken at once.
const CHUNK: u32 = 500;

/// How long a relay may keep what it took: longer than the producer tries.
const LEASE: Duration = Duration::from_secs(90);

/// How long nothing is told after telling took so long: counting a million rows must not keep others from being published.
fn pause_after_telling(took: Duration) -> Duration {
    TELL_INTERVAL.max(took.saturating_mul(TELL_SHARE))
}

/// How long a row that is out holds up later ones of its addressee. It stays in Kafka whatever comes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// How soon what has become due by time, or through another process, is seen.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// How soon the broker or the store is tried again.
const HINDERED_WAIT: Duration = Duration::from_secs(1);

/// How often the backlog is told.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Telling takes no more than this part of the time.
const TELL_SHARE: u32 = 20;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use postroom_core::{Offset, Partition, Topic, TopicPartition};

    use super::*;
    use crate::adapters::store::{RequestState, SqliteStore};
    use crate::codec::Limits;
    use crate::config::Config;
    use crate::event::EventId;
    use crate::kafka::{Connection, Embedded, ProducerConfig, scan};
    use crate::ports::{
        Arrival, Change, Endpoint, Endpoints, FanOut, Guard, MailSource, Origin, PersonChange, PersonContent,
        PersonFact, RequestEnding, Rest, Store, Unit, WebhookEvent, Welcome,
    };
    use crate::telemetry::{Board, BuildInfo};

    async fn store_with_a_mail() -> SqliteStore {
        let store = SqliteStore::in_memory().unwrap();
        let place = TopicPartition::new(Topic::new("blog.users"), Partition(0));
        let mut claim = store.claim("notify", &place).await.unwrap();
        let user = "ann".to_owned();
        let origin = Origin { event: EventId::parse("e").unwrap(), time: 1, arrival: Arrival::InOrder };
        let email = Some("ann@readers.example".to_owned());
        let fact = PersonFact::Updated(PersonContent { email, ..PersonContent::default() });
        let mail = Some(MailSource { max_age: i64::MAX, ..MailSource::default() });
        let changes = vec![
            Change::Contact(PersonChange { user: user.clone(), origin: origin.clone(), fact }),
            Change::Welcome(Welcome { user, origin, mail }),
        ];
        let guard = Guard::Position { next: Offset(1) };
        store.apply(&mut claim, Unit { guard, changes }).await.unwrap();
        store
    }

    fn relay(store: &SqliteStore, brokers: &str) -> Relay<SqliteStore> {
        relay_of_records(store, brokers, ProducerConfig::new(Connection::to(brokers.to_owned())).record_bytes)
    }

    fn relay_of_records(store: &SqliteStore, brokers: &str, record_bytes: usize) -> Relay<SqliteStore> {
        // One that is away need not be waited for.
        let patience = if brokers.ends_with(":1") { 300 } else { 10_000 };
        let config = ProducerConfig {
            delivery_timeout: Duration::from_millis(patience),
            linger: Duration::ZERO,
            record_bytes,
            ..ProducerConfig::new(Connection::to(brokers.to_owned()))
        };
        let producer = Producer::start(&config).unwrap();
        let metrics =
            Metrics::new(&BuildInfo::current("test".to_owned()), Arc::new(Board::new("test"))).unwrap();
        let codec = Codec::new(Limits::default());
        Relay::new(store.clone(), producer, codec, Routes::of(&Config::default()), metrics)
    }

    /// A store with a delivery of so many bytes, and one behind it to another endpoint.
    async fn store_with_deliveries(bytes: usize) -> SqliteStore {
        let store = SqliteStore::in_memory().unwrap();
        let place = TopicPartition::new(Topic::new("blog.posts"), Partition(0));
        let mut claim = store.claim("notify", &place).await.unwrap();
        let event = |event: &str, kind: &str, body: String| {
            Change::Webhooks(WebhookEvent {
                origin: Origin { event: EventId::parse(event).unwrap(), time: 1, arrival: Arrival::InOrder },
                event_type: kind.to_owned(),
                blog: "news".to_owned(),
                body,
                max_age: i64::MAX,
            })
        };
        for (id, kind) in [("large", "post.published"), ("small", "post.removed")] {
            let (url, secrets) = (format!("https://{id}.example/"), Vec::new());
            let (types, disabled) = (vec![kind.to_owned()], None);
            let endpoint = Endpoint {
                id: id.to_owned(),
                url,
                secrets,
                types,
                created_at: 0,
                disabled,
                failing_since: None,
            };
            store.put_endpoint(endpoint).await.unwrap();
        }
        let changes = vec![
            event("e", "post.published", "x".repeat(bytes)),
            event("f", "post.removed", "{}".to_owned()),
        ];
        let guard = Guard::Position { next: Offset(1) };
        store.apply(&mut claim, Unit { guard, changes }).await.unwrap();
        while store.expand_fan_out(10).await.unwrap().rest == Rest::More {}
        store
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_brokers_never_take_is_a_dead_letter_and_others_go_on() {
        let store = store_with_deliveries(30_000).await;
        let broker = Embedded::start().unwrap();
        broker.create_topic("blog.webhooks", 1).unwrap();
        let relay = relay_of_records(&store, broker.address(), 20_000);

        let without_letter = relay_of_records(&store, "127.0.0.1:1", 20_000).step().await;
        let waiting = state(&store).await;
        let with_letter = relay.step().await;
        let story = store.requests_of_event("e", 1).await.unwrap().remove(0);
        let connection = Connection::to(broker.address().to_owned());
        let letters = tokio::task::spawn_blocking(move || {
            let mut letters = Vec::new();
            scan(&connection, &["dlq.postroom.webhooks.blog.webhooks".to_owned()], |letter| {
                letters.push(letter.detached());
                true
            })
            .map(|()| letters)
        });
        let letters = letters.await.unwrap().unwrap();
        let header = |name: &str| String::from_utf8_lossy(letters[0].header(name).unwrap()).into_owned();

        assert_eq!((without_letter, waiting), (Ok(Step::Hindered), RequestState::Waiting));
        assert_eq!(with_letter, Ok(Step::Published));
        assert!(
            matches!(story.state, RequestState::Closed { ending: Some(RequestEnding::Dead), .. }),
            "{story:?}"
        );
        assert_eq!(
            (letters.len(), letters[0].value(), header("ce_type").as_str()),
            (1, None, "webhook.requested")
        );
        assert_eq!(header("postroom-dlq-reason"), "too_large");
        let id = header("postroom-dlq-id");
        let place = id.strip_prefix("postroom.webhooks/blog.webhooks/0/").unwrap();
        // By the request, not by its row, which is 1: another store counts from 1 too.
        assert!(place.parse::<i64>().unwrap() < -1, "{id}");
        assert!(header("postroom-dlq-message").contains("30"));
        assert_eq!(store.requests_of_event("f", 1).await.unwrap().remove(0).state, RequestState::Out);
        let counted = "postroom_dead_letters_total{group=\"postroom.webhooks\",handler=\"webhooks\",reason=\"too_large\",topic=\"blog.webhooks\"} 1";
        assert!(relay.metrics.page().contains(counted));
    }

    #[test]
    fn telling_takes_a_small_part_of_the_time() {
        assert_eq!(pause_after_telling(Duration::from_millis(5)), TELL_INTERVAL);
        assert_eq!(pause_after_telling(Duration::from_secs(1)), Duration::from_secs(20));
    }

    async fn state(store: &SqliteStore) -> RequestState {
        store.requests_of_event("e", 1).await.unwrap().first().unwrap().state
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_broker_does_not_take_is_given_back_and_published_later() {
        let store = store_with_a_mail().await;
        let broker = Embedded::start().unwrap();
        broker.create_topic("blog.mail", 1).unwrap();

        let away = relay(&store, "127.0.0.1:1").step().await;
        let between = state(&store).await;
        let there = relay(&store, broker.address()).step().await;
        let after = state(&store).await;
        let idle = relay(&store, broker.address()).step().await;

        assert_eq!((away, between), (Ok(Step::Hindered), RequestState::Waiting));
        assert_eq!((there, after), (Ok(Step::Published), RequestState::Out));
        assert_eq!(idle, Ok(Step::Idle));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn stopped_relay_ends_and_the_backlog_is_told() {
        let store = store_with_a_mail().await;
        let relay = relay(&store, "127.0.0.1:1");
        let (stop, metrics) = (relay.stop(), relay.metrics.clone());
        let line = "postroom_outbox_pending_rows";
        let before = metrics.page().contains(&format!("{line} 0"));
        relay.tell().await;

        stop.store(true, Ordering::Relaxed);
        relay.run().await.unwrap();
        let told = metrics.families.outbox_pending.with_label_values::<&str>(&[]).get();

        assert!(before, "at zero from the start");
        assert_eq!(told, 1);
    }
}
