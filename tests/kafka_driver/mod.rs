//! A small driver for tests of the Kafka edge: it finishes every record at once and keeps a history.

#![expect(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postroom::event::RawRecord;
use postroom::kafka::{ConsumerConfig, DeadLetterRoute, KafkaEdge, Producer, Publication, Start};
use postroom::ports::{CommittedPosition, Edge, EdgeError, EdgeEvent};
use postroom_core::{
    FetchEpoch, Generation, Input, Moment, Offset, OffsetRange, Partition, Topic, TopicPartition,
};
use tokio::sync::mpsc::UnboundedReceiver;

/// One member with everything that its edge has told.
pub(crate) struct Member {
    pub(crate) edge: KafkaEdge,
    events: UnboundedReceiver<EdgeEvent>,
    clock: Instant,
    /// Assignments that hold.
    pub(crate) owned: BTreeMap<TopicPartition, Generation>,
    /// What Kafka's commit said at each assignment.
    pub(crate) positions: Vec<(TopicPartition, Option<CommittedPosition>)>,
    /// Records of assignments that held, in the order of their arrival.
    pub(crate) records: Vec<(Generation, FetchEpoch, RawRecord)>,
    /// What came, in words.
    pub(crate) history: Vec<Told>,
    /// What to do when partitions are revoked.
    pub(crate) on_revoke: OnRevoke,
    /// Whether partitions begin at Kafka's commit as soon as they are assigned.
    pub(crate) claims: bool,
    /// Where partitions of new groups begin, which start with the earliest: the logs are new, too.
    first: Option<Offset>,
    /// Whether it tells the edge that it has taken records.
    pub(crate) takes: bool,
    /// The sum of all records' bytes.
    pub(crate) weight: usize,
    /// How it ended.
    pub(crate) stopped: Option<Result<(), EdgeError>>,
    next: BTreeMap<TopicPartition, Offset>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Assigned(TopicPartition),
    Revoked(usize),
    Lost(usize),
    Committed(Generation, Offset),
    CommitFailed(Generation),
    DeadLettered(Offset),
    DeadLetterFailed(Offset),
    Verified(Generation),
    Removed(TopicPartition, OffsetRange),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRevoke {
    /// Commits what was received, then releases.
    CommitAndRelease,
    /// Never answers.
    Hang,
}

impl Member {
    pub(crate) fn start(config: ConsumerConfig, producer: &Producer) -> Self {
        let clock = Instant::now();
        let route = DeadLetterRoute::new(config.group.clone(), "test");
        let first = (config.start == Start::Earliest).then_some(Offset(0));
        let (edge, events) = KafkaEdge::start(config, route, producer.clone(), clock).unwrap();
        Self {
            edge,
            events,
            clock,
            owned: BTreeMap::new(),
            positions: Vec::new(),
            records: Vec::new(),
            history: Vec::new(),
            on_revoke: OnRevoke::CommitAndRelease,
            claims: true,
            first,
            takes: true,
            weight: 0,
            stopped: None,
            next: BTreeMap::new(),
        }
    }

    /// Takes events until `enough` says so.
    pub(crate) async fn until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !enough(self) {
            let event = tokio::time::timeout_at(deadline, self.events.recv()).await;
            let Ok(event) = event else { panic!("waited in vain: {what}; {:?}", self.history) };
            let Some(event) = event else { panic!("the edge is gone: {what}; {:?}", self.stopped) };
            self.take(event);
        }
    }

