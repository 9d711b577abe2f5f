//! What of a partition is finished: a watermark, and a ring of bits above it.
//!
//! Memory is 24 bytes for 64 neighbouring offsets between the lowest unfinished and the highest received one,
//! whatever the number of records that finished in between. Offsets that never arrive (compacted, transaction
//! markers) hold nothing up: the log has no record there.

use std::collections::VecDeque;

use crate::record::{Offset, OffsetRange};

/// The offsets received under one assignment.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    /// The next offset that may arrive; `None` before anything is known.
    end: Option<Offset>,
    /// Blocks in offset order; the first has an unfinished offset.
    blocks: VecDeque<Block>,
    /// What the commit metadata says is finished, not yet arrived; sorted, not touching each other.
    hint: VecDeque<OffsetRange>,
}

/// What became of an arriving offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Below the next expected one: seen before, or finished before.
    Stale,
    /// Finished by an earlier owner.
    Finished,
    /// New.
    Unfinished,
}

impl Offsets {
    /// Begins at `start`, if that is known, with what the commit metadata says of offsets above.
    pub(crate) fn new(start: Option<Offset>, finished: Vec<OffsetRange>) -> Self {
        Self { end: start, blocks: VecDeque::new(), hint: normalised(finished, start) }
    }

    /// Takes note that the record at `offset` arrived.
    pub(crate) fn arrive(&mut self, offset: Offset) -> Arrival {
        if self.end.is_some_and(|end| offset < end) {
            return Arrival::Stale;
        }
        self.end = Some(offset.next());
        if !self.hint.is_empty() && self.hinted(offset) {
            if !self.blocks.is_empty() {
                self.mark(offset, 0);
            }
            return Arrival::Finished;
        }
        self.mark(offset, bit(offset));
        Arrival::Unfinished
    }

    /// Takes note that the record at `offset` is finished; again, or for an unknown one, changes nothing.
    pub(crate) fn finish(&mut self, offset: Offset) {
        if let Some(block) = self.find(offset) {
            block.unfinished &= !bit(offset);
        }
        self.trim();
    }

    /// Counts everything below `next` as finished.
    pub(crate) fn raise(&mut self, next: Offset) {
        for block in &mut self.blocks {
            if block.index > index(next) {
                break;
            }
            block.unfinished &= if block.index == index(next) { !(bit(next) - 1) } else { 0 };
        }
        self.trim();
        self.end = self.end.max(Some(next));
    }

    /// Forgets everything, the hint too, and begins again at `next`.
    pub(crate) fn restart(&mut self, next: Offset) {
        *self = Self::new(Some(next), Vec::new());
    }

    /// Returns the next offset to commit: nothing received below is unfinished.
    pub(crate) fn watermark(&self) -> Option<Offset> {
        match self.blocks.front() {
            Some(block) => Some(block.offset(block.unfinished.trailing_zeros())),
            None => self.end,
        }
    }

    /// Returns the offset after the highest received one.
    pub(crate) fn end(&self) -> Option<Offset> {
        self.end
    }

    /// Returns how many received offsets are unfinished: O(offsets above the watermark).
    pub(crate) fn unfinished(&self) -> usize {
        self.blocks.iter().map(|block| usize::try_from(block.unfinished.count_ones()).unwrap_or(0)).sum()
    }

    /// Returns what is finished above the watermark, lowest first, not touching each other, at most
    /// [`RANGES`]; with what the hint says of offsets that have not arrived yet.
    pub(crate) fn finished(&self) -> Vec<OffsetRange> {
        let mut ranges = Vec::new();
        let mut open = None;
        let mut above = false;
        for block in &self.blocks {
            if ranges.len() >= RANGES {
                break;
            }
            if block.unfinished == 0 {
                open = open.or_else(|| block.first_received());
                continue;
            }
            let mut rest = block.received;
            while rest != 0 {
                let lowest = rest.trailing_zeros();
                rest &= rest - 1;
                let offset = block.offset(lowest);
                if block.unfinished & bit(offset) != 0 {
                    above = true;
                    ranges.extend(open.take().map(|from| OffsetRange { from, to: offset }));
                } else if above {
                    open = open.or(Some(offset));
                }
            }
        }
        if let (Some(from), Some(to)) = (open, self.end) {
            ranges.push(OffsetRange { from, to });
        }
        self.append_hint(&mut ranges);
        ranges.truncate(RANGES);
        ranges
    }

