//! What happens in one consumer group: each happening has one function, which counts it and writes its log line.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use postroom_core::{Attempt, CircuitState, Class, Ended, Failure, Offset, Reason, TopicPartition};
use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

use crate::telemetry::board::{Board, Place};
use crate::telemetry::families::Families;
use crate::telemetry::letters::LetterSeries;
use crate::telemetry::outcome::{CommitOutcome, Ending, MetadataFault, RebalanceKind, RetryReason};
use crate::telemetry::status::{GroupReport, PartitionReport, Totals};
use crate::telemetry::topic::{Each, TopicHandles};

/// What is known of a group before it starts: every series is made from it, at zero.
#[derive(Clone, Debug)]
pub struct GroupShape {
    /// The group's name, such as `postroom.project`.
    pub group: String,
    /// The handler's name, such as `project`.
    pub handler: String,
    /// What it reads.
    pub topics: Vec<TopicShape>,
    /// What it depends on, such as `db`: one circuit each.
    pub dependencies: Vec<String>,
    /// Each source topic, and the topic of its dead letters.
    pub dead_letters: Vec<(String, String)>,
    /// How long the poll thread may stay away.
    pub poll_interval_limit: Duration,
}

/// A topic that a group reads.
#[derive(Clone, Debug)]
pub struct TopicShape {
    /// Its name.
    pub topic: String,
    /// The event types that the group knows there.
    pub event_types: Vec<String>,
}

/// The metrics and log lines of one group. Shared by reference between its threads.
pub struct GroupMetrics {
    group: String,
    handler: String,
    families: Arc<Families>,
    place: Place,
    topics: Vec<TopicHandles>,
    other: OnceLock<Option<TopicHandles>>,
    retry_pending: IntGauge,
    duplicates: IntCounter,
    rebalances: Each<RebalanceKind, (IntCounter, Histogram)>,
    commits: Each<CommitOutcome, (IntCounter, Histogram)>,
    metadata: Each<MetadataFault, IntCounter>,
    last_poll: Gauge,
    letters: LetterSeries,
}

impl GroupMetrics {
    pub(crate) fn new(
        families: Arc<Families>,
        board: Arc<Board>,
        shape: &GroupShape,
    ) -> Result<Self, prometheus::Error> {
        let group = shape.group.as_str();
        let topics = shape.topics.iter().map(|topic| {
            TopicHandles::new(&families, group, &shape.handler, &topic.topic, &topic.event_types)
        });
        let topics = topics.collect::<Result<_, _>>()?;
        let own = [group];
        families.poll_limit.get_metric_with_label_values(&own)?.set(shape.poll_interval_limit.as_secs_f64());
        for dependency in &shape.dependencies {
            for state in CIRCUIT_STATES {
                let labels = [group, dependency, state];
                families.circuit.get_metric_with_label_values(&labels)?.set(i64::from(state == "closed"));
            }
            for outcome in REQUEST_OUTCOMES {
                families.effect_requests.get_metric_with_label_values(&[group, dependency, outcome])?;
                families.effect_seconds.get_metric_with_label_values(&[group, dependency, outcome])?;
            }
        }
        let pending = families.retry_pending.get_metric_with_label_values(&[group, &shape.handler])?;
        let duplicates = families.duplicates.get_metric_with_label_values(&[group, &shape.handler])?;
        let rebalances = Each::make(RebalanceKind::ALL, |kind| {
            let labels = [group, kind.word()];
            let count = families.rebalances.get_metric_with_label_values(&labels)?;
            Ok((count, families.rebalance_seconds.get_metric_with_label_values(&labels)?))
        })?;
        let commits = Each::make(CommitOutcome::ALL, |outcome| {
            let labels = [group, outcome.word()];
            let count = families.commits.get_metric_with_label_values(&labels)?;
            Ok((count, families.commit_seconds.get_metric_with_label_values(&labels)?))
        })?;
        let metadata = Each::make(MetadataFault::ALL, |fault| {
            families.metadata_ignored.get_metric_with_label_values(&[group, fault.word()])
        })?;
        let last_poll = families.last_poll.get_metric_with_label_values(&own)?;
        let letters = LetterSeries::new(Arc::clone(&families), group, &shape.dead_letters)?;
        let place = board.join(&shape.group, &shape.handler, shape.poll_interval_limit);
        Ok(Self {
            group: shape.group.clone(),
            handler: shape.handler.clone(),
            families,
            place,
            topics,
            other: OnceLock::new(),
            retry_pending: pending,
            duplicates,
            rebalances,
            commits,
            metadata,
            last_poll,
            letters,
        })
    }

