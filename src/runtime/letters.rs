//! Dead letters on their way: what is to be counted and logged when they are acknowledged.

use std::collections::BTreeMap;

use jiff::Timestamp;
use postroom_core::{DeadLetter, Failure, Generation, Reason, Ticket, TopicPartition};

use crate::event::{EventRecord, MailRequested, RawRecord, WebhookRequested};
use crate::kafka::PREFIX;
use crate::ports::Store;
use crate::runtime::worker::Desk;
use crate::telemetry::{Ending, GroupMetrics};

/// The dead letters that are not acknowledged yet.
#[derive(Default)]
pub(crate) struct Letters {
    sent: BTreeMap<Ticket, Letter>,
}

struct Letter {
    partition: TopicPartition,
    event_type: &'static str,
    reason: Reason,
    attempts: u32,
    failure: Failure,
    /// Of a replay: the topic where it first stood.
    replay_of: Option<String>,
    /// The request of the outbox that it carries.
    request: Option<Request>,
}

/// A request whose record has become a dead letter.
pub(crate) struct Request {
    id: String,
    why: String,
}

impl Letters {
    /// One is produced, perhaps again.
    pub(crate) fn sent(&mut self, letter: &DeadLetter<RawRecord>, desk: &Desk) {
        let noted = Letter {
            partition: letter.partition.clone(),
            event_type: desk.event_type(&letter.payload),
            reason: letter.reason,
            attempts: letter.attempts,
            failure: letter.failure.clone(),
            replay_of: desk.is_replay(&letter.payload).then(|| origin(&letter.payload)),
            request: request(&letter.payload, desk),
        };
        self.sent.insert(letter.ticket, noted);
    }

    /// The dead-letter topic has one: counts and logs it, once. Returns the request that ends with it.
    pub(crate) fn acknowledged(&mut self, ticket: Ticket, metrics: &GroupMetrics) -> Option<Request> {
        let letter = self.sent.remove(&ticket)?;
        let Letter { partition, event_type, reason, attempts, failure, replay_of, request } = letter;
        if let Some(source) = replay_of {
            metrics.letters().replayed(&source, Ending::DeadLettered, 1);
        }
        metrics.dead_lettered(&partition, ticket.offset, event_type, reason, attempts, &failure);
        request.map(|request| Request { why: failure.message, ..request })
    }

    /// The dead-letter topic refused one.
    pub(crate) fn refused(&self, ticket: Ticket, metrics: &GroupMetrics) {
        if let Some(letter) = self.sent.get(&ticket) {
            metrics.dead_letter_failed(&letter.partition, ticket.offset);
        }
    }

    /// An assignment is over: its letters have no effect any more.
    pub(crate) fn released(&mut self, generation: Generation) {
        self.sent.retain(|ticket, _| ticket.generation != generation);
    }
}

impl Request {
    /// Closes its row. Where the store is away, later rows of its key wait for the relay's patience to end.
    pub(crate) async fn dies(self, store: &dyn Store) {
        let now = Timestamp::now().as_millisecond();
        if let Err(error) = store.died(&self.id, now, &self.why).await {
            tracing::warn!(request = self.id, %error, "the outbox was not told of a dead letter");
        }
    }
}

/// Returns the topic where a replay first stood; empty where its headers do not say.
fn origin(record: &RawRecord) -> String {
    let named = record.header(&format!("{PREFIX}topic"));
    named.map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default()
}

/// Returns what a record of `blog.mail` or `blog.webhooks` asks for, by the id that the relay gave it.
fn request(record: &RawRecord, desk: &Desk) -> Option<Request> {
    let kind = desk.event_type(record);
    if kind != MailRequested::TYPE.name && kind != WebhookRequested::TYPE.name {
        return None;
    }
    let id = std::str::from_utf8(record.header("ce_id")?).ok()?.to_owned();
    Some(Request { id, why: String::new() })
}
