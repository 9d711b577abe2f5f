//! The head of a run that could be read: what a batch is made of.

use postroom_core::{Failure, Offset};

use crate::codec::{DecodeError, Event};
use crate::event::{Envelope, RawRecord};
use crate::runtime::tally::{Finish, OTHER, Tally};
use crate::runtime::worker::Desk;

/// The readable head of a run.
pub(crate) struct Decoded<E> {
    /// Events of the group's types, up to the first record that does not decode.
    pub(crate) events: Vec<Envelope<E>>,
    /// How many records precede each event and the failure: skipped ones count.
    places: Vec<usize>,
    offsets: Vec<Offset>,
    /// Records that are finished once the unit is applied.
    pub(crate) finished: usize,
    /// The position after them.
    pub(crate) next: Option<Offset>,
    /// What is wrong with the record that follows them.
    pub(crate) failure: Option<Failure>,
    pub(crate) tally: Tally,
}

impl<E: Event> Decoded<E> {
    /// Decodes a run's records, up to the first that does not decode.
    pub(crate) async fn read(desk: &Desk, records: &[(Offset, RawRecord)]) -> Self {
        let mut decoded = Self {
            events: Vec::with_capacity(records.len()),
            places: Vec::with_capacity(records.len()),
            offsets: Vec::with_capacity(records.len()),
            finished: 0,
            next: None,
            failure: None,
            tally: Tally::default(),
        };
        for (offset, record) in records {
            let read = match desk.codec.envelope_of::<E>(record, desk.types) {
                Err(DecodeError::NeedsSchema(_)) => desk.envelope::<E>(record).await,
                read => read.map_err(Failure::from),
            };
            match read {
                Ok(Some(envelope)) => {
                    let event_type = envelope.event_type;
                    decoded.events.push(envelope);
                    decoded.places.push(decoded.finished);
                    decoded.tally.add(event_type, Finish::Ok);
                }
                Ok(None) => decoded.tally.add(OTHER, Finish::Skipped),
                Err(failure) => {
                    decoded.failure = Some(failure);
                    break;
                }
            }
            decoded.offsets.push(*offset);
            decoded.finished += 1;
            decoded.next = Some(offset.next());
        }
        decoded
    }

    /// The event at `index` failed: what precedes it stands.
    pub(crate) fn stop_at_event(&mut self, index: usize, failure: Failure) {
        let place = self.places.get(index).copied().unwrap_or(0);
        self.finished = place;
        self.next = place.checked_sub(1).and_then(|last| self.offsets.get(last)).map(|last| last.next());
        self.failure = Some(failure);
        self.tally = Tally::default();
        for envelope in self.events.iter().take(index) {
            self.tally.add(envelope.event_type, Finish::Ok);
        }
        for _ in index..place {
            self.tally.add(OTHER, Finish::Skipped);
        }
    }

    /// The handler passed over all of them.
    pub(crate) fn all_skipped(&mut self) {
        self.retally(Finish::Skipped);
    }

    /// All of them were applied before.
    pub(crate) fn all_duplicates(&mut self) {
        self.retally(Finish::Duplicate);
    }

    fn retally(&mut self, finish: Finish) {
        self.tally = Tally::default();
        for envelope in &self.events {
            self.tally.add(envelope.event_type, finish);
        }
        for _ in self.events.len()..self.finished {
            self.tally.add(OTHER, Finish::Skipped);
        }
    }
}
