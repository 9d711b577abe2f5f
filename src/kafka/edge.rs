//! The edge of one group: the driver's requests go to the poll thread, its events come back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use postroom_core::{DeadLetter, FetchEpoch, Generation, Moment, Offset, OffsetRange, TopicPartition};
use postroom_dequeue::Forward;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::event::RawRecord;
use crate::kafka::commands::Command;
use crate::kafka::config::ConsumerConfig;
use crate::kafka::consumer;
use crate::kafka::context::{Backlog, EdgeContext, EdgeCounters};
use crate::kafka::dead_letter::DeadLetterRoute;
use crate::kafka::deliveries::{Waiting, not_delivered};
use crate::kafka::errors;
use crate::kafka::metadata;
use crate::kafka::producer::Producer;
use crate::ports::{Edge, EdgeError, EdgeEvent, EdgeFuture, LogRange, StoreId};

/// A running consumer of one group.
///
/// Its thread ends with [`EdgeEvent::Stopped`]: after [`Edge::close`], after an error that cannot be waited
/// out, or when the receiver of its events is dropped.
#[derive(Debug)]
pub struct KafkaEdge {
    commands: mpsc::Sender<Command>,
    events: UnboundedSender<EdgeEvent>,
    producer: Producer,
    route: Arc<DeadLetterRoute>,
    store: Option<StoreId>,
    counters: Arc<EdgeCounters>,
    backlog: Arc<Backlog>,
    /// Ends a wait of the poll thread.
    forward: Arc<Forward>,
}

impl KafkaEdge {
    /// Starts the poll thread of a group. `clock` is the instant of [`Moment::START`] of its processor.
    /// Must be called within a tokio runtime.
    ///
    /// What is wrong with the cluster (no broker, no topic, no rights) comes as `Stopped`.
    ///
    /// # Errors
    /// Says what is wrong with the configuration.
    pub fn start(
        mut config: ConsumerConfig,
        route: DeadLetterRoute,
        producer: Producer,
        clock: Instant,
    ) -> Result<(Self, UnboundedReceiver<EdgeEvent>), EdgeError> {
        let client = config.client()?;
        config.dead_letter_topics = route.topics(&config.topics);
        if let Some(topic) = config.dead_letter_topics.iter().find(|topic| config.topics.contains(topic)) {
            return Err(EdgeError::Configuration(format!(
                "group {}: it reads topic {topic}, which would get its own dead letters",
                config.group
            )));
        }
        let (commands, taken) = mpsc::channel();
        let (events, received) = unbounded_channel();
        let counters = Arc::new(EdgeCounters::default());
        let backlog = Arc::new(Backlog::default());
        let store = config.store.clone();
        let name = format!("kafka-{}", config.group);
        let context = EdgeContext::new(
            config,
            clock,
            taken,
            events.clone(),
            Arc::clone(&counters),
            Arc::clone(&backlog),
        );
        let forward = Arc::clone(&context.forward);
        let consumer: BaseConsumer<EdgeContext> =
            client.create_with_context(context).map_err(|error| errors::of_request(&error))?;
        thread::Builder::new()
            .name(name)
            .spawn(move || consumer::run(consumer))
            .map_err(|error| EdgeError::Client(format!("no thread to poll on: {error}")))?;
        let edge =
            Self { commands, events, producer, route: Arc::new(route), store, counters, backlog, forward };
        Ok((edge, received))
    }

    /// Returns what was counted since the start.
    pub fn counters(&self) -> &EdgeCounters {
        &self.counters
    }

    /// Returns how often commit metadata was foreign or damaged.
    pub fn foreign_metadata(&self) -> u64 {
        self.counters.foreign_metadata.load(Ordering::Relaxed)
    }

    fn ask(&self, command: Command) {
        // Commits are many, and none is waited for.
        let urgent = !matches!(command, Command::Commit { .. });
        if self.commands.send(command).is_err() {
            return tracing::debug!("the poll thread has ended");
        }
        if urgent {
            self.forward.wake();
        }
    }
}

impl Edge for KafkaEdge {
    fn commit(
        &self,
        partition: &TopicPartition,
        generation: Generation,
        next: Offset,
        finished: &[OffsetRange],
    ) {
        let metadata = metadata::encode(next, self.store.as_ref(), finished);
        self.ask(Command::Commit { partition: partition.clone(), generation, next, metadata });
    }

    fn pause(&self, generation: Generation) {
        self.ask(Command::Pause(generation));
    }

    fn resume(&self, generation: Generation) {
        self.ask(Command::Resume(generation));
    }

    fn seek(&self, _partition: &TopicPartition, generation: Generation, offset: Offset, epoch: FetchEpoch) {
        self.ask(Command::Seek { generation, offset, epoch });
    }

    fn claimed(&self, generation: Generation, next: Offset) {
        self.ask(Command::Claimed { generation, next });
    }

    fn verify(&self, generation: Generation) {
        self.ask(Command::Verify(generation));
    }

    fn released(&self, generation: Generation) {
        self.ask(Command::Released(generation));
    }

    fn dead_letter(&self, letter: DeadLetter<RawRecord>) {
        let producer = self.producer.clone();
        let route = Arc::clone(&self.route);
        let events = self.events.clone();
        let commands = self.commands.clone();
        let ticket = letter.ticket;
        self.producer.runtime().spawn(async move {
            let waiting = Waiting::DeadLetter { events: events.clone(), ticket, commands: commands.clone() };
            if let Err(error) = producer.dead_letter(&route, &letter, waiting).await {
                tracing::warn!(group = route.group, partition = %letter.partition, offset = ticket.offset.0, %error, "a dead letter was not taken");
                not_delivered(error, ticket, &events, &commands);
            }
        });
    }

    fn log_range(&self, partition: &TopicPartition) -> EdgeFuture<'_, LogRange> {
        let partition = partition.clone();
        Box::pin(async move { self.producer.log_range(&partition, LOG_RANGE_PATIENCE).await })
    }

    fn partition_count<'a>(&'a self, topic: &'a str) -> EdgeFuture<'a, usize> {
        Box::pin(async move { Ok(usize::try_from(self.producer.partitions(topic).await?).unwrap_or(0)) })
    }

    fn rounds(&self) -> u64 {
        self.counters.polls.load(Ordering::Relaxed)
    }

    fn close(&self, deadline: Moment) {
        self.ask(Command::Close(deadline));
    }

    fn taken(&self, records: usize, bytes: usize) {
        self.backlog.take(records, bytes);
    }
}

const LOG_RANGE_PATIENCE: Duration = Duration::from_secs(5);