    fn append_hint(&self, ranges: &mut Vec<OffsetRange>) {
        for hint in &self.hint {
            let from = self.end.map_or(hint.from, |end| end.max(hint.from));
            if from >= hint.to {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.to == from => last.to = hint.to,
                _ => ranges.push(OffsetRange { from, to: hint.to }),
            }
        }
    }

    fn hinted(&mut self, offset: Offset) -> bool {
        while self.hint.front().is_some_and(|range| range.to <= offset) {
            self.hint.pop_front();
        }
        self.hint.front().is_some_and(|range| range.contains(offset))
    }

    fn mark(&mut self, offset: Offset, unfinished: u64) {
        let index = index(offset);
        match self.blocks.back_mut() {
            Some(block) if block.index == index => {
                block.received |= bit(offset);
                block.unfinished |= unfinished;
            }
            _ => self.blocks.push_back(Block { index, received: bit(offset), unfinished }),
        }
    }

    fn find(&mut self, offset: Offset) -> Option<&mut Block> {
        let index = index(offset);
        let distance = index.checked_sub(self.blocks.front()?.index)?;
        let guess = usize::try_from(distance).ok()?;
        let position = match self.blocks.get(guess) {
            Some(block) if block.index == index => guess,
            _ => self.blocks.binary_search_by_key(&index, |block| block.index).ok()?,
        };
        self.blocks.get_mut(position)
    }

    fn trim(&mut self) {
        while self.blocks.front().is_some_and(|block| block.unfinished == 0) {
            self.blocks.pop_front();
        }
    }
}

/// 64 neighbouring offsets, beginning at a multiple of 64.
#[derive(Clone, Copy, Debug)]
struct Block {
    index: i64,
    received: u64,
    unfinished: u64,
}

impl Block {
    fn offset(self, bit: u32) -> Offset {
        Offset((self.index << WIDTH) | i64::from(bit))
    }

    fn first_received(self) -> Option<Offset> {
        (self.received != 0).then(|| self.offset(self.received.trailing_zeros()))
    }
}

const fn index(offset: Offset) -> i64 {
    offset.0 >> WIDTH
}

fn bit(offset: Offset) -> u64 {
    1 << (offset.0 & ((1 << WIDTH) - 1))
}

fn normalised(mut ranges: Vec<OffsetRange>, start: Option<Offset>) -> VecDeque<OffsetRange> {
    ranges.retain(|range| range.from < range.to && start.is_none_or(|start| start < range.to));
    ranges.sort_unstable();
    let mut result: VecDeque<OffsetRange> = VecDeque::new();
    for range in ranges {
        match result.back_mut() {
            Some(last) if range.from <= last.to => last.to = last.to.max(range.to),
            _ => result.push_back(range),
        }
    }
    result
}

/// Offsets share a block when they agree above this many bits.
const WIDTH: u32 = 6;

