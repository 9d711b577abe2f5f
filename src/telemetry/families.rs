//! Every metric family: name, kind, labels, meaning. `docs/metrics.md` is made from this file.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postroom_core::Reason;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::telemetry::group::{GroupMetrics, GroupShape};
use crate::telemetry::{Board, OutboxStatus, RegistryAnswer};

/// A metric family as the reference describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! kind {
    (counter) => {
        "counter"
    };
    (gauge) => {
        "gauge"
    };
    (count) => {
        "gauge"
    };
    ($buckets:ident) => {
        "histogram"
    };
}

macro_rules! handle {
    (counter) => {
        IntCounterVec
    };
    (gauge) => {
        GaugeVec
    };
    (count) => {
        IntGaugeVec
    };
    ($buckets:ident) => {
        HistogramVec
    };
}

macro_rules! make {
    (counter, $name:literal, $help:literal, $labels:expr) => {
        IntCounterVec::new(Opts::new($name, $help), $labels)
    };
    (gauge, $name:literal, $help:literal, $labels:expr) => {
        GaugeVec::new(Opts::new($name, $help), $labels)
    };
    (count, $name:literal, $help:literal, $labels:expr) => {
        IntGaugeVec::new(Opts::new($name, $help), $labels)
    };
    ($buckets:ident, $name:literal, $help:literal, $labels:expr) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), $labels)
    };
}

macro_rules! families {
    ($( $field:ident: $kind:ident $name:literal [$($label:literal)*] $help:literal; )+) => {
        /// The families, as handles. A `gauge` holds a fraction, a `count` a whole number.
        pub(crate) struct Families { $( pub(crate) $field: handle!($kind), )+ }

        impl Families {
            fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
                let families = Self { $( $field: make!($kind, $name, $help, &[$($label),*])?, )+ };
                $( registry.register(Box::new(families.$field.clone()))?; )+
                Ok(families)
            }
        }

        impl Family {
            /// All families but those of the process collector.
            pub const ALL: &'static [Self] = &[$(
                Self { name: $name, kind: kind!($kind), labels: &[$($label),*], help: $help },
            )+];
        }
    };
}