    /// Returns the group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Returns the series of its dead-letter topics.
    pub(crate) fn letters(&self) -> &LetterSeries {
        &self.letters
    }

    /// Records were taken from Kafka: how many, and how many bytes they weigh.
    pub fn received(&self, topic: &str, records: u64, bytes: u64) {
        if let Some(topic) = self.topic(topic) {
            topic.received.inc_by(records);
            topic.bytes.inc_by(bytes);
        }
    }

    /// Offsets were removed from the log before they were read.
    pub fn removed(&self, topic: &str, offsets: u64) {
        if let Some(topic) = self.topic(topic) {
            topic.removed.inc_by(offsets);
        }
    }

    /// Messages of one event type were finished the same way. Dead letters are told by [`Self::dead_lettered`].
    pub fn finished(&self, topic: &str, event_type: &str, ending: Ending, count: u64) {
        if count == 0 {
            return;
        }
        if ending == Ending::Duplicate {
            self.duplicates.inc_by(count);
        }
        if let Some(topic) = self.topic(topic) {
            topic.processed.store(true, Ordering::Relaxed);
            if let Some(counter) = topic.endings(event_type).and_then(|each| each.of(ending)) {
                counter.inc_by(count);
            }
        }
    }

    /// Writes the line of one finished message, at debug.
    pub fn told_finished(&self, at: &TopicPartition, offset: Offset, event_type: &str, ending: Ending) {
        tracing::debug!(
            group = %self.group, topic = %at.topic, partition = at.partition.0, offset = offset.0,
            event_type, handler = %self.handler, outcome = ending.word(), "message finished"
        );
    }

    /// An attempt ended, well or not.
    pub fn observe_processing(&self, topic: &str, took: Duration) {
        if let Some(topic) = self.topic(topic) {
            topic.processing.observe(took.as_secs_f64());
        }
    }

    /// An effect is done: how long after its record's timestamp.
    pub fn observe_end_to_end(&self, topic: &str, age: Duration) {
        if let Some(topic) = self.topic(topic) {
            topic.end_to_end.observe(age.as_secs_f64());
        }
    }

    /// A failed record will be tried again after `wait`.
    pub fn retry_scheduled(
        &self,
        at: &TopicPartition,
        offset: Offset,
        attempt: Attempt,
        wait: Duration,
        cause: &Failure,
    ) {
        let reason = retry_reason(&cause.class);
        if let Some(counter) = self.topic(at.topic.as_str()).and_then(|topic| topic.retries.of(reason)) {
            counter.inc();
        }
        tracing::warn!(
            group = %self.group, topic = %at.topic, partition = at.partition.0, offset = offset.0,
            handler = %self.handler, attempt = attempt.0, wait_s = wait.as_secs_f64(),
            error_type = reason.word(), error_code = %cause.detail, error = %cause.message, "attempt failed, will be repeated"
        );
    }

    /// The dead-letter topic acknowledged a record: counts it as dead letter and as finished.
    pub fn dead_lettered(
        &self,
        at: &TopicPartition,
        offset: Offset,
        event_type: &str,
        reason: Reason,
        attempts: u32,
        failure: &Failure,
    ) {
        if let Some(counter) = self.topic(at.topic.as_str()).and_then(|topic| topic.dead_letters.of(reason)) {
            counter.inc();
        }
        if matches!(reason, Reason::Undecodable | Reason::UnknownSchema)
            && let Some(counter) =
                self.topic(at.topic.as_str()).and_then(|topic| topic.decode_failure(&failure.detail))
        {
            counter.inc();
        }
        self.finished(at.topic.as_str(), event_type, Ending::DeadLettered, 1);
        tracing::error!(
            group = %self.group, topic = %at.topic, partition = at.partition.0, offset = offset.0,
            handler = %self.handler, attempt = attempts, outcome = Ending::DeadLettered.word(), error_type = reason.code(),
            error_code = %failure.detail, error = %failure.message,
            next = format!("postroom dlq show {}/{at}/{offset}", self.group), "message dead-lettered"
        );
    }

