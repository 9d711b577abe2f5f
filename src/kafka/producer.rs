//! The process's one producer: idempotent, acknowledged by all replicas, for events and dead letters.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use postroom_core::{DeadLetter, Offset, Partition, TopicPartition};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::event::RawRecord;
use crate::kafka::client::ClientLog;
use crate::kafka::config::{Connection, Role, millis};
use crate::kafka::dead_letter::{self, DeadLetterRoute, LetterHeader};
use crate::kafka::deliveries::{ProducerEdge, Waiting, lacks_writing, publish_error};
use crate::kafka::{errors, reach};
use crate::ports::{EdgeError, LogRange};

/// How the producer writes.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// How to reach the cluster.
    pub connection: Connection,
    /// How long a record waits for company (`linger.ms`). Default 5 ms.
    pub linger: Duration,
    /// How long a record may take until all replicas have it (`delivery.timeout.ms`). Default 60 s.
    pub delivery_timeout: Duration,
    /// What may wait to be sent, in bytes. Default 32 MiB.
    pub queue_bytes: usize,
    /// How batches are compressed: `none`, `gzip`, `lz4`, `snappy` or `zstd`. Default `lz4`.
    pub compression: String,
    /// The largest record that is handed to the brokers, in bytes: topics have limits of their own. Default 100 MiB.
    pub record_bytes: usize,
}

impl ProducerConfig {
    /// Makes the configuration with the defaults.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_secs(60),
            queue_bytes: 32 * 1_024 * 1_024,
            compression: "lz4".to_owned(),
            record_bytes: 100 * 1_024 * 1_024,
        }
    }
}

/// A producer. Cloning is cheap; the clones are one producer.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    poller: Poller,
    client: Arc<BaseProducer<ProducerEdge>>,
    partitions: Mutex<HashMap<String, (i32, Instant)>>,
    runtime: Handle,
    connection: Connection,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("brokers", &self.inner.connection.brokers).finish_non_exhaustive()
    }
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; `None`: by the key's hash (murmur2, as Java clients do).
    pub partition: Option<Partition>,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order; names may repeat.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Milliseconds since the Unix epoch; `None`: now.
    pub timestamp: Option<i64>,
}

/// Where a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The partition.
    pub partition: Partition,
    /// Its offset there.
    pub offset: Offset,
}

/// Why a record was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The topic, or the partition, is not there.
    #[error("topic {0} is not there")]
    NoSuchTopic(String),
    /// Our rights do not suffice.
    #[error("writing to topic {topic} is not allowed: {lacking}")]
    NotAuthorised {
        /// The topic.
        topic: String,
        /// What is missing, with the line that grants it.
        lacking: String,
    },
    /// The broker or we do not take records that large.
    #[error("the record is larger than topic {0} takes")]
    TooLarge(String),
    /// The record breaks a rule of the topic, such as one without a key where only the newest of each key is kept.
    #[error("the record breaks a rule of topic {0}: the brokers refuse it (is a key wanted?)")]
    Refused(String),
    /// The brokers did not take it in time. It may have been written all the same.
    #[error("the brokers did not take a record of topic {0} in time")]
    TimedOut(String),
    /// Anything else.
    #[error("a record of topic {topic} was not written: {reason}")]
    Failed {
        /// The topic.
        topic: String,
        /// The client's words.
        reason: String,
    },
}

/// Resolves when all replicas have the record, or it failed.
#[derive(Debug)]
pub struct Delivery {
    answer: oneshot::Receiver<Result<Published, PublishError>>,
}

impl Future for Delivery {
    type Output = Result<Published, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| {
            answer.unwrap_or_else(|_| {
                Err(PublishError::Failed { topic: String::new(), reason: "the producer is gone".to_owned() })
            })
        })
    }
}

