//! The relay: publishes what is due in the outbox and marks it, row by row. What can never be published becomes a dead
//! letter of the group that would have carried it out.
//!
//! A crash between the two publishes a row again: its event id is the same, and the ledger lets it be done once. Any
//! number of relays may share a store.

mod hopeless;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
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
use crate::runtime::relay::hopeless::{Hopeless, Refusals};
use crate::telemetry::{Metrics, OutboxStatus};

pub(crate) use hopeless::Routes;

/// What publishes the rows of one store.
pub(crate) struct Relay<O> {
    outbox: O,
    producer: Producer,
    codec: Codec,
    letters: Routes,
    refusals: Refusals,
    letter_patience: Duration,
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
        let (refusals, letter_patience) = (Refusals::default(), LETTER_PATIENCE);
        Self { outbox, producer, codec, letters, refusals, letter_patience, metrics, stop: Arc::default() }
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
        let Sorted { published, back, hopeless, last } = self.publish(due).await;
        if !published.is_empty() {
            self.outbox.published(published, now(), PATIENCE).await?;
        }
        self.bury_all(hopeless).await?;
        if back.is_empty() {
            return Ok(Step::Published);
        }
        tracing::warn!(rows = back.len(), error = last, "requests were not published and wait");
        self.outbox.given_back(back, 0).await?;
        Ok(Step::Hindered)
    }

    /// Closes what can never be published, but nothing without a letter: what a dead-letter topic does not take waits until
    /// that topic is tried again. Meanwhile others go on.
    async fn bury_all(&self, all: Vec<Hopeless>) -> Result<(), StoreError> {
        let mut put_off: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for hopeless in all {
            let source = hopeless.record.topic.as_str();
            let route = self.letters.to(source);
            let topic = route.topic(source);
            let again_at = match self.refusals.again_at(&topic, now()) {
                Some(at) => at,
                None => match self.bury_in_time(&hopeless, &topic).await {
                    Ok(()) => {
                        self.refusals.taken(&topic);
                        self.outbox.given_up(hopeless.row, now(), &hopeless.why).await?;
                        continue;
                    }
                    Err(error) => {
                        self.metrics.outbox_dead_letter_failed(&route.group, source);
                        self.refusals.refused(&route.group, &topic, &error, now())
                    }
                },
            };
            put_off.entry(again_at).or_default().push(hopeless.row);
        }
        for (again_at, rows) in put_off {
            self.outbox.given_back(rows, again_at).await?;
        }
        Ok(())
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
        let mut refused = Vec::new();
        for (row, record, delivery) in on_their_way {
            match delivery.await {
                Ok(_place) => sorted.published.push(row),
                Err(PublishError::TooLarge(_) | PublishError::Refused(_)) => refused.push((row, record)),
                Err(error) => sorted.failed(row, record, &error),
            }
        }
        // A broker refuses a batch as a whole: only what is refused alone is at fault.
        for (row, record) in refused {
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

    /// Buries, and waits no longer than others can wait for their turn. A letter that arrives later is the same letter when
    /// it is written again.
    async fn bury_in_time(&self, hopeless: &Hopeless, topic: &str) -> Result<(), PublishError> {
        let patience = self.letter_patience;
        tokio::time::timeout(patience, self.bury(hopeless)).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {patience:?}");
            Err(PublishError::Failed { topic: topic.to_owned(), reason })
        })
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
            let hindered = self.refusals.told();
            self.metrics.outbox(OutboxStatus { pending, deferred, oldest_due, next_due, hindered });
        }
        if let Ok(disabled) = self.outbox.disabled_endpoints().await {
            self.metrics.endpoints_disabled(disabled);
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
            PublishError::Refused(_) => {
                let why = error.to_string();
                self.hopeless.push(Hopeless { row, reason: Reason::Invalid, why, record });
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

/// How long a dead letter is waited for, while others wait for their turn.
const LETTER_PATIENCE: Duration = Duration::from_secs(5);

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