    /// Takes what has come by now, for a while at most.
    pub(crate) async fn serve(&mut self, span: Duration) {
        let deadline = tokio::time::Instant::now() + span;
        while let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.events.recv()).await {
            self.take(event);
        }
    }

    /// Serves both in turn until that is enough, for so long at most.
    pub(crate) async fn serve_both(
        first: &mut Self,
        second: &mut Self,
        patience: Duration,
        enough: impl Fn(&Self, &Self) -> bool,
    ) {
        let serving = async {
            while !enough(first, second) {
                first.serve(Duration::from_millis(20)).await;
                second.serve(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, serving).await.unwrap();
    }

    /// Closes it and waits for its end.
    pub(crate) async fn close(mut self, patience: Duration) -> Result<(), EdgeError> {
        self.commit_all();
        self.edge.close(self.moment(patience));
        self.until("the close", |member| member.stopped.is_some()).await;
        self.stopped.unwrap()
    }

    pub(crate) fn moment(&self, later: Duration) -> Moment {
        Moment::after_start(self.clock.elapsed() + later)
    }

    /// Commits everything that was received.
    pub(crate) fn commit_all(&self) {
        for (partition, generation) in &self.owned {
            if let Some(next) = self.next.get(partition) {
                self.edge.commit(partition, *generation, *next, &[]);
            }
        }
    }

    /// Returns the offsets received of a partition, over all assignments.
    pub(crate) fn offsets(&self, partition: &TopicPartition) -> Vec<i64> {
        let of_partition = self.records.iter().filter(|(_, _, record)| record.partition() == partition);
        of_partition.map(|(_, _, record)| record.offset().0).collect()
    }

    pub(crate) fn told(&self, told: &Told) -> bool {
        self.history.contains(told)
    }

    fn take(&mut self, event: EdgeEvent) {
        match event {
            EdgeEvent::Assigned { partition, generation, committed } => {
                self.owned.insert(partition.clone(), generation);
                self.next.remove(&partition);
                self.history.push(Told::Assigned(partition.clone()));
                let next = committed.as_ref().map(|committed| committed.next).or(self.first);
                if let Some(next) = next.filter(|_| self.claims) {
                    self.edge.claimed(generation, next);
                }
                self.positions.push((partition, committed));
            }
            EdgeEvent::Removed { partition, range } => self.history.push(Told::Removed(partition, range)),
            EdgeEvent::Input(input) => self.input(input),
            EdgeEvent::Stopped(result) => self.stopped = Some(result),
        }
    }

    fn input(&mut self, input: Input<RawRecord>) {
        match input {
            Input::Records { generation, epoch, records } => {
                let bytes: usize = records.iter().map(|record| usize::try_from(record.bytes).unwrap()).sum();
                if self.takes {
                    self.edge.taken(records.len(), bytes);
                }
                self.weight += bytes;
                for record in records {
                    let partition = record.payload.partition().clone();
                    if self.owned.get(&partition) == Some(&generation) {
                        self.next.insert(partition, record.offset.next());
                        self.records.push((generation, epoch, record.payload));
                    }
                }
            }
            Input::Revoked { generations, .. } => {
                self.history.push(Told::Revoked(generations.len()));
                if self.on_revoke == OnRevoke::CommitAndRelease {
                    for (partition, generation) in &self.owned {
                        if generations.contains(generation) {
                            if let Some(next) = self.next.get(partition) {
                                self.edge.commit(partition, *generation, *next, &[]);
                            }
                            self.edge.released(*generation);
                        }
                    }
                }
                self.owned.retain(|_, generation| !generations.contains(generation));
            }
            Input::Lost { generations } => {
                self.history.push(Told::Lost(generations.len()));
                self.owned.retain(|_, generation| !generations.contains(generation));
            }
            Input::Committed { generation, next } => self.history.push(Told::Committed(generation, next)),
            Input::CommitFailed { generation } => self.history.push(Told::CommitFailed(generation)),
            Input::DeadLettered { ticket } => self.history.push(Told::DeadLettered(ticket.offset)),
            Input::DeadLetterFailed { ticket } => self.history.push(Told::DeadLetterFailed(ticket.offset)),
            Input::Verified { generation } => self.history.push(Told::Verified(generation)),
            other @ (Input::Assigned { .. }
            | Input::Claimed { .. }
            | Input::ClaimFailed { .. }
            | Input::Fenced { .. }
            | Input::Completed { .. }
            | Input::Drain { .. }
            | Input::Tick) => panic!("an edge does not tell {other:?}"),
        }
    }
}

pub(crate) fn partition(topic: &str, number: i32) -> TopicPartition {
    TopicPartition::new(Topic::new(topic), Partition(number))
}

pub(crate) fn range(from: i64, to: i64) -> OffsetRange {
    OffsetRange { from: Offset(from), to: Offset(to) }
}

/// Writes `count` records, `n` to partition `n` modulo `partitions`, each naming its number.
pub(crate) async fn fill(producer: &Producer, topic: &str, partitions: i32, count: i32) {
    let mut deliveries = Vec::new();
    for number in 0..count {
        let value = number.to_string();
        let record = Publication {
            topic,
            partition: Some(Partition(number % partitions)),
            key: Some(value.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &[],
            timestamp: None,
        };
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}