    /// The dead-letter topic refused a record: it is sent again, its partition waits.
    pub fn dead_letter_failed(&self, at: &TopicPartition, offset: Offset) {
        if let Some(topic) = self.topic(at.topic.as_str()) {
            topic.dead_letter_failures.inc();
        }
        tracing::warn!(
            group = %self.group, topic = %at.topic, partition = at.partition.0, offset = offset.0,
            "dead letter refused, will be sent again"
        );
    }

    /// The broker answered a commit.
    pub fn committed(&self, outcome: CommitOutcome, took: Duration) {
        if let Some((count, seconds)) = self.commits.of(outcome) {
            count.inc();
            seconds.observe(took.as_secs_f64());
        }
        match outcome {
            CommitOutcome::Failed => {
                tracing::warn!(group = %self.group, "commit failed, the next one repeats it")
            }
            CommitOutcome::Ok => tracing::trace!(group = %self.group, "commit taken"),
        }
    }

    /// A rebalance ended: what it did to how many partitions, and how long it kept the poll thread.
    pub fn rebalanced(&self, kind: RebalanceKind, partitions: usize, took: Duration) {
        if let Some((count, seconds)) = self.rebalances.of(kind) {
            count.inc();
            seconds.observe(took.as_secs_f64());
        }
        let duration_s = took.as_secs_f64();
        match kind {
            RebalanceKind::Lost => {
                tracing::warn!(group = %self.group, partitions, duration_s, kind = kind.word(), "partitions lost");
            }
            RebalanceKind::Assign | RebalanceKind::Revoke => {
                tracing::info!(group = %self.group, partitions, duration_s, kind = kind.word(), "rebalanced");
            }
        }
    }

    /// The metadata of a partition's commit could not be used.
    pub fn metadata_ignored(&self, at: &TopicPartition, fault: MetadataFault) {
        if let Some(counter) = self.metadata.of(fault) {
            counter.inc();
        }
        tracing::warn!(
            group = %self.group, topic = %at.topic, partition = at.partition.0, error_code = fault.word(),
            "commit metadata ignored, finished records may be done again"
        );
    }

    /// A dependency went away or came back.
    pub fn circuit_changed(&self, dependency: &str, state: CircuitState) {
        let word = circuit_word(state);
        for known in CIRCUIT_STATES {
            let labels = [self.group.as_str(), dependency, known];
            if let Ok(gauge) = self.families.circuit.get_metric_with_label_values(&labels) {
                gauge.set(i64::from(known == word));
            }
        }
        match state {
            CircuitState::Open { .. } => {
                tracing::error!(group = %self.group, dependency, state = word, "dependency is away, the group waits");
            }
            CircuitState::HalfOpen | CircuitState::Closed => {
                tracing::info!(group = %self.group, dependency, state = word, "dependency circuit changed");
            }
        }
    }

    /// A request to a dependency ended.
    pub fn requested(&self, dependency: &str, went_well: bool, took: Duration) {
        let [ok, error] = REQUEST_OUTCOMES;
        let labels = [self.group.as_str(), dependency, if went_well { ok } else { error }];
        if let Ok(counter) = self.families.effect_requests.get_metric_with_label_values(&labels) {
            counter.inc();
        }
        if let Ok(seconds) = self.families.effect_seconds.get_metric_with_label_values(&labels) {
            seconds.observe(took.as_secs_f64());
        }
    }

    /// The poll thread came round.
    pub fn polled(&self) {
        self.last_poll.set(unix_seconds());
        self.place.polled();
    }

    /// The driver came round: the process is alive as long as this is called at least every half minute.
    pub fn beat(&self) {
        self.place.beat();
    }

    /// Sets the gauges and the status page from one value. Once a second is enough; partitions that are no longer
    /// in the report disappear. Counts as [`Self::beat`].
    pub fn publish(&self, report: GroupReport) {
        self.retry_pending.set(whole(report.retries_waiting));
        for topic in &self.topics {
            if topic.processed.swap(false, Ordering::Relaxed) {
                topic.last_processed.set(unix_seconds());
            }
            let own: Vec<_> = report.partitions.iter().filter(|one| one.topic == topic.name).collect();
            topic.assigned.set(whole(own.len()));
            topic.in_flight.set(whole(own.iter().map(|one| one.unfinished).sum()));
            topic.buffer_bytes.set(whole(own.iter().map(|one| one.unfinished_bytes).sum()));
        }
        for (topic, count) in &report.topic_partitions {
            if let Some(topic) = self.topic(topic) {
                topic.partitions.set(whole(*count));
            }
        }
        for partition in &report.partitions {
            self.partition(partition);
        }
        let totals = self.totals();
        for (topic, partition) in self.place.publish(report, totals) {
            self.forget(&topic, partition);
        }
    }

