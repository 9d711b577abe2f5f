//! Requests that can never be published: each becomes a dead letter of the group that would have carried it out.

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
use crate::kafka::DeadLetterRoute;
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
