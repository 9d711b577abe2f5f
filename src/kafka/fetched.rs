//! Polled records on their way to the driver: copied once, into one buffer a partition and batch.

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use postroom_core::{FetchEpoch, Generation, Input, KeyHash, Offset, Record, TopicPartition};
use postroom_dequeue::{Failed, Header, Message};

use crate::event::{RawBatchBuilder, RawHeader, RawParts, RawRecord};
use crate::kafka::context::{EdgeContext, EdgeCounters};

/// The batches that are being filled.
pub(crate) struct Fetched {
    slots: Vec<Slot>,
    /// The slot of the last record: the client hands records over in stretches of one partition.
    last: usize,
    version: u64,
    flushed: Instant,
}

struct Slot {
    topic: usize,
    number: i32,
    partition: TopicPartition,
    generation: Generation,
    epoch: FetchEpoch,
    /// Records below are dropped; all of them while a seek is not taken.
    expected: Option<i64>,
    seeking: bool,
    batch: RawBatchBuilder,
}

impl Fetched {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), last: 0, version: 0, flushed: Instant::now() }
    }

    /// Takes a record, or keeps the error that came in its place.
    pub(crate) fn take_or(
        &mut self,
        context: &EdgeContext,
        message: Result<Message<'_>, Failed>,
        errors: &mut Vec<Failed>,
    ) {
        match message {
            Ok(message) => self.take(context, &message),
            Err(error) => errors.push(error),
        }
    }

    /// Copies a record into its partition's batch; a full batch is handed over.
    fn take(&mut self, context: &EdgeContext, message: &Message<'_>) {
        if self.version != context.version() {
            self.start_over(context);
        }
        let topic = message.topic_id();
        let number = message.partition();
        let place = match self.slots.get(self.last) {
            Some(slot) if slot.is_of(topic, number) => self.last,
            _ => match self.find(context, message, topic, number) {
                Some(place) => place,
                None => return EdgeCounters::add(&context.counters.dropped_records),
            },
        };
        self.last = place;
        let Some(slot) = self.slots.get_mut(place) else { return };
        let offset = message.offset();
        if slot.seeking || slot.expected.is_some_and(|expected| offset < expected) {
            return EdgeCounters::add(&context.counters.dropped_records);
        }
        slot.expected = Some(offset.saturating_add(1));
        push(&mut slot.batch, message, context);
        if slot.batch.len() >= BATCH_RECORDS || slot.batch.bytes() >= BATCH_BYTES {
            slot.hand_over(context);
        }
    }

    /// Hands everything over that has waited for a while: under a steady stream nothing else would.
    pub(crate) fn flush_old(&mut self, context: &EdgeContext) {
        if self.flushed.elapsed() >= LINGER {
            self.flush(context);
        }
    }

    /// Hands everything over that was copied.
    pub(crate) fn flush(&mut self, context: &EdgeContext) {
        self.flushed = Instant::now();
        if self.version != context.version() {
            return self.start_over(context);
        }
        for slot in &mut self.slots {
            slot.hand_over(context);
        }
    }

    /// The assignment has changed: what was copied for assignments that still hold is handed over with the
    /// epoch it was fetched under, and everything is looked up again.
    fn start_over(&mut self, context: &EdgeContext) {
        self.version = context.version();
        for mut slot in self.slots.drain(..) {
            let holds = {
                let mut state = context.state();
                match state.assignment.of_generation(slot.generation) {
                    Some(owned) => {
                        if owned.epoch == slot.epoch && owned.pending_seek.is_none() {
                            owned.expected = slot.expected.map(Offset);
                        }
                        true
                    }
                    None => false,
                }
            };
            if holds {
                slot.hand_over(context);
            } else {
                EdgeCounters::add_many(&context.counters.dropped_records, slot.batch.len());
            }
        }
    }

    fn find(
        &mut self,
        context: &EdgeContext,
        message: &Message<'_>,
        topic: usize,
        number: i32,
    ) -> Option<usize> {
        if let Some(place) = self.slots.iter().position(|slot| slot.is_of(topic, number)) {
            return Some(place);
        }
        let mut state = context.state();
        let owned = state.assignment.of_partition(message.topic(), number)?;
        self.slots.push(Slot {
            topic,
            number,
            partition: owned.partition.clone(),
            generation: owned.generation,
            epoch: owned.epoch,
            expected: owned.expected.map(|offset| offset.0),
            seeking: owned.pending_seek.is_some(),
            batch: RawBatchBuilder::new(owned.partition.clone()),
        });
        self.slots.len().checked_sub(1)
    }
}

impl Slot {
    fn is_of(&self, topic: usize, number: i32) -> bool {
        self.topic == topic && self.number == number
    }

    fn hand_over(&mut self, context: &EdgeContext) {
        if self.batch.is_empty() {
            return;
        }
        // The next batch will be like this one: room for it now saves copying while it grows.
        let next =
            RawBatchBuilder::with_capacity(self.partition.clone(), self.batch.len(), self.batch.bytes());
        let batch = std::mem::replace(&mut self.batch, next);
        let records: Vec<_> = batch.finish().into_iter().map(record).collect();
        context.backlog.add(records.len(), weight(&records));
        EdgeCounters::add_many(&context.counters.records, records.len());
        context.tell(Input::Records { generation: self.generation, epoch: self.epoch, records });
    }
}

fn push(batch: &mut RawBatchBuilder, message: &Message<'_>, context: &EdgeContext) {
    let parts = RawParts {
        offset: Offset(message.offset()),
        timestamp: message.timestamp(),
        key: message.key(),
        value: message.payload(),
    };
    batch.push(parts, message.headers().map(|header| readable(header, context)));
}

/// A header whose name is not UTF-8 is handed over without name and value, and counted.
fn readable<'m>(header: Header<'m>, context: &EdgeContext) -> RawHeader<'m> {
    match std::str::from_utf8(header.name) {
        Ok(name) => RawHeader { name, value: header.value },
        Err(_) => {
            EdgeCounters::add(&context.counters.unreadable_headers);
            RawHeader { name: "", value: None }
        }
    }
}

fn record(raw: RawRecord) -> Record<RawRecord> {
    let bytes = raw.size().saturating_add(RECORD_OVERHEAD);
    Record {
        offset: raw.offset(),
        key: raw.key().map(key_hash),
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        payload: raw,
    }
}

/// What records weigh in memory.
fn weight(records: &[Record<RawRecord>]) -> usize {
    records.iter().map(|record| usize::try_from(record.bytes).unwrap_or(usize::MAX)).sum()
}

/// Hashes a key: equal keys give equal hashes within a process.
fn key_hash(key: &[u8]) -> KeyHash {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    KeyHash(hasher.finish())
}

const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 1_024 * 1_024;
/// How long a record may wait for its batch to be filled.
const LINGER: Duration = Duration::from_millis(5);
/// What a record weighs beside its bytes.
const RECORD_OVERHEAD: usize = 64;
