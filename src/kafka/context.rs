//! What the poll thread and the client's callbacks share. All of it runs on the poll thread.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postroom_core::{Generation, Input, Moment};
use postroom_dequeue::Forward;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::mpsc::UnboundedSender;

use crate::event::RawRecord;
use crate::kafka::assignment::Assignment;
use crate::kafka::client::{ClientLog, Reach};
use crate::kafka::commands::Command;
use crate::kafka::committer::Committer;
use crate::kafka::config::ConsumerConfig;
use crate::kafka::{access, reach};
use crate::ports::{EdgeError, EdgeEvent};

/// The context of one group's consumer.
pub(crate) struct EdgeContext {
    pub(crate) config: ConsumerConfig,
    pub(crate) log: ClientLog,
    pub(crate) counters: Arc<EdgeCounters>,
    /// Records handed over and not yet taken by the driver.
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) events: UnboundedSender<EdgeEvent>,
    /// The instant of [`Moment::START`].
    pub(crate) clock: Instant,
    pub(crate) state: Mutex<State>,
    pub(crate) committer: Arc<Committer>,
    /// Where fetched records go.
    pub(crate) forward: Arc<Forward>,
    commands: Mutex<Receiver<Command>>,
    /// Grows whenever the assignment or a fetch epoch changes: what was looked up before is stale.
    version: AtomicU64,
}

/// What changes while the consumer runs.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) assignment: Assignment,
    /// Assignments in doubt, and when they count as verified.
    pub(crate) verifying: Vec<(Generation, Instant)>,
    /// When to be closed, once that is asked for.
    pub(crate) closing: Option<Moment>,
    /// The client is being closed: nobody waits for a revocation.
    pub(crate) closed: bool,
    /// When the broker may be asked again where stalled partitions go on, after it did not answer.
    pub(crate) ask_again: Option<Instant>,
    /// Why to stop, once a callback has seen a reason.
    pub(crate) fatal: Option<EdgeError>,
}

impl EdgeContext {
    pub(crate) fn new(
        config: ConsumerConfig,
        clock: Instant,
        commands: Receiver<Command>,
        events: UnboundedSender<EdgeEvent>,
        counters: Arc<EdgeCounters>,
        backlog: Arc<Backlog>,
    ) -> Self {
        Self {
            config,
            log: ClientLog::default(),
            counters,
            backlog,
            events,
            clock,
            state: Mutex::new(State::default()),
            committer: Arc::default(),
            forward: Arc::default(),
            commands: Mutex::new(commands),
            version: AtomicU64::new(0),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is behind a refusal: what the broker has against our credentials, which rights are missing; `why` where
    /// neither can be found out. Blocks, some seconds at most.
    pub(crate) fn refused(&self, why: String) -> EdgeError {
        let connection = &self.config.connection;
        reach::obstacle(connection)
            .or_else(|| access::complaint(connection, &self.config.needs()))
            .unwrap_or(EdgeError::NotAuthorised(why))
    }

    /// Says whether the driver has to catch up before more is taken for it.
    pub(crate) fn is_behind(&self) -> bool {
        let memory = &self.config.memory;
        self.backlog.is_above(memory.handed_over, memory.queue_bytes)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    pub(crate) fn changed(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::after_start(self.clock.elapsed())
    }

    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.clock + moment.since_start()
    }

    /// Tells the driver. Where it is gone, nobody is interested any more.
    pub(crate) fn tell(&self, input: Input<RawRecord>) {
        self.emit(EdgeEvent::Input(input));
    }

    pub(crate) fn emit(&self, event: EdgeEvent) {
        if self.events.send(event).is_err() {
            tracing::debug!(group = self.config.group, "nobody listens to the edge any more");
        }
    }

    /// Takes the commands that have come; waits for the first at most `patience`.
    pub(crate) fn commands(&self, patience: Duration) -> Vec<Command> {
        let receiver = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let mut commands = Vec::new();
        if !patience.is_zero()
            && let Ok(command) = receiver.recv_timeout(patience)
        {
            commands.push(command);
        }
        commands.extend(receiver.try_iter());
        commands
    }
}

impl ClientContext for EdgeContext {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.log.line(level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.log.reached(Reach::None);
        } else {
            self.log.failed(reason);
        }
        if let Some(suppressed) = self.log.may_log() {
            tracing::warn!(group = self.config.group, %error, reason, suppressed, "kafka client error");
        }
    }
}

impl ConsumerContext for EdgeContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assigned(consumer, list);
        } else {
            self.revoked(consumer, list);
        }
    }
}

impl EdgeContext {
    /// Tells the driver how a commit ended.
    pub(crate) fn commit_answered(
        &self,
        generation: Generation,
        next: postroom_core::Offset,
        outcome: KafkaResult<()>,
    ) {
        match outcome {
            Ok(()) => {
                self.log.reached(Reach::Some);
                EdgeCounters::add(&self.counters.commits);
                self.tell(Input::Committed { generation, next });
            }
            Err(error) => {
                EdgeCounters::add(&self.counters.failed_commits);
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId) {
                    self.state().fatal = Some(EdgeError::FencedInstance(error.to_string()));
                }
                if let Some(suppressed) = self.log.may_log() {
                    tracing::warn!(group = self.config.group, %error, suppressed, "a commit failed and is repeated");
                }
                self.tell(Input::CommitFailed { generation });
            }
        }
    }
}

/// How many records were handed over and not yet taken, and what they weigh.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    records: AtomicUsize,
    bytes: AtomicUsize,
    counted: AtomicBool,
}

impl Backlog {
    /// Counts records that were handed over.
    pub(crate) fn add(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts records that were taken. From the first call on the limit holds.
    pub(crate) fn take(&self, records: usize, bytes: usize) {
        self.counted.store(true, Ordering::Relaxed);
        self.records.fetch_sub(records, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Says whether more records than `records` wait to be taken, or more bytes than `bytes`.
    fn is_above(&self, records: usize, bytes: usize) -> bool {
        self.counted.load(Ordering::Relaxed)
            && (self.records.load(Ordering::Relaxed) > records || self.bytes.load(Ordering::Relaxed) > bytes)
    }
}

/// What the edge of one group has counted since its start.
#[derive(Debug, Default)]
pub struct EdgeCounters {
    /// Commits that the broker took, a partition each.
    pub commits: AtomicU64,
    /// Commits that it did not take.
    pub failed_commits: AtomicU64,
    /// Commits that the guard refused: not our generation, or backwards.
    pub refused_commits: AtomicU64,
    /// Commit metadata that was not ours, or damaged: it was ignored.
    pub foreign_metadata: AtomicU64,
    /// Records that were fetched and dropped: below the position, or before a seek took effect.
    pub dropped_records: AtomicU64,
    /// Headers whose name is not UTF-8: handed over without name and value.
    pub unreadable_headers: AtomicU64,
    /// Records handed over to the driver.
    pub records: AtomicU64,
    /// Polls that have ended.
    pub polls: AtomicU64,
    /// How often the poll interval was exceeded, so that the group was left.
    pub polls_exceeded: AtomicU64,
    /// Assignments of partitions.
    pub assigned: AtomicU64,
    /// Partitions given back in order.
    pub revoked: AtomicU64,
    /// Partitions that were gone before they could be given back.
    pub lost: AtomicU64,
}

impl EdgeCounters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_many(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