    /// Reads the counters back.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for topic in self.topics.iter().chain(self.other.get().and_then(Option::as_ref)) {
            totals.received = totals.received.saturating_add(topic.received.get());
            for (kind, each) in &topic.endings {
                for (ending, counter) in each.iter().filter(|(_, counter)| counter.get() > 0) {
                    add(totals.by_outcome.entry(ending.word().to_owned()).or_default(), counter.get());
                    add(totals.by_event_type.entry(kind.clone()).or_default(), counter.get());
                }
            }
            for (reason, counter) in topic.dead_letters.iter().filter(|(_, counter)| counter.get() > 0) {
                add(totals.dead_letters.entry(reason.code().to_owned()).or_default(), counter.get());
            }
            for (_, counter) in topic.retries.iter() {
                add(&mut totals.retries, counter.get());
            }
        }
        totals
    }

    fn partition(&self, report: &PartitionReport) {
        let number = report.partition.to_string();
        let labels = [self.group.as_str(), report.topic.as_str(), number.as_str()];
        let families = &self.families;
        for (family, value) in [
            (&families.committed, report.committed),
            (&families.position, report.position),
            (&families.log_end, report.end),
            (&families.lag_messages, report.lag()),
        ] {
            if let (Some(value), Ok(gauge)) = (value, family.get_metric_with_label_values(&labels)) {
                gauge.set(value);
            }
        }
        for (family, value) in
            [(&families.lag_seconds, report.lag_seconds), (&families.blocked, report.blocked_seconds)]
        {
            if let Ok(gauge) = family.get_metric_with_label_values(&labels) {
                gauge.set(value);
            }
        }
        for cause in PAUSE_CAUSES {
            let labels = [self.group.as_str(), report.topic.as_str(), number.as_str(), cause];
            if let Ok(gauge) = families.paused.get_metric_with_label_values(&labels) {
                gauge.set(i64::from(report.paused.as_deref() == Some(cause)));
            }
        }
    }

    /// Removes the series of a partition that went to another member.
    fn forget(&self, topic: &str, partition: i32) {
        let number = partition.to_string();
        let labels = [self.group.as_str(), topic, number.as_str()];
        let families = &self.families;
        for family in [&families.committed, &families.position, &families.log_end, &families.lag_messages] {
            family.remove_label_values(&labels).unwrap_or_default();
        }
        for family in [&families.lag_seconds, &families.blocked] {
            family.remove_label_values(&labels).unwrap_or_default();
        }
        for cause in PAUSE_CAUSES {
            let labels = [self.group.as_str(), topic, number.as_str(), cause];
            families.paused.remove_label_values(&labels).unwrap_or_default();
        }
    }

    /// Finds a topic's handles; what the shape does not name is counted as `other`.
    fn topic(&self, name: &str) -> Option<&TopicHandles> {
        self.topics.iter().find(|topic| topic.name == name).or_else(|| {
            let make = || {
                TopicHandles::new(
                    &self.families,
                    &self.group,
                    &self.handler,
                    crate::telemetry::topic::OTHER,
                    &[],
                )
                .ok()
            };
            self.other.get_or_init(make).as_ref()
        })
    }
}

/// Returns the word for why something is tried again.
fn retry_reason(class: &Class) -> RetryReason {
    match class {
        Class::Transient { ended: Ended::ByDeadline, .. } => RetryReason::TimedOut,
        Class::Outage(_) => RetryReason::Outage,
        Class::Transient { ended: Ended::ByError, .. } | Class::Dead(_) | Class::Fatal => RetryReason::Error,
    }
}

fn circuit_word(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::HalfOpen => "half_open",
        CircuitState::Open { .. } => "open",
    }
}

fn add(total: &mut u64, count: u64) {
    *total = total.saturating_add(count);
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) fn unix_seconds() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

const CIRCUIT_STATES: [&str; 3] = ["closed", "half_open", "open"];
const PAUSE_CAUSES: [&str; 3] = ["backpressure", "circuit", "order"];
const REQUEST_OUTCOMES: [&str; 2] = ["ok", "error"];
