//! The series of one group and topic, as handles: nothing is looked up by labels while records flow.

use postroom_core::Reason;
use std::sync::atomic::AtomicBool;

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

use crate::codec::Detail;
use crate::telemetry::families::Families;
use crate::telemetry::outcome::{Ending, RetryReason};

/// A value for each member of a closed list, in a few comparisons.
pub(crate) struct Each<K, V>(Vec<(K, V)>);

impl<K: Copy + PartialEq, V> Each<K, V> {
    pub(crate) fn make(
        keys: &[K],
        mut make: impl FnMut(K) -> Result<V, prometheus::Error>,
    ) -> Result<Self, prometheus::Error> {
        keys.iter().map(|key| Ok((*key, make(*key)?))).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn of(&self, key: K) -> Option<&V> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.0.iter()
    }
}

/// The series of one topic.
pub(crate) struct TopicHandles {
    pub(crate) name: String,
    pub(crate) received: IntCounter,
    pub(crate) removed: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) in_flight: IntGauge,
    pub(crate) buffer_bytes: IntGauge,
    pub(crate) assigned: IntGauge,
    pub(crate) partitions: IntGauge,
    pub(crate) processing: Histogram,
    pub(crate) end_to_end: Histogram,
    pub(crate) last_processed: Gauge,
    /// Whether anything was finished since the gauge was set.
    pub(crate) processed: AtomicBool,
    pub(crate) dead_letter_failures: IntCounter,
    pub(crate) retries: Each<RetryReason, IntCounter>,
    pub(crate) dead_letters: Each<Reason, IntCounter>,
    pub(crate) decode_failures: Vec<(&'static str, IntCounter)>,
    pub(crate) endings: Vec<(String, Each<Ending, IntCounter>)>,
}

impl TopicHandles {
    pub(crate) fn new(
        families: &Families,
        group: &str,
        handler: &str,
        topic: &str,
        event_types: &[String],
    ) -> Result<Self, prometheus::Error> {
        let pair = [group, topic];
        let types = event_types.iter().map(String::as_str).filter(|kind| *kind != OTHER).chain([OTHER]);
        let endings = types.map(|kind| {
            let each = Each::make(Ending::ALL, |ending| {
                families.messages.get_metric_with_label_values(&[group, topic, kind, handler, ending.word()])
            })?;
            Ok((kind.to_owned(), each))
        });
        let details = Detail::ALL.iter().map(|detail| detail.code()).chain([OTHER]).map(|detail| {
            Ok((detail, families.decode_failures.get_metric_with_label_values(&[group, topic, detail])?))
        });
        Ok(Self {
            name: topic.to_owned(),
            received: families.received.get_metric_with_label_values(&pair)?,
            removed: families.removed.get_metric_with_label_values(&pair)?,
            bytes: families.message_bytes.get_metric_with_label_values(&pair)?,
            in_flight: families.in_flight.get_metric_with_label_values(&pair)?,
            buffer_bytes: families.buffer_bytes.get_metric_with_label_values(&pair)?,
            assigned: families.assigned.get_metric_with_label_values(&pair)?,
            partitions: families.topic_partitions.get_metric_with_label_values(&pair)?,
            processing: families.processing.get_metric_with_label_values(&[group, topic, handler])?,
            end_to_end: families.end_to_end.get_metric_with_label_values(&[group, topic, handler])?,
            processed: AtomicBool::new(false),
            last_processed: families.last_processed.get_metric_with_label_values(&pair)?,
            dead_letter_failures: families.dead_letter_failures.get_metric_with_label_values(&pair)?,
            retries: Each::make(RetryReason::ALL, |reason| {
                families.retries.get_metric_with_label_values(&[group, topic, handler, reason.word()])
            })?,
            dead_letters: Each::make(&Reason::ALL, |reason| {
                families.dead_letters.get_metric_with_label_values(&[group, topic, handler, reason.code()])
            })?,
            decode_failures: details.collect::<Result<_, prometheus::Error>>()?,
            endings: endings.collect::<Result<_, prometheus::Error>>()?,
        })
    }

    /// Returns the counters of an event type; those of `other` for a type that is not known.
    pub(crate) fn endings(&self, event_type: &str) -> Option<&Each<Ending, IntCounter>> {
        let known = self.endings.iter().find(|(kind, _)| kind == event_type);
        known.or_else(|| self.endings.last()).map(|(_, each)| each)
    }

    /// Returns the counter of a detail; that of `other` for a detail that is not in the list.
    pub(crate) fn decode_failure(&self, detail: &str) -> Option<&IntCounter> {
        let known = self.decode_failures.iter().find(|(word, _)| *word == detail);
        known.or_else(|| self.decode_failures.last()).map(|(_, counter)| counter)
    }
}

/// The label of what is not known.
pub(crate) const OTHER: &str = "other";
