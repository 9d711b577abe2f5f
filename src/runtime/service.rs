//! A process: its store, its producer, its groups, from the configuration to the last released partition.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use crate::adapters::registry::ServerError;
use crate::adapters::store::AnyStore;
use crate::codec::Codec;
use crate::config::Config;
use crate::event::{EventRecord, MailRequested, WebhookRequested};
use crate::kafka::{ConsumerConfig, DeadLetterRoute, KafkaEdge, Producer};
use crate::ports::{Edge, EdgeError, FanOut, Rest, Store, StoreError};
use crate::runtime::clock::Clock;
use crate::runtime::driver::{Driver, Parts};
use crate::runtime::ending::Ending;
use crate::runtime::group::Group;
use crate::runtime::helpers::Helpers;
use crate::runtime::inbox::Control;
use crate::runtime::kept::Kept;
use crate::runtime::logs::Logs;
use crate::runtime::relay::{Relay, Routes};
use crate::runtime::schemas::{REGISTRY, Schemas};
use crate::runtime::start::StartRules;
use crate::runtime::threads::HandlerThreads;
use crate::runtime::wiring;
use crate::runtime::worker::{Desk, STORE};
use crate::telemetry::{GroupShape, Metrics, MetricsError, Status, TopicShape};

/// How often the ends of logs are looked up, for lag.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// How often announcements are expanded, and how many notifications at once.
const EXPAND_INTERVAL: Duration = Duration::from_millis(200);
const EXPAND_CHUNK: u32 = 1_000;

/// Running groups with what they share. Dropped before its groups have ended, it lets them leave at once.
pub struct Service {
    running: FuturesUnordered<Running>,
    endings: Vec<(String, Ending)>,
    controls: Vec<mpsc::UnboundedSender<Control>>,
    store: AnyStore,
    producer: Producer,
    codec: Codec,
    schemas: Option<Arc<Schemas>>,
    metrics: Metrics,
    threads: HandlerThreads,
    /// What runs beside the groups; ends with them.
    helpers: Helpers,
    /// What topics hold and keep.
    kept: Kept,
    /// Stops the relay before its next step.
    stop_relaying: Option<Arc<AtomicBool>>,
}

/// Resolves to a group's name and how it ended.
type Running = Pin<Box<dyn Future<Output = (String, Ending)> + Send>>;

