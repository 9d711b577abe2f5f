//! Dead letters on their way: what is to be counted and logged when they are acknowledged.

use std::collections::BTreeMap;

use postroom_core::{DeadLetter, Failure, Generation, Reason, Ticket, TopicPartition};

use crate::event::RawRecord;
use crate::runtime::worker::Desk;
use crate::telemetry::GroupMetrics;

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
        };
        self.sent.insert(letter.ticket, noted);
    }

    /// The dead-letter topic has one: counts and logs it, once.
    pub(crate) fn acknowledged(&mut self, ticket: Ticket, metrics: &GroupMetrics) {
        let Some(letter) = self.sent.remove(&ticket) else { return };
        let Letter { partition, event_type, reason, attempts, failure } = letter;
        metrics.dead_lettered(&partition, ticket.offset, event_type, reason, attempts, &failure);
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
