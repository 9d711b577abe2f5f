//! Requests that can never be published: each becomes a dead letter of the group that would have carried it out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postroom_core::{
    Class, DeadLetter, Failure, Generation, Offset, Partition, Reason, Ticket, Topic, TopicPartition,
};

use sha2::{Digest, Sha256};

use crate::codec::Outgoing;
use crate::config::Config;
use crate::event::{
    EventRecord, MailRequested, RawBatchBuilder, RawHeader, RawParts, RawRecord, WebhookRequested,
};
use crate::kafka::{DeadLetterRoute, PublishError};
use crate::ports::Request;

/// Where the dead letters of the outbox go.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    mail: DeadLetterRoute,
    webhooks: DeadLetterRoute,
}

impl Routes {
    pub(crate) fn of(config: &Config) -> Self {
        let route = |name: &str| {
            let mut route = DeadLetterRoute::new(format!("{}{name}", config.kafka.group_prefix), name);
            route.template = config.topics.dead_letter.to_string();
            route
        };
        Self { mail: route("mail"), webhooks: route("webhooks") }
    }

    /// Returns the route of a request, by the topic that it is published to.
    pub(super) fn to(&self, topic: &str) -> &DeadLetterRoute {
        if topic == MailRequested::TYPE.topic { &self.mail } else { &self.webhooks }
    }
}

/// A row whose request cannot be published.
#[derive(Debug)]
pub(super) struct Hopeless {
    pub(super) row: i64,
    pub(super) reason: Reason,
    pub(super) why: String,
    /// What was to be published.
    pub(super) record: Outgoing,
}

impl Hopeless {
    /// A request that does not fit its schema: its letter holds it as JSON.
    pub(super) fn unfit(row: i64, request: &Request, why: String) -> Self {
        let (kind, id, key, value) = match request {
            Request::Mail(mail) => {
                (MailRequested::TYPE, &mail.event_id, &mail.recipient, serde_json::to_vec(&**mail))
            }
            Request::Webhook(webhook) => {
                (WebhookRequested::TYPE, &webhook.event_id, &webhook.endpoint, serde_json::to_vec(&**webhook))
            }
        };
        let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        let record = Outgoing {
            topic: kind.topic.to_owned(),
            key: Some(key.as_bytes().to_vec()),
            headers: vec![header("ce_id", id), header("ce_type", kind.name)],
            value: value.ok(),
            timestamp: None,
        };
        Self { row, reason: Reason::Invalid, why, record }
    }

    /// Returns the place in the letter's id. Nothing was published, so it is below zero, where no record's is; and it comes
    /// from the request's id and not from the row's number, which a store that is made anew would give once more.
    pub(super) fn place(&self) -> Offset {
        let id = self.record.headers.iter().find(|(name, _)| name == "ce_id");
        let id = id.and_then(|(_, id)| id.as_deref()).unwrap_or_default();
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(id).into();
        Offset(i64::from_be_bytes([a, b, c, d, e, f, g, h]) | i64::MIN)
    }

    /// Makes the letter. One that is written twice is one letter.
    pub(super) fn letter(&self) -> Option<DeadLetter<RawRecord>> {
        let Outgoing { topic, key, headers, value, timestamp } = &self.record;
        let partition = TopicPartition::new(Topic::new(topic), Partition(0));
        let offset = self.place();
        let mut batch = RawBatchBuilder::new(partition.clone());
        let parts = RawParts { offset, timestamp: *timestamp, key: key.as_deref(), value: value.as_deref() };
        batch.push(parts, headers.iter().map(|(name, value)| RawHeader { name, value: value.as_deref() }));
        Some(DeadLetter {
            partition,
            ticket: Ticket { generation: Generation(0), offset },
            reason: self.reason,
            failure: Failure::new(Class::Dead(self.reason), "outbox", self.why.clone()),
            attempts: 0,
            failing_for: Duration::ZERO,
            payload: batch.finish().pop()?,
        })
    }
}

/// Dead-letter topics that did not take the last letter, and when each is tried again. Times are milliseconds since the
/// Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<String, Refusal>>);

#[derive(Debug)]
struct Refusal {
    why: String,
    pause: Duration,
    again_at: i64,
}

impl Refusals {
    /// Returns when a topic is tried again; `None` where it may be tried now.
    pub(super) fn again_at(&self, topic: &str, now: i64) -> Option<i64> {
        self.lock().get(topic).map(|refusal| refusal.again_at).filter(|at| *at > now)
    }

    /// A topic did not take a letter: says so, and returns when it is tried again. Each time it takes twice as long, up to
    /// a minute.
    pub(super) fn refused(&self, group: &str, topic: &str, error: &PublishError, now: i64) -> i64 {
        let why = match error {
            PublishError::NoSuchTopic(_) => format!("{error}: run `postroom topics apply`"),
            PublishError::NotAuthorised { .. }
            | PublishError::TooLarge(_)
            | PublishError::Refused(_)
            | PublishError::TimedOut(_)
            | PublishError::Failed { .. } => error.to_string(),
        };
        let mut refusals = self.lock();
        let pause = refusals.get(topic).map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
        let again_at = now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        tracing::warn!(
            group,
            topic,
            error = why,
            again_in_seconds = pause.as_secs(),
            "requests that can never be published wait, because their dead letters are not taken"
        );
        let hindered = format!("dead letters of {group} are not taken: {why}");
        refusals.insert(topic.to_owned(), Refusal { why: hindered, pause, again_at });
        again_at
    }

    /// A topic takes letters.
    pub(super) fn taken(&self, topic: &str) {
        self.lock().remove(topic);
    }

    /// Says in a line what keeps requests from their ends; `None` where nothing does.
    pub(super) fn told(&self) -> Option<String> {
        let refusals = self.lock();
        let lines: Vec<_> = refusals.values().map(|refusal| refusal.why.as_str()).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_refuses_is_tried_less_and_less_often_and_forgotten_when_it_takes_one() {
        let refusals = Refusals::default();
        let missing = PublishError::NoSuchTopic("dlq.g.t".to_owned());

        let waits: Vec<_> = (0..8).map(|_| refusals.refused("g", "dlq.g.t", &missing, 0)).collect();

        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(refusals.again_at("dlq.g.t", 59_999), Some(60_000));
        assert_eq!((refusals.again_at("dlq.g.t", 60_000), refusals.again_at("dlq.g.u", 0)), (None, None));
        refusals.taken("dlq.g.t");
        assert_eq!((refusals.told(), refusals.refused("g", "dlq.g.t", &missing, 0)), (None, 1_000));
    }
}