/// The most ranges that a commit names.
pub(crate) const RANGES: usize = 512;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn later_completion_does_not_move_the_watermark() {
        let mut offsets = received(5, [5, 6, 7]);

        offsets.finish(Offset(6));
        assert_eq!((offsets.watermark(), finished(&offsets)), (Some(Offset(5)), vec![(6, 7)]));

        offsets.finish(Offset(5));
        assert_eq!((offsets.watermark(), finished(&offsets)), (Some(Offset(7)), vec![]));
    }

    #[test]
    fn offsets_that_never_arrive_hold_nothing_up() {
        let mut offsets = received(0, [0, 7, 1_000_000_007]);

        offsets.finish(Offset(0));
        assert_eq!(offsets.watermark(), Some(Offset(7)));
        offsets.finish(Offset(7));
        assert_eq!(offsets.watermark(), Some(Offset(1_000_000_007)));
        offsets.finish(Offset(1_000_000_007));
        assert_eq!(offsets.watermark(), Some(Offset(1_000_000_008)));
        assert!(offsets.blocks.is_empty());
    }

    #[test]
    fn nothing_is_known_before_a_start_or_a_record() {
        let mut offsets = Offsets::new(None, Vec::new());
        assert_eq!(offsets.watermark(), None);

        offsets.arrive(Offset(41));
        assert_eq!(offsets.watermark(), Some(Offset(41)));
    }

    #[test]
    fn what_was_seen_before_is_stale() {
        let mut offsets = received(5, [5, 9]);

        assert_eq!(offsets.arrive(Offset(9)), Arrival::Stale);
        assert_eq!(offsets.arrive(Offset(4)), Arrival::Stale);
        assert_eq!(offsets.arrive(Offset(10)), Arrival::Unfinished);
    }

    #[test]
    fn the_hint_finishes_records_as_they_arrive_and_is_said_on_until_then() {
        let hint = vec![range(20, 22), range(8, 10), range(9, 12), range(3, 4)];
        let mut offsets = Offsets::new(Some(Offset(5)), hint);
        assert_eq!((offsets.watermark(), finished(&offsets)), (Some(Offset(5)), vec![(8, 12), (20, 22)]));

        let arrivals: Vec<_> = (5..14).map(|offset| offsets.arrive(Offset(offset))).collect();
        assert_eq!(arrivals.iter().filter(|arrival| **arrival == Arrival::Finished).count(), 4);
        assert_eq!(finished(&offsets), [(8, 12), (20, 22)]);
    }

    #[test]
    fn raising_finishes_all_below_and_expects_nothing_below() {
        let mut offsets = received(60, 60..70);

        offsets.raise(Offset(66));
        assert_eq!((offsets.watermark(), offsets.unfinished()), (Some(Offset(66)), 4));

        offsets.raise(Offset(500));
        assert_eq!((offsets.watermark(), offsets.unfinished()), (Some(Offset(500)), 0));
        assert_eq!(offsets.arrive(Offset(499)), Arrival::Stale);
    }

    #[test]
    fn a_commit_names_a_bounded_number_of_ranges_the_lowest() {
        let mut offsets = received(0, 0..5_000);
        for offset in (1..5_000).step_by(2) {
            offsets.finish(Offset(offset));
        }

        let ranges = finished(&offsets);
        assert_eq!((ranges.len(), ranges.last()), (RANGES, Some(&(1_023, 1_024))));
    }

    proptest! {
        #[test]
        fn a_map_of_offsets_says_the_same(
            steps in prop::collection::vec((0_i64..200, 0_usize..300), 1..400),
        ) {
            let mut offsets = Offsets::new(Some(Offset(0)), Vec::new());
            let mut model: BTreeMap<i64, bool> = BTreeMap::new();
            let mut end = 0;
            for (gap, pick) in steps {
                let next = end + if gap < 190 { gap % 3 } else { gap };
                offsets.arrive(Offset(next));
                model.insert(next, false);
                end = next + 1;
                for pick in [pick, pick / 2] {
                    if let Some((offset, done)) = model.iter_mut().nth(pick) {
                        *done = true;
                        offsets.finish(Offset(*offset));
                    }
                }

                let open: Vec<i64> = model.iter().filter(|(_, done)| !**done).map(|(at, _)| *at).collect();
                let watermark = open.first().copied().unwrap_or(end);
                let said = finished(&offsets);
                prop_assert_eq!(offsets.watermark(), Some(Offset(watermark)));
                prop_assert_eq!(offsets.unfinished(), open.len());
                for (offset, done) in model.range(watermark..) {
                    let within = said.iter().any(|(from, to)| from <= offset && offset < to);
                    prop_assert_eq!(within, *done, "offset {}", offset);
                }
                prop_assert!(said.iter().zip(said.iter().skip(1)).all(|(a, b)| a.1 < b.0));
            }
        }
    }

    fn received(start: i64, arrived: impl IntoIterator<Item = i64>) -> Offsets {
        let mut offsets = Offsets::new(Some(Offset(start)), Vec::new());
        for offset in arrived {
            offsets.arrive(Offset(offset));
        }
        offsets
    }

    fn finished(offsets: &Offsets) -> Vec<(i64, i64)> {
        offsets.finished().iter().map(|range| (range.from.0, range.to.0)).collect()
    }

    fn range(from: i64, to: i64) -> OffsetRange {
        OffsetRange { from: Offset(from), to: Offset(to) }
    }
}