/// Why a process cannot start. Nothing has been joined, created or sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no group to run.
    #[error("no effect is enabled: enable one under [effects] or with --effects")]
    NothingToDo,
    /// Kafka refuses, or is not there.
    #[error(transparent)]
    Kafka(#[from] EdgeError),
    /// The registry server does not answer, or refuses us or our schemas.
    #[error(transparent)]
    Registry(#[from] ServerError),
    /// A schema cannot be used.
    #[error("the schemas cannot be used: {0}")]
    Schemas(String),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A metric is declared wrongly: a bug.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A thread could not be started.
    #[error("no thread could be started: {0}")]
    Thread(String),
}

impl Service {
    /// Opens the store, connects and joins one consumer group for each of `groups`.
    ///
    /// # Errors
    /// Says what is missing and what to do; then nothing is left behind.
    pub async fn start(
        config: &Config,
        groups: Vec<Group>,
        metrics: Metrics,
        broker: Broker,
    ) -> Result<Self, StartError> {
        if groups.is_empty() {
            return Err(StartError::NothingToDo);
        }
        let (codec, server) = wiring::schemas(config).map_err(StartError::Schemas)?;
        let server = server.map(|server| {
            let metrics = metrics.clone();
            server.metered(Arc::new(move |answer| metrics.registry_asked(answer)))
        });
        if let Some(server) = &server {
            // What the relay publishes.
            let kinds = [MailRequested::TYPE, WebhookRequested::TYPE];
            server.prepare_kinds(&codec, &kinds, wiring::registering(config)).await?;
        }
        let store = AnyStore::open(config).await?;
        let producer = Producer::start(&wiring::producer(config))?;
        metrics.board().connected_to(&config.kafka.brokers.to_string());
        let mut service = Self {
            running: FuturesUnordered::new(),
            endings: Vec::new(),
            controls: Vec::new(),
            store,
            producer,
            schemas: server
                .map(|server| Arc::new(Schemas::new(codec.clone(), Arc::new(server), config.registry.grace))),
            codec,
            helpers: Helpers::new(Arc::clone(metrics.board())),
            metrics,
            threads: HandlerThreads::start().map_err(|error| StartError::Thread(error.to_string()))?,
            kept: Kept::new(wiring::connection(config), broker),
            stop_relaying: None,
        };
        let clock = Clock::start();
        let share = groups.len();
        for group in groups {
            if let Err(error) = service.launch(config, group, clock, share, broker) {
                service.drain(Duration::ZERO);
                drop(service.ended(Duration::ZERO).await);
                return Err(error);
            }
        }
        service.keep_expanding();
        service.keep_relaying(Routes::of(config));
        let looking = service.kept.looking();
        service.helpers.spawn("the watch of dead-letter topics", looking);
        Ok(service)
    }

    /// Returns what all groups last said of themselves.
    pub fn status(&self) -> Status {
        self.metrics.board().status()
    }

    /// Returns the store, for reading.
    pub fn store(&self) -> &AnyStore {
        &self.store
    }

    /// Returns the producer, for publishing events.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Returns the codec.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Asks every group to take no more work and to leave within the span.
    pub fn drain(&self, within: Duration) {
        self.metrics.board().draining();
        self.helpers.leave();
        if let Some(stop) = &self.stop_relaying {
            stop.store(true, Ordering::Relaxed);
        }
        for control in &self.controls {
            // A group that has ended needs no word.
            drop(control.send(Control::Drain { within }));
        }
    }

    /// Waits for all groups to end. When one ends by itself, or something that runs beside them, the others are drained
    /// within `drain`. May be dropped and called again: nothing is missed.
    pub async fn ended(&mut self, drain: Duration) -> Vec<(String, Ending)> {
        loop {
            let ended = tokio::select! {
                ended = self.running.next() => ended,
                lost = self.helpers.lost() => Some((lost.name.to_owned(), Ending::Lost(lost.why))),
            };
            let Some(ended) = ended else { break };
            if self.endings.is_empty() && !self.running.is_empty() {
                self.drain(drain);
            }
            self.endings.push(ended);
        }
        self.helpers.shutdown().await;
        self.kept.closed().await;
        std::mem::take(&mut self.endings)
    }

    fn launch(
        &mut self,
        config: &Config,
        group: Group,
        clock: Clock,
        share: usize,
        broker: Broker,
    ) -> Result<(), StartError> {
        let effect = config.effects.named(&group.name);
        let consumer = wiring::consumer(config, &group, &effect, self.store.id(), share, broker);
        let topics = consumer.topics.clone();
        let route = wiring::dead_letter_route(config, &group);
        let shape = shape(&consumer, &group, &route, self.schemas.is_some());
        let metrics = Arc::new(self.metrics.group(&shape)?);
        self.kept.watch(Arc::clone(&metrics), &shape);
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let mut desk = Desk::new(&group, &config.kafka.group_prefix, self.codec.clone(), store)
            .noting(self.metrics.board().journal());
        desk.schemas.clone_from(&self.schemas);
        let meter = Arc::clone(&metrics);
        desk.meter =
            Arc::new(move |dependency, went_well, took| meter.requested(dependency, went_well, took));
        let name = Arc::clone(&desk.group);
        let rules = StartRules::new(config, &group, &effect, &desk.retry_topic);
        let settings = wiring::settings(config, &group, &effect, share);
        let logs = Arc::new(Logs::default());

        let (edge, events) = KafkaEdge::start(consumer, route, self.producer.clone(), clock.origin())?;
        let edge: Arc<dyn Edge> = Arc::new(edge);
        let (done, ended) = oneshot::channel();
        let (driver, control) = Driver::new(Parts {
            group,
            desk,
            settings,
            rules,
            edge: Arc::clone(&edge),
            events,
            metrics,
            logs: Arc::clone(&logs),
            clock,
            threads: self.threads.handle(),
            shutdown_deadline: config.shutdown.deadline,
        });
        tokio::spawn(async move {
            // The receiver is gone only when nobody waits for the end any more.
            drop(done.send(driver.run().await));
        });
        self.helpers.spawn("the watch of log ends", async move {
            logs.keep_fresh(edge, topics, LOG_INTERVAL).await;
            Ok::<(), StoreError>(())
        });
        self.controls.push(control);
        self.running.push(Box::pin(async move {
            let lost =
                || Ending::Edge(EdgeError::Client("the group's driver ended without a word".to_owned()));
            (name.to_string(), ended.await.unwrap_or_else(|_| lost()))
        }));
        Ok(())
    }

    /// Publishes what is due in the outbox, beside the groups.
    fn keep_relaying(&mut self, letters: Routes) {
        let (store, producer) = (self.store.clone(), self.producer.clone());
        let relay = Relay::new(store, producer, self.codec.clone(), letters, self.metrics.clone());
        self.stop_relaying = Some(relay.stop());
        self.helpers.spawn("the relay of the outbox", relay.run());
    }

    /// Expands announcements to subscribers in chunks, beside the groups.
    fn keep_expanding(&mut self) {
        self.helpers.spawn("the expander of announcements", keep_expanding(self.store.clone()));
    }
}

/// Expands what is open, without an end.
///
/// # Errors
/// The store can never be used again.
async fn keep_expanding(store: impl FanOut) -> Result<(), StoreError> {
    loop {
        // What is left waits for the next turn, in this process or another.
        let more = match store.expand_fan_out(EXPAND_CHUNK).await {
            Ok(done) => done.rest == Rest::More,
            Err(error @ StoreError::Unusable(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "announcements were not expanded, and wait");
                false
            }
        };
        if !more {
            tokio::time::sleep(EXPAND_INTERVAL).await;
        }
    }
}

fn shape(
    consumer: &ConsumerConfig,
    group: &Group,
    route: &DeadLetterRoute,
    asks_registry: bool,
) -> GroupShape {
    let sources = consumer.topics.iter().filter(|topic| **topic != route.retry_topic());
    let topics = consumer.topics.iter().map(|topic| TopicShape {
        topic: topic.clone(),
        event_types: group
            .types
            .iter()
            .filter(|kind| kind.topic == topic || topic.starts_with("retry."))
            .map(|kind| kind.name.to_owned())
            .collect(),
    });
    GroupShape {
        group: consumer.group.clone(),
        handler: group.name.clone(),
        topics: topics.collect(),
        dependencies: std::iter::once(STORE)
            .chain(group.dependencies.iter().copied())
            .chain(asks_registry.then_some(REGISTRY))
            .map(str::to_owned)
            .collect(),
        dead_letters: sources.map(|source| (source.clone(), route.topic(source))).collect(),
        poll_interval_limit: consumer.max_poll_interval,
    }
}

/// Whether the broker is our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    /// A real cluster.
    Cluster,
    /// The embedded one, which needs settings of its own.
    Embedded,
}