impl Producer {
    /// Starts a producer. Must be called within a tokio runtime. Does not wait for the cluster.
    ///
    /// # Errors
    /// Says what is wrong with the configuration.
    pub fn start(config: &ProducerConfig) -> Result<Self, EdgeError> {
        let runtime = Handle::try_current()
            .map_err(|_| EdgeError::Configuration("the producer needs a tokio runtime".to_owned()))?;
        let mut client = config.connection.base(Role::Producer)?;
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", &config.compression)
            .set("linger.ms", millis(config.linger))
            .set("delivery.timeout.ms", millis(config.delivery_timeout))
            .set("queue.buffering.max.kbytes", (config.queue_bytes / 1_024).max(1_024).to_string())
            .set("queue.buffering.max.messages", "100000")
            .set("message.max.bytes", config.record_bytes.to_string())
            .set("partitioner", "murmur2_random");
        let connection = config.connection.clone();
        let context = ProducerEdge { log: ClientLog::default(), connection: connection.clone() };
        let client = client.create_with_context(context).map_err(|error| errors::of_request(&error))?;
        let client = Arc::new(client);
        let inner = Inner {
            poller: Poller::start(Arc::clone(&client))?,
            client,
            partitions: Mutex::new(HashMap::new()),
            runtime,
            connection,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes a record and waits until all replicas have it.
    ///
    /// # Errors
    /// Says why it was not written.
    pub async fn publish(&self, record: Publication<'_>) -> Result<Published, PublishError> {
        self.enqueue(record).await?.await
    }

    /// Hands a record over to be written; waits only for room in the queue. Records of one key are written
    /// in the order of these calls.
    ///
    /// # Errors
    /// Says why it can never be written.
    pub async fn enqueue(&self, record: Publication<'_>) -> Result<Delivery, PublishError> {
        let (asked, answer) = oneshot::channel();
        self.send(record, Waiting::Answer(asked)).await?;
        Ok(Delivery { answer })
    }

    /// Waits until everything that was handed over is written or failed; `false` where `patience` ended first.
    pub async fn flush(&self, patience: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + patience;
        while self.in_flight() > 0 {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Returns how many records are handed over and neither written nor failed.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.inner.client.in_flight_count()).unwrap_or(0)
    }

    /// Returns what a partition's log holds.
    ///
    /// # Errors
    /// Says why the broker did not answer within `patience`.
    pub async fn log_range(
        &self,
        partition: &TopicPartition,
        patience: Duration,
    ) -> Result<LogRange, EdgeError> {
        let topic = partition.topic.as_str().to_owned();
        let number = partition.partition.0;
        let (start, end) =
            self.ask(move |client| client.client().fetch_watermarks(&topic, number, patience)).await?;
        Ok(LogRange { start: Offset(start), end: Offset(end) })
    }

    /// Waits until the cluster answers, and says what is in the way of publishing to a topic.
    ///
    /// # Errors
    /// Nobody answers, somebody answers who does not talk to us, or the topic is not there.
    pub async fn check(&self, topic: &str) -> Result<(), EdgeError> {
        let inner = Arc::clone(&self.inner);
        let asked = self.inner.runtime.spawn_blocking(move || {
            reach::ask(&inner.connection, CHECK_PATIENCE, |patience| {
                inner.client.client().fetch_metadata(None, patience).map(drop)
            })
        });
        asked.await.map_err(|error| EdgeError::Client(error.to_string()))??;
        if self.partitions(topic).await? == 0 {
            let fix = "run `postroom topics apply`".to_owned();
            return Err(EdgeError::NoSuchTopic { topic: topic.to_owned(), fix });
        }
        Ok(())
    }

    /// Returns how many partitions a topic has; 0 where it is not there. Kept for a minute.
    ///
    /// # Errors
    /// Says why no broker answered.
    pub async fn partitions(&self, topic: &str) -> Result<i32, EdgeError> {
        if let Some(count) = self.known_partitions(topic) {
            return Ok(count);
        }
        let name = topic.to_owned();
        let found = self
            .ask(move |client| {
                let metadata = client.client().fetch_metadata(Some(&name), ASK_PATIENCE)?;
                let found = metadata.topics().iter().find(|found| found.name() == name);
                let refused = found.and_then(|found| found.error()).map(Code::from)
                    == Some(Code::TopicAuthorizationFailed);
                let count = found.map_or(0, |found| found.partitions().len());
                Ok((!refused).then(|| i32::try_from(count).unwrap_or(i32::MAX)))
            })
            .await?;
        let Some(count) = found else {
            return Err(EdgeError::NotAuthorised(lacks_writing(topic, &self.inner.connection)));
        };
        if count > 0 {
            let mut known = self.inner.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(topic.to_owned(), (count, Instant::now()));
        }
        Ok(count)
    }

    fn known_partitions(&self, topic: &str) -> Option<i32> {
        let known = self.inner.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, at) = known.get(topic)?;
        (at.elapsed() < KNOWN_FOR).then_some(*count)
    }

    /// Hands a dead letter over; its delivery is reported to `waiting`.
    pub(crate) async fn dead_letter(
        &self,
        route: &DeadLetterRoute,
        letter: &DeadLetter<RawRecord>,
        waiting: Waiting,
    ) -> Result<(), PublishError> {
        let written = dead_letter::write(route, letter, Timestamp::now());
        let topic = written.topic.clone();
        let count = self.partitions(&written.topic).await.map_err(|error| {
            if let EdgeError::NotAuthorised(lacking) = error {
                PublishError::NotAuthorised { topic, lacking }
            } else {
                PublishError::Failed { topic, reason: error.to_string() }
            }
        })?;
        let partition = written
            .source_partition
            .checked_rem(count)
            .ok_or_else(|| PublishError::NoSuchTopic(written.topic.clone()))?;
        let headers: Vec<(&str, Option<&[u8]>)> = written.headers.iter().map(LetterHeader::as_pair).collect();
        let record = Publication {
            topic: &written.topic,
            partition: Some(Partition(partition)),
            key: letter.payload.key(),
            value: written.value,
            headers: &headers,
            timestamp: letter.payload.timestamp(),
        };
        self.send(record, waiting).await
    }

    /// Writes a dead letter and waits until all replicas have it.
    ///
    /// # Errors
    /// Says why it was not written.
    pub(crate) async fn bury(
        &self,
        route: &DeadLetterRoute,
        letter: &DeadLetter<RawRecord>,
    ) -> Result<Published, PublishError> {
        let (asked, answer) = oneshot::channel();
        self.dead_letter(route, letter, Waiting::Answer(asked)).await?;
        Delivery { answer }.await
    }

    /// Returns the runtime on which it was started.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// Asks the cluster something that blocks.
    pub(crate) async fn ask<V: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseProducer<ProducerEdge>) -> Result<V, KafkaError> + Send + 'static,
    ) -> Result<V, EdgeError> {
        let inner = Arc::clone(&self.inner);
        let answer = self.inner.runtime.spawn_blocking(move || question(&inner.client)).await;
        let answer = answer.map_err(|error| EdgeError::Client(error.to_string()))?;
        answer.map_err(|error| {
            errors::explain(errors::of_request(&error), |reason| {
                let reason = self.inner.client.context().log.last_failure().unwrap_or(reason);
                format!("{}: {reason}", self.inner.connection.brokers)
            })
        })
    }

    async fn send(&self, record: Publication<'_>, waiting: Waiting) -> Result<(), PublishError> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in record.headers {
            headers = headers.insert(Header { key, value: *value });
        }
        let mut ready: BaseRecord<'_, [u8], [u8], Box<Waiting>> =
            BaseRecord::with_opaque_to(record.topic, Box::new(waiting));
        ready.partition = record.partition.map(|partition| partition.0);
        ready.key = record.key;
        ready.payload = record.value;
        ready.timestamp = record.timestamp;
        ready.headers = (!record.headers.is_empty()).then_some(headers);
        loop {
            match self.inner.client.send(ready) {
                Ok(()) => {
                    self.inner.poller.wake();
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(Code::QueueFull), refused)) => {
                    ready = refused;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err((error, refused)) => {
                    drop(refused);
                    return Err(publish_error(record.topic, &error, &self.inner.connection));
                }
            }
        }
    }
}

