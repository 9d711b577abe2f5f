//! Partitions that the client has stopped fetching, since their position was not in the log or never known: where they go on, and
//! how they are brought to it.

use std::time::{Duration, Instant};

use postroom_core::{Offset, OffsetRange};
use postroom_dequeue::Dequeue;
use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};

use crate::kafka::assignment::Owned;
use crate::kafka::config::Gap;
use crate::kafka::context::EdgeContext;
use crate::kafka::fetched::Fetched;
use crate::ports::{EdgeError, EdgeEvent, LogRange};

impl EdgeContext {
    /// Notes that the client has stopped fetching a partition: any that is ours, where it does not say which.
    pub(crate) fn stalled(&self, partition: Option<&(Box<str>, i32)>) {
        let mut state = self.state();
        match partition {
            Some((topic, number)) => {
                if let Some(owned) = state.assignment.of_partition(topic, *number) {
                    owned.stalled = true;
                }
            }
            None => state.assignment.all_stalled(),
        }
    }

    /// Starts fetching anew what has stalled, where it is known by now where to go on: else that is tried again in the next round.
    ///
    /// # Errors
    /// A position is not in the log, and may not be moved.
    pub(crate) fn go_on_stalled(
        &self,
        queue: &Dequeue<Self>,
        fetched: &mut Fetched,
    ) -> Result<(), EdgeError> {
        let any = self.state().assignment.owned().iter().any(|owned| owned.stalled);
        if !any || !self.may_ask() {
            return Ok(());
        }
        if !self.tell_of_untold(queue.consumer()) {
            self.ask_later();
        }
        // So that what is expected is up to date.
        self.changed();
        fetched.flush(self);
        let owned = self.state().assignment.owned().to_vec();
        for owned in owned.iter().filter(|owned| owned.stalled && owned.pending_seek.is_none()) {
            if !self.may_ask() {
                break;
            }
            let Some(target) = self.judge(queue.consumer(), owned)? else { continue };
            if let Some(owned) = self.state().assignment.of_generation(owned.generation) {
                owned.expected = Some(target);
                owned.pending_seek = Some(target);
            }
        }
        self.changed();
        self.fetch_anew(queue);
        Ok(())
    }

    fn may_ask(&self) -> bool {
        self.state().ask_again.is_none_or(|again| Instant::now() >= again)
    }

    /// Lets the poll thread do everything else before the broker, which did not answer, is asked again.
    fn ask_later(&self) {
        self.state().ask_again = Some(Instant::now() + ASK_PAUSE);
    }

    /// Decides where a stalled partition goes on; `None` while that is not known.
    fn judge(&self, consumer: &BaseConsumer<Self>, owned: &Owned) -> Result<Option<Offset>, EdgeError> {
        let Some(begun) = owned.claimed else { return Ok(None) };
        let partition = &owned.partition;
        let (topic, number) = (partition.topic.as_str(), partition.partition.0);
        let Ok((low, high)) = consumer.fetch_watermarks(topic, number, ASK_PATIENCE) else {
            self.ask_later();
            return Ok(None);
        };
        let log = LogRange { start: Offset(low), end: Offset(high) };
        let next = owned.expected.map_or(begun, |expected| expected.max(begun));
        if next >= log.start && next <= log.end {
            return Ok(Some(next));
        }
        if next > log.end || self.config.on_gap == Gap::Stop {
            return Err(EdgeError::PositionGone { partition: partition.clone(), next, log });
        }
        let range = OffsetRange { from: next, to: log.start };
        self.emit(EdgeEvent::Removed { partition: partition.clone(), range });
        Ok(Some(log.start))
    }

    /// Takes stalled partitions out of the client's assignment and puts them back where they are to go on: a seek is refused
    /// while nothing is fetched.
    fn fetch_anew(&self, queue: &Dequeue<Self>) {
        let consumer = queue.consumer();
        let increments = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let mut anew = self.state().assignment.owned().to_vec();
        if !anew.iter().any(is_ready) {
            return;
        }
        // Only increments can be changed alone.
        anew.retain(|owned| !increments || is_ready(owned));
        let outcome = list_of(&anew).and_then(|list| {
            // Nothing comes until it is forwarded.
            consumer.pause(&list)?;
            // A rebalance that waits to be served would take what follows for its answer; so this is asked last.
            if queue.has_events() || consumer.assignment_lost() {
                consumer.resume(&list)?;
                self.pause_again(consumer);
                return Ok(false);
            }
            self.assign_anew(consumer, &list, &list, increments).map(|()| true)
        });
        match outcome {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                return tracing::debug!(group = self.config.group, %error, "fetching anew is tried again");
            }
        }
        let mut state = self.state();
        for Owned { generation, pending_seek, .. } in anew {
            if let Some(owned) = state.assignment.of_generation(generation)
                && owned.pending_seek == pending_seek
            {
                owned.pending_seek = None;
                owned.stalled = false;
            }
        }
        drop(state);
        self.changed();
    }

    /// Ends the assignment of `old` and assigns `new`, with offsets, at once. Both are paused before.
    pub(crate) fn assign_anew(
        &self,
        consumer: &BaseConsumer<Self>,
        old: &TopicPartitionList,
        new: &TopicPartitionList,
        increments: bool,
    ) -> KafkaResult<()> {
        if !increments {
            consumer.assign(new)?;
        } else if let Err(error) = consumer.incremental_unassign(old) {
            // An earlier try has come as far.
            tracing::debug!(group = self.config.group, %error, "taking partitions out of the assignment failed");
        }
        // Answered by the thread that stops the fetching, and after that: the end of an assignment undoes the forwarding.
        consumer.pause(new)?;
        self.forward_all(consumer);
        if increments {
            consumer.incremental_assign(new)?;
        }
        consumer.resume(new)?;
        self.pause_again(consumer);
        Ok(())
    }
}

fn list_of(anew: &[Owned]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(anew.len());
    for owned in anew {
        let next = owned.pending_seek.or(owned.expected);
        let next = next.map_or(ClientOffset::Stored, |next| ClientOffset::Offset(next.0));
        list.add_partition_offset(owned.partition.topic.as_str(), owned.partition.partition.0, next)?;
    }
    Ok(list)
}

fn is_ready(owned: &Owned) -> bool {
    owned.stalled && owned.pending_seek.is_some()
}

const ASK_PATIENCE: Duration = Duration::from_secs(1);
/// How long is waited after a question that was not answered.
const ASK_PAUSE: Duration = Duration::from_secs(1);
