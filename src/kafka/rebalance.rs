//! What happens when the group gives partitions, and when it takes them back.

use std::time::{Duration, Instant};

use postroom_core::{Generation, Input, Partition, Topic, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::kafka::assignment::Owned;
use crate::kafka::commands::Commits;
use crate::kafka::context::{EdgeContext, EdgeCounters};
use crate::kafka::positions::{Asking, Position};
use crate::ports::{EdgeError, EdgeEvent};

impl EdgeContext {
    /// Takes partitions: looks up where they go on, tells the driver, and lets the client fetch.
    ///
    /// The client's own default would look the offsets up again and could reset them in silence; so the
    /// list is handed to it with its offsets.
    pub(crate) fn assigned(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let increments = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        if self.state().closed {
            // Nobody takes records any more.
            return self.heard(if increments {
                consumer.incremental_assign(list)
            } else {
                consumer.assign(list)
            });
        }
        let ended = self.superseded(list, increments);
        let mut start = list.clone();
        let positions = self.starting_positions(consumer, &mut start, Asking::Patiently);
        let is_known = positions.is_some();
        match positions {
            Some(positions) => positions.into_iter().for_each(|position| {
                let generation =
                    self.state().assignment.assign(position.partition.clone(), position.expected);
                self.told(position, generation);
            }),
            None => self.untold(list),
        }
        self.changed();
        if ended.count() > 0 {
            // Nothing comes until it is forwarded.
            let paused = consumer.pause(&start);
            return self.heard(paused.and_then(|()| self.assign_anew(consumer, &ended, &start, increments)));
        }
        self.forward_all(consumer);
        // The client remembers a pause over assignments, and the driver has never paused this one.
        if is_known && let Err(error) = consumer.resume(&start) {
            tracing::warn!(group = self.config.group, %error, "resuming before an assignment failed");
        }
        // What waits for the group's commit must not be fetched from anywhere else.
        self.pause_again(consumer);
        self.heard(if increments { consumer.incremental_assign(&start) } else { consumer.assign(&start) });
        self.pause_again(consumer);
    }

    /// Tells the driver of an assignment.
    fn told(&self, position: Position, generation: Generation) {
        EdgeCounters::add(&self.counters.assigned);
        tracing::info!(
            group = self.config.group, partition = %position.partition, generation = generation.0,
            committed = position.committed.as_ref().map(|committed| committed.next.0), "partition assigned"
        );
        let Position { partition, committed, .. } = position;
        self.emit(EdgeEvent::Assigned { partition, generation, committed });
    }

    /// Takes partitions whose commit is not known. Without it the driver would take the group for a new one.
    fn untold(&self, list: &TopicPartitionList) {
        for element in list.elements() {
            let partition = self.name(element.topic(), element.partition());
            let mut state = self.state();
            let generation = state.assignment.assign(partition, None);
            state.assignment.leave_untold(generation);
        }
    }

    /// Asks once more for commits that were not known, and tells the driver of the assignments that waited for them. Says whether
    /// that was answered.
    pub(crate) fn tell_of_untold(&self, consumer: &BaseConsumer<Self>) -> bool {
        let mut list = TopicPartitionList::new();
        for owned in self.state().assignment.owned().iter().filter(|owned| owned.untold) {
            list.add_partition(owned.partition.topic.as_str(), owned.partition.partition.0);
        }
        let Some(positions) = self.starting_positions(consumer, &mut list, Asking::Once) else {
            return false;
        };
        for position in positions {
            let generation = {
                let mut state = self.state();
                let partition = &position.partition;
                let owned = state.assignment.of_partition(partition.topic.as_str(), partition.partition.0);
                let Some(owned) = owned.filter(|owned| owned.untold) else { continue };
                owned.untold = false;
                owned.expected = position.expected;
                owned.generation
            };
            self.told(position, generation);
        }
        true
    }

    /// Drops what a new assignment ends that was never taken back: as far as anybody knows others have had it meanwhile. Returns
    /// what of it the client still has.
    fn superseded(&self, list: &TopicPartitionList, increments: bool) -> TopicPartitionList {
        let elements = list.elements();
        let new: Vec<_> = elements.iter().map(|element| (element.topic(), element.partition())).collect();
        let ended = self.state().assignment.superseded(&new, increments);
        let mut still = TopicPartitionList::with_capacity(ended.len());
        for owned in &ended {
            still.add_partition(owned.partition.topic.as_str(), owned.partition.partition.0);
        }
        let (untold, told): (Vec<_>, Vec<_>) = ended.iter().partition(|owned| owned.untold);
        let generations = |of: Vec<&Owned>| of.into_iter().map(|owned| owned.generation).collect::<Vec<_>>();
        self.state().assignment.remove(&generations(untold));
        if !told.is_empty() {
            self.lost(&generations(told));
        }
        still
    }

    fn heard(&self, outcome: KafkaResult<()>) {
        if let Err(error) = outcome {
            tracing::error!(group = self.config.group, %error, "the client refused its assignment");
        }
    }

    /// Records of what is ours go to the queue that is taken from. An assignment that ends undoes it, and what the client then
    /// handed out by its own queue could not be put in order with the rest.
    pub(crate) fn forward_all(&self, consumer: &BaseConsumer<Self>) {
        let mut state = self.state();
        let lost = state.assignment.owned().iter().find(|owned| {
            let (topic, number) = (owned.partition.topic.as_str(), owned.partition.partition.0);
            !self.forward.forward(consumer, topic, number)
        });
        if let Some(lost) = lost {
            let reason = format!("the client has no queue for {}", lost.partition);
            state.fatal.get_or_insert(EdgeError::Client(reason));
        }
    }

    /// Pauses are forgotten by some rebalances.
    pub(crate) fn pause_again(&self, consumer: &BaseConsumer<Self>) {
        let mut paused = TopicPartitionList::new();
        for owned in self.state().assignment.owned().iter().filter(|owned| owned.paused || owned.untold) {
            paused.add_partition(owned.partition.topic.as_str(), owned.partition.partition.0);
        }
        if paused.count() > 0
            && let Err(error) = consumer.pause(&paused)
        {
            tracing::warn!(group = self.config.group, %error, "pausing again after a rebalance failed");
        }
    }

    /// Gives partitions back: waits for what is in flight, or drops everything where they are gone already.
    pub(crate) fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let generations = self.generations(list);
        if !generations.is_empty() {
            if consumer.assignment_lost() {
                self.lost(&generations);
            } else if self.state().closed {
                self.state().assignment.remove(&generations);
            } else {
                self.give_back(consumer, &generations);
            }
            self.changed();
        }
        let outcome = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        };
        if let Err(error) = outcome {
            tracing::error!(group = self.config.group, %error, "the client refused to give partitions back");
        }
    }

    fn give_back(&self, consumer: &BaseConsumer<Self>, generations: &[Generation]) {
        let deadline = self.now().plus(self.config.drain);
        let latest = self.instant(deadline) + MARGIN;
        tracing::info!(group = self.config.group, partitions = generations.len(), "partitions revoked");
        self.state().assignment.hold_for_release(generations);
        self.tell(Input::Revoked { generations: generations.to_vec(), deadline });
        loop {
            let commands = self.commands(LOOK_UP);
            self.execute(consumer, commands, Commits::AtOnce);
            if self.state().assignment.all_released() {
                break;
            }
            if consumer.assignment_lost() {
                self.lost(generations);
                return;
            }
            if Instant::now() >= latest || self.events.is_closed() {
                tracing::warn!(group = self.config.group, "partitions are given back with work in flight");
                break;
            }
        }
        EdgeCounters::add_many(&self.counters.revoked, generations.len());
        self.state().assignment.remove(generations);
    }

    fn lost(&self, generations: &[Generation]) {
        tracing::warn!(group = self.config.group, partitions = generations.len(), "partitions lost");
        EdgeCounters::add_many(&self.counters.lost, generations.len());
        self.state().assignment.remove(generations);
        self.tell(Input::Lost { generations: generations.to_vec() });
    }

    /// Returns the assignments of these partitions that the driver knows. Others just end.
    fn generations(&self, list: &TopicPartitionList) -> Vec<Generation> {
        let mut state = self.state();
        let elements = list.elements();
        let (untold, told): (Vec<_>, Vec<_>) = elements
            .iter()
            .filter_map(|element| {
                let owned = state.assignment.of_partition(element.topic(), element.partition())?;
                Some((owned.generation, owned.untold))
            })
            .partition(|(_, untold)| *untold);
        let generations = |of: Vec<(Generation, bool)>| of.into_iter().map(|(generation, _)| generation);
        state.assignment.remove(&generations(untold).collect::<Vec<_>>());
        generations(told).collect()
    }

    /// Returns the name of a partition, sharing the topic's name with what is known.
    pub(crate) fn name(&self, topic: &str, partition: i32) -> TopicPartition {
        let state = self.state();
        let mut known = state.assignment.owned().iter().map(|owned| &owned.partition.topic);
        let topic = known.find(|known| known.as_str() == topic).cloned().unwrap_or_else(|| Topic::new(topic));
        TopicPartition::new(topic, Partition(partition))
    }
}

/// How often a waiting revocation looks whether it still makes sense.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How much longer than its deadline a revocation waits for the driver's answer.
const MARGIN: Duration = Duration::from_secs(1);
