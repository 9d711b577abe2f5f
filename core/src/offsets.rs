//! The window of received records: what is finished, and the watermark below which everything is.

use std::collections::VecDeque;

use crate::record::{KeyHash, Moment, Offset, OffsetRange};

/// Names a record within its window; unlike offsets, sequence numbers have no gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seq(u64);

/// A received record.
#[derive(Clone, Debug)]
pub(crate) struct Entry<T> {
    pub(crate) offset: Offset,
    pub(crate) key: Option<KeyHash>,
    pub(crate) bytes: usize,
    /// `None` once it is finished.
    pub(crate) payload: Option<T>,
    pub(crate) state: State,
    /// Attempts that failed, over restarts.
    pub(crate) failures: u32,
    pub(crate) failing_since: Option<Moment>,
    pub(crate) retry_at: Option<Moment>,
}

/// Where a record is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In a lane or a side queue.
    Queued,
    /// In a run.
    Running,
    /// Waiting for its next attempt.
    Waiting,
    /// Waiting for the acknowledgement of its dead letter.
    DeadLetter,
    /// Done, skipped, deferred or dead-lettered.
    Finished,
}

/// The received records of one assignment, from the watermark on.
#[derive(Debug)]
pub(crate) struct Window<T> {
    entries: VecDeque<Entry<T>>,
    first: u64,
    /// The offset after the last received record: what is below was seen.
    expected: Option<Offset>,
    watermark: Option<Offset>,
    unfinished: usize,
    bytes: usize,
    /// Offsets that were finished by an earlier owner.
    hint: VecDeque<OffsetRange>,
    /// Records below are skipped: the store's position.
    skip_below: Option<Offset>,
}

/// The most ranges a commit carries.
const MAX_RANGES: usize = 512;

impl<T> Window<T> {
    pub(crate) fn new(start: Option<Offset>, finished: Vec<OffsetRange>) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            expected: start,
            watermark: start,
            unfinished: 0,
            bytes: 0,
            hint: finished.into(),
            skip_below: None,
        }
    }

    /// Takes a record in; `None` where it was seen before or is finished already.
    pub(crate) fn push(&mut self, entry: Entry<T>) -> Option<Seq> {
        let offset = entry.offset;
        if self.expected.is_some_and(|expected| offset < expected) {
            return None;
        }
        self.expected = Some(offset.next());
        self.watermark.get_or_insert(offset);
        let done = self.skip_below.is_some_and(|next| offset < next) || self.is_hinted(offset);
        if done && self.entries.is_empty() {
            self.watermark = Some(offset.next());
            return None;
        }
        let seq = Seq(self.first.saturating_add(len(&self.entries)));
        if done {
            self.entries.push_back(Entry { payload: None, state: State::Finished, ..entry });
            return None;
        }
        self.unfinished += 1;
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
        Some(seq)
    }

    pub(crate) fn get(&self, seq: Seq) -> Option<&Entry<T>> {
        self.entries.get(self.index(seq)?)
    }

    pub(crate) fn get_mut(&mut self, seq: Seq) -> Option<&mut Entry<T>> {
        let index = self.index(seq)?;
        self.entries.get_mut(index)
    }

    /// Finds an unfinished record.
    pub(crate) fn find(&self, offset: Offset) -> Option<Seq> {
        let index = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        let entry = self.entries.get(index)?;
        (entry.state != State::Finished).then(|| Seq(self.first + u64::try_from(index).unwrap_or(0)))
    }

    /// Finishes a record and moves the watermark as far as it goes.
    pub(crate) fn finish(&mut self, seq: Seq) {
        let Some(entry) = self.get_mut(seq) else { return };
        if entry.state == State::Finished {
            return;
        }
        entry.state = State::Finished;
        entry.payload = None;
        let bytes = entry.bytes;
        self.unfinished -= 1;
        self.bytes -= bytes;
        while self.entries.front().is_some_and(|entry| entry.state == State::Finished) {
            if let Some(entry) = self.entries.pop_front() {
                self.first += 1;
                self.watermark = Some(entry.offset.next());
            }
        }
        if let Some(front) = self.entries.front() {
            self.watermark = Some(front.offset);
        }
    }

    /// Skips what lies below the store's position, now and in future. Returns the records that are skipped.
    pub(crate) fn skip_below(&mut self, next: Offset) {
        self.skip_below = Some(next);
        let below: Vec<_> = (self.first..)
            .map(Seq)
            .zip(&self.entries)
            .take_while(|(_, entry)| entry.offset < next)
            .map(|(seq, _)| seq)
            .collect();
        for seq in below {
            self.finish(seq);
        }
        if self.entries.is_empty() && self.watermark.is_none_or(|watermark| watermark < next) {
            // Nothing below is unfinished: the store says so.
            self.watermark = Some(next);
        }
    }

    /// Forgets everything and expects `next` to come.
    pub(crate) fn restart_at(&mut self, next: Offset) {
        *self = Self { first: self.first + len(&self.entries), ..Self::new(Some(next), Vec::new()) };
    }

    pub(crate) fn expected(&self) -> Option<Offset> {
        self.expected
    }

    /// The offset of the first record that was received and is still in the window.
    pub(crate) fn front(&self) -> Option<&Entry<T>> {
        self.entries.front()
    }

    /// The next offset to commit.
    pub(crate) fn watermark(&self) -> Option<Offset> {
        self.watermark
    }

    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is finished beyond the watermark, as ranges of received offsets.
    pub(crate) fn finished(&self) -> Vec<OffsetRange> {
        let mut ranges: Vec<OffsetRange> = Vec::new();
        let mut open = false;
        for entry in &self.entries {
            if entry.state != State::Finished {
                open = false;
                continue;
            }
            if open && let Some(range) = ranges.last_mut() {
                range.to = entry.offset.next();
            } else {
                if ranges.len() == MAX_RANGES {
                    break;
                }
                ranges.push(OffsetRange { from: entry.offset, to: entry.offset.next() });
                open = true;
            }
        }
        ranges
    }

    /// The highest finished offset's successor: what a wrong commit would name.
    #[cfg(feature = "simulation")]
    pub(crate) fn highest_finished(&self) -> Option<Offset> {
        self.entries
            .iter()
            .rev()
            .find(|entry| entry.state == State::Finished)
            .map(|entry| entry.offset.next())
            .or(self.watermark)
    }

    pub(crate) fn seqs(&self) -> impl Iterator<Item = (Seq, &Entry<T>)> {
        (self.first..).map(Seq).zip(&self.entries)
    }

    fn is_hinted(&mut self, offset: Offset) -> bool {
        while self.hint.front().is_some_and(|range| range.to <= offset) {
            self.hint.pop_front();
        }
        self.hint.front().is_some_and(|range| range.contains(offset))
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        usize::try_from(seq.0.checked_sub(self.first)?).ok()
    }
}

fn len<T>(entries: &VecDeque<T>) -> u64 {
    u64::try_from(entries.len()).unwrap_or(u64::MAX)
}