/// Serves what the client has to say: deliveries while records are in flight, the rest once a second. The library's
/// own thread spins for the last millisecond of each of its waits: one per cent of a processor while nothing happens.
struct Poller {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    fn start(client: Arc<BaseProducer<ProducerEdge>>) -> Result<Self, EdgeError> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let poll = move || {
            while !told.load(Ordering::Acquire) {
                if client.in_flight_count() > 0 {
                    client.poll(BUSY_POLL);
                } else {
                    thread::park_timeout(IDLE_POLL);
                    client.poll(Duration::from_millis(1));
                }
            }
        };
        let thread = thread::Builder::new()
            .name("kafka-producer".to_owned())
            .spawn(poll)
            .map_err(|error| EdgeError::Client(format!("no thread to poll the producer on: {error}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Says that a record is in flight.
    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Poller {
    /// Ends the thread: only then the client can be closed.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the producer's thread panicked");
        }
    }
}

/// How long a wait for deliveries is, and the end of the producer at most delayed.
const BUSY_POLL: Duration = Duration::from_millis(100);
const IDLE_POLL: Duration = Duration::from_secs(1);
const ASK_PATIENCE: Duration = Duration::from_secs(5);
const CHECK_PATIENCE: Duration = Duration::from_secs(15);
const KNOWN_FOR: Duration = Duration::from_secs(60);