families! {
    build_info: count "postroom_build_info" ["version" "revision" "rustc" "librdkafka"]
        "1: something is alive, and which build it is.";
    messages: counter "postroom_messages_total" ["group" "topic" "event_type" "handler" "outcome"]
        "Messages that were taken from Kafka, by how they ended; each counts once. `given_back` were dropped unfinished with their partition: the next owner takes them.";
    received: counter "postroom_messages_received_total" ["group" "topic"]
        "Messages that were taken from Kafka, those of lost partitions included.";
    removed: counter "postroom_messages_removed_total" ["group" "topic"]
        "Offsets that the log no longer held when the group came to them (`on_gap = \"continue\"`).";
    processing: PROCESSING "postroom_message_processing_seconds" ["group" "topic" "handler"]
        "How long one attempt took; of a batch, its share.";
    end_to_end: END_TO_END "postroom_message_end_to_end_seconds" ["group" "topic" "handler"]
        "From the record's timestamp to its effect.";
    in_flight: count "postroom_messages_in_flight" ["group" "topic"]
        "Messages received and unfinished.";
    buffer_bytes: count "postroom_message_buffer_bytes" ["group" "topic"]
        "Bytes of messages received and unfinished.";
    message_bytes: counter "postroom_message_bytes_total" ["group" "topic"]
        "Bytes of keys, values and headers received.";
    retries: counter "postroom_retries_total" ["group" "topic" "handler" "reason"]
        "Failed attempts that will be repeated.";
    retry_pending: count "postroom_retry_pending_messages" ["group" "handler"]
        "Messages that wait for their next attempt, with those that wait behind them.";
    dead_letters: counter "postroom_dead_letters_total" ["group" "topic" "handler" "reason"]
        "Messages that the dead-letter topic acknowledged.";
    dead_letter_failures: counter "postroom_dead_letter_failures_total" ["group" "topic"]
        "Messages that the dead-letter topic refused; they are sent again.";
    dead_letters_open: count "postroom_dead_letter_topic_messages" ["group" "dlq_topic"]
        "Dead letters that were neither replayed nor discarded, as the members saw last.";
    dead_letters_oldest: gauge "postroom_dead_letter_oldest_timestamp_seconds" ["group" "dlq_topic"]
        "The oldest timestamp among the records of those: what the topic's retention counts from; 0 where none is open.";
    dead_letters_kept: gauge "postroom_dead_letter_retention_seconds" ["group" "dlq_topic"]
        "How long the dead-letter topic keeps records; absent where it keeps them for ever or its settings are not told.";
    replays: counter "postroom_dead_letter_replays_total" ["group" "dlq_topic" "outcome"]
        "Dead letters that came again from the group's retry topic, by how they ended. `ok` and `duplicate` are mended.";
    topic_kept: gauge "postroom_topic_retention_seconds" ["group" "topic"]
        "How long the topic keeps records; absent where it keeps them for ever or its settings are not told.";
    lag_messages: count "postroom_consumer_lag_messages" ["group" "topic" "partition"]
        "End offset less next offset to commit.";
    lag_seconds: gauge "postroom_consumer_lag_seconds" ["group" "topic" "partition"]
        "Age of the oldest unfinished record; 0 when caught up.";
    committed: count "postroom_consumer_committed_offset" ["group" "topic" "partition"]
        "Next offset to read, as Kafka acknowledged it.";
    position: count "postroom_consumer_position_offset" ["group" "topic" "partition"]
        "Next offset to commit: nothing below is unfinished.";
    log_end: count "postroom_consumer_log_end_offset" ["group" "topic" "partition"]
        "The offset that the next record will have.";
    topic_partitions: count "postroom_topic_partitions" ["group" "topic"]
        "Partitions of the topic.";
    blocked: gauge "postroom_partition_blocked_seconds" ["group" "topic" "partition"]
        "How long the head record has kept the position still; 0 when it moves.";
    paused: count "postroom_partition_paused" ["group" "topic" "partition" "cause"]
        "1 while the partition is not fetched for that cause.";
    assigned: count "postroom_assigned_partitions" ["group" "topic"]
        "Partitions that this process holds.";
    rebalances: counter "postroom_rebalances_total" ["group" "kind"]
        "Rebalances by what they did.";
    rebalance_seconds: PROCESSING "postroom_rebalance_duration_seconds" ["group" "kind"]
        "How long a rebalance kept the poll thread.";
    commits: counter "postroom_offset_commits_total" ["group" "outcome"]
        "Commits to Kafka by the broker's answer.";
    commit_seconds: PROCESSING "postroom_offset_commit_duration_seconds" ["group" "outcome"]
        "From a commit to the broker's answer.";
    metadata_ignored: counter "postroom_commit_metadata_ignored_total" ["group" "cause"]
        "Commits whose metadata was not used: some finished records may be done again.";
    last_poll: gauge "postroom_last_poll_timestamp_seconds" ["group"]
        "When the poll thread last came round; 0 before the first time.";
    poll_limit: gauge "postroom_poll_interval_limit_seconds" ["group"]
        "How long it may stay away before the member is put out.";
    last_processed: gauge "postroom_last_processed_timestamp_seconds" ["group" "topic"]
        "When a message was last finished; 0 before the first.";
    effect_requests: counter "postroom_effect_requests_total" ["group" "effect" "outcome"]
        "Requests to a dependency by how they ended.";
    effect_seconds: PROCESSING "postroom_effect_duration_seconds" ["group" "effect" "outcome"]
        "How long a request to a dependency took.";
    circuit: count "postroom_effect_circuit_state" ["group" "effect" "state"]
        "1 for the state that the dependency's circuit is in.";
    duplicates: counter "postroom_duplicates_skipped_total" ["group" "handler"]
        "Messages whose effects were there already.";
    decode_failures: counter "postroom_decode_failures_total" ["group" "topic" "detail"]
        "Messages that could not be decoded, by what was wrong with them.";
    outbox_pending: count "postroom_outbox_pending_rows" []
        "Mails and deliveries that are asked for and not at their end, in the store.";
    outbox_deferred: count "postroom_outbox_deferred_rows" []
        "Mails and deliveries that were put off, each the first of its recipient or endpoint.";
    endpoints_disabled: count "postroom_webhook_endpoints_disabled" []
        "Webhook endpoints that nothing is sent to: they answered 410, failed for too long, or were disabled.";
    outbox_oldest: gauge "postroom_outbox_oldest_timestamp_seconds" []
        "Since when the oldest one that is due waits to be published; 0 where none waits.";
    registry_requests: counter "postroom_schema_registry_requests_total" ["outcome"]
        "Requests to the schema registry by how they ended.";
    log_events: counter "postroom_log_events_total" ["level"]
        "Log events, those that were left out as repeats included.";
    drain_seconds: DRAIN "postroom_shutdown_drain_seconds" []
        "How long the drain at shutdown took.";
}

/// Where the binary comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The version of Postroom.
    pub version: String,
    /// The commit it was built from; `unknown` outside of a checkout.
    pub revision: String,
    /// The compiler's version.
    pub rustc: String,
    /// The version of librdkafka.
    pub librdkafka: String,
}

impl BuildInfo {
    /// Returns what this binary was built from, with the given librdkafka.
    pub fn current(librdkafka: String) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: option_env!("POSTROOM_REVISION").unwrap_or("unknown").to_owned(),
            rustc: option_env!("POSTROOM_RUSTC").unwrap_or("unknown").to_owned(),
            librdkafka,
        }
    }
}

/// Why metrics cannot be set up: a bug, never a user's mistake.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be set up: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// All metrics of the process. Cloning is cheap.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub(crate) families: Arc<Families>,
    board: Arc<Board>,
    page: Arc<Mutex<Option<Page>>>,
}

