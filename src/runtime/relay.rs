//! The relay: publishes what is due in the outbox and marks it, row by row.
//!
//! A crash between the two publishes a row again: its event id is the same, and the ledger lets it be done once. Any
//! number of relays may share a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::codec::{Codec, EncodeError, Framing, Outgoing};
use crate::kafka::{Delivery, Producer, PublishError};
use crate::ports::{DueRow, Outbox, Request, StoreError};
use crate::telemetry::Metrics;

/// What publishes the rows of one store.
pub(crate) struct Relay<O> {
    outbox: O,
    producer: Producer,
    codec: Codec,
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
    hopeless: Vec<(i64, String)>,
    last: Option<String>,
}

impl<O: Outbox> Relay<O> {
    pub(crate) fn new(outbox: O, producer: Producer, codec: Codec, metrics: Metrics) -> Self {
        Self { outbox, producer, codec, metrics, stop: Arc::default() }
    }

    /// Returns what stops it before its next step.
    pub(crate) fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Runs until it is stopped.
    pub(crate) async fn run(self) {
        let mut told: Option<Instant> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let step = self.step().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the outbox cannot be read or marked");
                Step::Hindered
            });
            if told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
                told = Some(Instant::now());
                self.tell().await;
            }
            match step {
                Step::Published => {}
                Step::Idle => tokio::time::sleep(IDLE_WAIT).await,
                Step::Hindered => tokio::time::sleep(HINDERED_WAIT).await,
            }
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
        let Sorted { published, back, hopeless, last } = self.publish(due).await;
        if !published.is_empty() {
            self.outbox.published(published, now(), PATIENCE).await?;
        }
        for (row, why) in hopeless {
            tracing::error!(row, why, "a request can never be published and is given up");
            self.outbox.given_up(row, now(), &why).await?;
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
        let mut on_their_way: Vec<(i64, Delivery)> = Vec::with_capacity(due.len());
        for DueRow { row, request } in due {
            match encode(&self.codec, &request) {
                Err(error @ EncodeError::Unfit { .. }) => sorted.hopeless.push((row, error.to_string())),
                Err(error @ EncodeError::Unregistered(_)) => sorted.back(row, error.to_string()),
                Ok(record) => match self.producer.enqueue_event(&record).await {
                    Ok(delivery) => on_their_way.push((row, delivery)),
                    Err(error) => sorted.failed(row, &error),
                },
            }
        }
        for (row, delivery) in on_their_way {
            match delivery.await {
                Ok(_place) => sorted.published.push(row),
                Err(error) => sorted.failed(row, &error),
            }
        }
        sorted
    }

    async fn tell(&self) {
        // A store that is away tells nothing: the last numbers stand.
        if let Ok(backlog) = self.outbox.backlog(now()).await {
            self.metrics.outbox(backlog.pending, backlog.oldest_due);
        }
    }
}

impl Sorted {
    fn failed(&mut self, row: i64, error: &PublishError) {
        match error {
            PublishError::TooLarge(_) => self.hopeless.push((row, error.to_string())),
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

/// How long a row that is out holds up later ones of its addressee. It stays in Kafka whatever comes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// How soon what has become due is seen.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// How soon the broker or the store is tried again.
const HINDERED_WAIT: Duration = Duration::from_secs(1);

/// How often the backlog is told.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use postroom_core::{Offset, Partition, Topic, TopicPartition};

    use super::*;
    use crate::adapters::store::{RequestState, SqliteStore};
    use crate::codec::Limits;
    use crate::event::EventId;
    use crate::kafka::{Connection, Embedded, ProducerConfig};
    use crate::ports::{
        Arrival, Change, Guard, MailSource, Origin, PersonChange, PersonContent, PersonFact, Store, Unit,
        Welcome,
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
        let delivery_timeout = Duration::from_millis(300);
        let config = ProducerConfig {
            delivery_timeout,
            linger: Duration::ZERO,
            ..ProducerConfig::new(Connection::to(brokers.to_owned()))
        };
        let producer = Producer::start(&config).unwrap();
        let metrics =
            Metrics::new(&BuildInfo::current("test".to_owned()), Arc::new(Board::new("test"))).unwrap();
        Relay::new(store.clone(), producer, Codec::new(Limits::default()), metrics)
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
        relay.run().await;
        let told = metrics.families.outbox_pending.with_label_values::<&str>(&[]).get();

        assert!(before, "at zero from the start");
        assert_eq!(told, 1);
    }
}
