//! Publishes events through the process's producer, and counts what was taken.

use std::collections::{BTreeMap, VecDeque};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::poison::Poison;
use crate::cli::sample::SampleRecord;
use crate::codec::{Codec, Framing, Outgoing};
use crate::event::{BlogEvent, each_event};
use crate::kafka::{Delivery, Producer, PublishError, Published};

/// Publishes, and waits for acknowledgements some way behind.
pub(crate) struct Publisher {
    producer: Producer,
    codec: Codec,
    waiting: VecDeque<Delivery>,
    counts: Counts,
}

/// What was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) by_type: BTreeMap<&'static str, u64>,
    pub(crate) by_topic: BTreeMap<&'static str, u64>,
    pub(crate) spoilt: u64,
    pub(crate) bytes: u64,
}

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        self.by_topic.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl Publisher {
    pub(crate) fn new(producer: Producer, codec: Codec) -> Self {
        Self { producer, codec, waiting: VecDeque::new(), counts: Counts::default() }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Hands one record over, in the order of these calls.
    pub(crate) async fn publish(&mut self, record: &SampleRecord) -> Result<(), Failure> {
        match record {
            SampleRecord::Event(event) => self.hand_over(event, None).await,
            SampleRecord::Spoilt(event, poison) => self.hand_over(event, Some(*poison)).await,
        }
    }

    /// Publishes one event and returns where it stands.
    pub(crate) async fn publish_one(&mut self, event: &BlogEvent) -> Result<Published, Failure> {
        let record = encode(&self.codec, event)?;
        let published = send(&self.producer, &record).await?.await;
        published.map_err(of_publishing)
    }

    /// Waits until everything is acknowledged.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        while let Some(delivery) = self.waiting.pop_front() {
            delivery.await.map_err(of_publishing)?;
        }
        Ok(())
    }

    async fn hand_over(&mut self, event: &BlogEvent, poison: Option<Poison>) -> Result<(), Failure> {
        let mut record = encode(&self.codec, event)?;
        if let Some(poison) = poison {
            record = poison.spoil(record);
            self.counts.spoilt = self.counts.spoilt.saturating_add(1);
        }
        let event_type = event.event_type();
        for count in [
            self.counts.by_type.entry(event_type.name).or_default(),
            self.counts.by_topic.entry(event_type.topic).or_default(),
        ] {
            *count = count.saturating_add(1);
        }
        let size = record.value.as_ref().map_or(0, Vec::len).saturating_add(OVERHEAD);
        self.counts.bytes = self.counts.bytes.saturating_add(u64::try_from(size).unwrap_or_default());
        self.waiting.push_back(send(&self.producer, &record).await?);
        while self.waiting.len() > UNACKNOWLEDGED {
            if let Some(delivery) = self.waiting.pop_front() {
                delivery.await.map_err(of_publishing)?;
            }
        }
        Ok(())
    }
}

fn encode(codec: &Codec, event: &BlogEvent) -> Result<Outgoing, Failure> {
    each_event!(event, event => codec.encode(event, Framing::ConfluentV0))
        .map_err(|error| Failure::new(Exit::Data, format!("an event cannot be encoded: {error}")))
}

async fn send(producer: &Producer, record: &Outgoing) -> Result<Delivery, Failure> {
    producer.enqueue_event(record).await.map_err(of_publishing)
}

/// Says what a refused record means for the command.
pub(crate) fn of_publishing(error: PublishError) -> Failure {
    let what = error.to_string();
    match error {
        PublishError::NoSuchTopic(_) => Failure::new(Exit::NotFound, what).fix("run `postroom topics apply`"),
        PublishError::NotAuthorised { .. } => {
            Failure::new(Exit::NotAuthorised, what).fix("run the line above as an administrator")
        }
        PublishError::TooLarge(_) => Failure::new(Exit::Data, what)
            .fix("raise topics.max_record_bytes and the topic's max.message.bytes"),
        PublishError::Refused(_) => {
            Failure::new(Exit::Data, what).fix("give the record a key, or change the topic's cleanup.policy")
        }
        PublishError::TimedOut(_) => {
            Failure::new(Exit::Unavailable, what).fix("check that the brokers can be reached")
        }
        PublishError::Failed { .. } => Failure::new(Exit::Unavailable, what),
    }
}

/// How many records may wait for their acknowledgement.
const UNACKNOWLEDGED: usize = 2_000;

/// What a record weighs beside its value: key, headers, bookkeeping.
const OVERHEAD: usize = 256;