/// A rendered page.
struct Page {
    made: Instant,
    text: Arc<str>,
}

impl Metrics {
    /// Makes every family, the process collector and the build's line. What has no group stands at zero.
    ///
    /// # Errors
    /// A family is declared twice or wrongly.
    pub fn new(build: &BuildInfo, board: Arc<Board>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let families = Families::register(&registry)?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let labels = [&build.version, &build.revision, &build.rustc, &build.librdkafka];
        families.build_info.get_metric_with_label_values(&labels)?.set(1);
        families.drain_seconds.get_metric_with_label_values::<&str>(&[])?;
        families.outbox_pending.get_metric_with_label_values::<&str>(&[])?;
        families.outbox_oldest.get_metric_with_label_values::<&str>(&[])?;
        families.outbox_deferred.get_metric_with_label_values::<&str>(&[])?;
        families.endpoints_disabled.get_metric_with_label_values::<&str>(&[])?;
        for answer in RegistryAnswer::ALL {
            families.registry_requests.get_metric_with_label_values(&[answer.word()])?;
        }
        for level in LEVELS {
            families.log_events.get_metric_with_label_values(&[level])?;
        }
        Ok(Self { registry, families: Arc::new(families), board, page: Arc::default() })
    }

    /// Makes the series of one group, all at zero.
    ///
    /// # Errors
    /// A label set does not fit its family.
    pub fn group(&self, shape: &GroupShape) -> Result<GroupMetrics, MetricsError> {
        Ok(GroupMetrics::new(Arc::clone(&self.families), Arc::clone(&self.board), shape)?)
    }

    /// Returns the board that the groups publish to.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Counts a drain that has ended.
    pub fn drained(&self, took: Duration) {
        if let Ok(drain) = self.families.drain_seconds.get_metric_with_label_values::<&str>(&[]) {
            drain.observe(took.as_secs_f64());
        }
    }

    /// Counts a request to the schema registry.
    pub fn registry_asked(&self, answer: RegistryAnswer) {
        if let Ok(count) = self.families.registry_requests.get_metric_with_label_values(&[answer.word()]) {
            count.inc();
        }
    }

    /// Tells what waits in the outbox.
    pub(crate) fn outbox(&self, outbox: OutboxStatus) {
        let OutboxStatus { pending, deferred, oldest_due, .. } = outbox;
        self.board.outbox(outbox);
        let Families { outbox_pending, outbox_deferred, outbox_oldest, .. } = &*self.families;
        if let Ok(rows) = outbox_deferred.get_metric_with_label_values::<&str>(&[]) {
            rows.set(i64::try_from(deferred).unwrap_or(i64::MAX));
        }
        if let Ok(rows) = outbox_pending.get_metric_with_label_values::<&str>(&[]) {
            rows.set(i64::try_from(pending).unwrap_or(i64::MAX));
        }
        if let Ok(oldest) = outbox_oldest.get_metric_with_label_values::<&str>(&[]) {
            let since = Duration::from_millis(oldest_due.and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
            oldest.set(since.as_secs_f64());
        }
    }

    /// Tells how many endpoints are disabled.
    pub(crate) fn endpoints_disabled(&self, endpoints: u64) {
        if let Ok(disabled) = self.families.endpoints_disabled.get_metric_with_label_values::<&str>(&[]) {
            disabled.set(i64::try_from(endpoints).unwrap_or(i64::MAX));
        }
    }

    /// The dead-letter topic acknowledged a request of the outbox that no handler saw.
    pub(crate) fn outbox_dead_letter(&self, group: &str, topic: &str, handler: &str, reason: Reason) {
        let labels = [group, topic, handler, reason.code()];
        if let Ok(letters) = self.families.dead_letters.get_metric_with_label_values(&labels) {
            letters.inc();
        }
    }

    /// A dead-letter topic did not take a request of the outbox.
    pub(crate) fn outbox_dead_letter_failed(&self, group: &str, topic: &str) {
        if let Ok(failures) = self.families.dead_letter_failures.get_metric_with_label_values(&[group, topic])
        {
            failures.inc();
        }
    }

    /// Returns the text that Prometheus scrapes. Scrapes within a quarter of a second get the same.
    pub fn page(&self) -> Arc<str> {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fresh) = page.as_ref().filter(|page| page.made.elapsed() < PAGE_AGE) {
            return Arc::clone(&fresh.text);
        }
        let mut bytes = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut bytes);
        let text: Arc<str> = match encoded {
            Ok(()) => Arc::from(String::from_utf8_lossy(&bytes)),
            Err(error) => Arc::from(format!("# {error}\n")),
        };
        *page = Some(Page { made: Instant::now(), text: Arc::clone(&text) });
        text
    }
}

pub(crate) const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

const PAGE_AGE: Duration = Duration::from_millis(250);

const PROCESSING: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0];

const END_TO_END: [f64; 15] =
    [0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0];

const DRAIN: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0];
