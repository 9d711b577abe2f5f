//! How many letters of dead-letter topics are open, and since when: kept are ids, places and times, no records.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event::RawRecord;
use crate::kafka::config::Connection;
use crate::kafka::dead_letter::PREFIX;
use crate::kafka::scan::{self, ReadTo};
use crate::ports::EdgeError;

/// What was seen of some dead-letter topics. Each look reads what is new; what was replayed, discarded, or removed by
/// the topic's retention is open no longer.
pub struct OpenLetters {
    connection: Connection,
    topics: Vec<String>,
    read_to: ReadTo,
    seen: BTreeMap<String, Letters>,
}

/// What is open in one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// How many letters; beyond 100,000 seen, all records that were not read count as open.
    pub letters: u64,
    /// The oldest timestamp among their records, in milliseconds since the Unix epoch: what retention counts from.
    pub oldest: Option<i64>,
}

/// The letters of one topic, by id.
#[derive(Default)]
struct Letters(HashMap<Box<str>, Letter>);

struct Letter {
    place: (i32, i64),
    timestamp: Option<i64>,
    is_open: bool,
    /// The replays that its newest marker counts.
    marked: Option<u32>,
}

impl OpenLetters {
    /// Begins with nothing seen.
    pub fn new(connection: Connection, topics: Vec<String>) -> Self {
        Self { connection, topics, read_to: ReadTo::default(), seen: BTreeMap::new() }
    }

    /// Reads what is new, and returns what is open in each topic that is there. Blocks, until `stop` says so.
    ///
    /// # Errors
    /// Says why the cluster did not answer, or that we may not read.
    pub fn look(&mut self, stop: &AtomicBool) -> Result<BTreeMap<String, Open>, EdgeError> {
        let Self { connection, topics, read_to, seen } = self;
        let consumer = scan::reader(connection)?;
        let held = scan::ends(connection, &consumer, topics)?;
        for (topic, letters) in &mut *seen {
            letters.forget_removed(held.get(topic));
        }
        let mut room = MOST.saturating_sub(seen.values().map(|letters| letters.0.len()).sum());
        scan::scan_held(connection, &consumer, held.clone(), read_to, &mut |record| {
            let letters = seen.entry(record.partition().topic.as_str().to_owned()).or_default();
            letters.add(record);
            room = room.saturating_sub(1);
            room > 0 && !stop.load(Ordering::Relaxed)
        })?;
        let open = topics.iter().map(|topic| {
            let mut open = seen.get(topic).map(Letters::open).unwrap_or_default();
            for (number, held) in held.get(topic).into_iter().flatten() {
                let unread = held.end.saturating_sub(read_to.next(topic, *number).unwrap_or(held.start));
                open.letters = open.letters.saturating_add(u64::try_from(unread).unwrap_or(0));
            }
            (topic.clone(), open)
        });
        Ok(open.collect())
    }
}

impl Letters {
    /// Takes a record in. A marker closes its letter; a letter that failed again behind its marker is open again, a
    /// copy of what was closed already is not.
    fn add(&mut self, record: &RawRecord) {
        let text = |name: &str| {
            let value = record.header(&format!("{PREFIX}{name}"))?;
            std::str::from_utf8(value).ok()
        };
        let place = (record.partition().partition.0, record.offset().0);
        let replays = text("replays").and_then(|text| text.parse().ok()).unwrap_or(0);
        let id = text("id").map_or_else(|| format!("{}/{}", place.0, place.1), str::to_owned);
        if text("id").is_some() && text("state").is_some() {
            if let Some(letter) = self.0.get_mut(id.as_str()) {
                letter.is_open = false;
                letter.marked = Some(replays);
            }
            return;
        }
        let earlier = self.0.get(id.as_str());
        let marked = earlier.and_then(|earlier| earlier.marked);
        let is_open = match earlier {
            Some(earlier) if marked.is_some_and(|marked| replays < marked) => earlier.is_open,
            Some(_) | None => true,
        };
        let letter = Letter { place, timestamp: record.timestamp(), is_open, marked };
        self.0.insert(id.into_boxed_str(), letter);
    }

    /// Forgets what the topic holds no longer.
    fn forget_removed(&mut self, held: Option<&BTreeMap<i32, Range<i64>>>) {
        self.0.retain(|_, letter| {
            let (number, offset) = letter.place;
            held.and_then(|held| held.get(&number)).is_some_and(|held| held.contains(&offset))
        });
    }

    fn open(&self) -> Open {
        let open = || self.0.values().filter(|letter| letter.is_open);
        Open {
            letters: u64::try_from(open().count()).unwrap_or(u64::MAX),
            oldest: open().filter_map(|letter| letter.timestamp).min(),
        }
    }
}

/// How many ids are kept: some 20 MB.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use postroom_core::{Offset, Partition, Topic, TopicPartition};

    use super::*;
    use crate::event::{RawBatchBuilder, RawHeader, RawParts};

    fn add(letters: &mut Letters, offset: i64, headers: &[(&str, &str)]) {
        let partition = TopicPartition::new(Topic::new("dlq.g.posts"), Partition(1));
        let mut batch = RawBatchBuilder::new(partition);
        let parts = RawParts {
            offset: Offset(offset),
            timestamp: Some(100 + offset),
            key: Some(b"k"),
            value: Some(b"v"),
        };
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (format!("{PREFIX}{name}"), value.as_bytes())).collect();
        batch.push(parts, headers.iter().map(|(name, value)| RawHeader { name, value: Some(value) }));
        for record in batch.finish() {
            letters.add(&record);
        }
    }

    fn open(letters: &Letters) -> (u64, Option<i64>) {
        let open = letters.open();
        (open.letters, open.oldest)
    }

    #[test]
    fn what_was_replayed_or_discarded_is_open_no_longer_until_it_fails_again() {
        let mut letters = Letters::default();
        add(&mut letters, 1, &[("id", "a")]);
        add(&mut letters, 2, &[("id", "b")]);
        add(&mut letters, 3, &[("id", "b")]);
        assert_eq!(open(&letters), (2, Some(101)));

        add(&mut letters, 4, &[("id", "a"), ("state", "replayed"), ("replays", "1")]);
        assert_eq!(open(&letters), (1, Some(103)));

        add(&mut letters, 5, &[("id", "a"), ("replays", "0")]);
        assert_eq!(open(&letters), (1, Some(103)), "a late copy opens nothing");

        add(&mut letters, 6, &[("id", "a"), ("replays", "1")]);
        assert_eq!(open(&letters), (2, Some(103)));

        add(&mut letters, 7, &[("id", "b"), ("state", "discarded")]);
        assert_eq!(open(&letters), (1, Some(106)));
    }

    #[test]
    fn what_retention_has_removed_is_open_no_longer() {
        let mut letters = Letters::default();
        add(&mut letters, 1, &[("id", "a")]);
        add(&mut letters, 2, &[]);

        letters.forget_removed(Some(&BTreeMap::from([(1, 2..3)])));
        assert_eq!(open(&letters), (1, Some(102)));

        letters.forget_removed(Some(&BTreeMap::from([(0, 0..9)])));
        assert_eq!(open(&letters), (0, None));
    }
}
