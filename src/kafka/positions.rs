//! Where partitions begin: from the group's commit, or from the group's start.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use postroom_core::{Offset, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList, TopicPartitionListElem};

use crate::kafka::config::Start;
use crate::kafka::context::{EdgeContext, EdgeCounters};
use crate::kafka::metadata::{self, Reading};
use crate::ports::CommittedPosition;

/// Where one partition begins.
pub(crate) struct Position {
    pub(crate) partition: TopicPartition,
    pub(crate) committed: Option<CommittedPosition>,
    pub(crate) expected: Option<Offset>,
}

/// How long the group's coordinator is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Within a rebalance, which nothing follows before it is answered.
    Patiently,
    /// Beside everything else.
    Once,
}

impl EdgeContext {
    /// Looks up where partitions begin: sets their offsets for the client, and returns them for the driver. `None` where the
    /// coordinator does not answer: the offsets are as before.
    pub(crate) fn starting_positions(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &mut TopicPartitionList,
        asking: Asking,
    ) -> Option<Vec<Position>> {
        if list.count() == 0 {
            return Some(Vec::new());
        }
        let committed = self.committed(consumer, list, asking)?;
        let known = self.known_topics(consumer, &committed);
        let positions = committed
            .elements()
            .iter_mut()
            .map(|element| {
                let known = known.contains(element.topic());
                self.position(element, if known { Start::Earliest } else { self.config.start })
            })
            .collect();
        *list = committed;
        Some(positions)
    }

    fn committed(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
        asking: Asking,
    ) -> Option<TopicPartitionList> {
        let (times, patience) = match asking {
            Asking::Patiently => (ASK_TIMES, ASK_PATIENCE),
            Asking::Once => (1, ASK_PATIENCE / 3),
        };
        for _ in 0..times {
            let outcome = consumer.committed_offsets(list.clone(), patience).and_then(|committed| {
                committed.elements().iter().try_for_each(|element| element.error())?;
                Ok(committed)
            });
            match outcome {
                Ok(committed) => return Some(committed),
                Err(error) => {
                    tracing::warn!(group = self.config.group, %error, "the committed offsets are not known yet");
                }
            }
            if consumer.assignment_lost() {
                break;
            }
        }
        None
    }

    /// Returns the topics that a group which starts with the latest has commits for: a partition that was added
    /// to one of those must be read from its beginning, or what came before its assignment would be lost.
    fn known_topics(
        &self,
        consumer: &BaseConsumer<Self>,
        committed: &TopicPartitionList,
    ) -> BTreeSet<String> {
        if self.config.start == Start::Earliest {
            return BTreeSet::new();
        }
        let elements = committed.elements();
        let fresh = elements.iter().filter(|element| !matches!(element.offset(), ClientOffset::Offset(_)));
        let topics: BTreeSet<&str> = fresh.map(|element| element.topic()).collect();
        let mut known = BTreeSet::new();
        for topic in topics {
            let Ok(metadata) = consumer.fetch_metadata(Some(topic), ASK_PATIENCE) else { continue };
            let mut all = TopicPartitionList::new();
            for found in metadata.topics().iter().filter(|found| found.name() == topic) {
                for partition in found.partitions() {
                    all.add_partition(topic, partition.id());
                }
            }
            let any = self.committed(consumer, &all, Asking::Patiently).is_some_and(|committed| {
                committed.elements().iter().any(|element| matches!(element.offset(), ClientOffset::Offset(_)))
            });
            if any {
                known.insert(topic.to_owned());
            }
        }
        known
    }

    fn position(&self, element: &mut TopicPartitionListElem<'_>, start: Start) -> Position {
        let partition = self.name(element.topic(), element.partition());
        if let ClientOffset::Offset(next) = element.offset() {
            let committed = self.read_commit(&partition, Offset(next), element);
            return Position { partition, committed: Some(committed), expected: Some(Offset(next)) };
        }
        let start = match start {
            Start::Earliest => ClientOffset::Beginning,
            Start::Latest => ClientOffset::End,
        };
        if let Err(error) = element.set_offset(start) {
            tracing::error!(%partition, %error, "the start cannot be set");
        }
        Position { partition, committed: None, expected: None }
    }

    fn read_commit(
        &self,
        partition: &TopicPartition,
        next: Offset,
        element: &TopicPartitionListElem<'_>,
    ) -> CommittedPosition {
        // The library panics on metadata that is not UTF-8, and any tool may write some.
        let text = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()));
        let reading = text.map_or(Reading::Foreign, |text| metadata::decode(next, &text));
        let hint = match reading {
            Reading::Empty => metadata::Hint::default(),
            Reading::Ours(hint) => hint,
            Reading::Foreign => {
                EdgeCounters::add(&self.counters.foreign_metadata);
                tracing::warn!(group = self.config.group, %partition, "commit metadata is foreign or damaged: ignored");
                metadata::Hint::default()
            }
        };
        CommittedPosition { next, finished: hint.finished, store: hint.store }
    }
}

const ASK_TIMES: usize = 3;
const ASK_PATIENCE: Duration = Duration::from_secs(3);
