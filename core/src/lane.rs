//! One lane: an ordered queue with at most one run in flight.

use std::collections::VecDeque;

use crate::records::Slot;

/// A queue of records that wait for each other.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) queue: VecDeque<Slot>,
    pub(crate) state: State,
    /// How many records at the front were in a run that failed: one of them is bad.
    suspects: usize,
    /// How long a run may be, where nothing is suspected; grows back after a failure.
    grown: usize,
}

/// What a lane is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing to do.
    Idle,
    /// In the list of lanes that can dispatch.
    Ready,
    /// A run of it is in flight.
    Running,
    /// Its first record waits for a retry or for the acknowledgement of its dead letter.
    Waiting,
}

impl Lane {
    /// Makes an empty lane in `state`.
    pub(crate) fn new(state: State) -> Self {
        Self { queue: VecDeque::new(), state, suspects: 0, grown: usize::MAX }
    }

    /// Returns how many records its next run may hold, at most `most`: half of the suspects, so that the bad
    /// record soon stands alone.
    pub(crate) fn run_size(&self, most: usize) -> usize {
        match self.suspects {
            0 => self.grown.min(most),
            suspects => (suspects / 2).clamp(1, most),
        }
    }

    /// Takes note that a run of `len` failed as a whole: one of its records is bad.
    pub(crate) fn suspect(&mut self, len: usize) {
        self.suspects = len;
        self.grown = 1;
    }

    /// Takes note that `count` records at its front are finished.
    pub(crate) fn pass(&mut self, count: usize) {
        if self.suspects == 0 {
            self.grown = self.grown.saturating_mul(2);
        }
        self.suspects = self.suspects.saturating_sub(count);
    }

    /// Puts records back before all others, in the given order.
    pub(crate) fn put_back(&mut self, slots: &[Slot]) {
        for slot in slots.iter().rev() {
            self.queue.push_front(*slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_record_stands_alone_after_halving() {
        for bad in 0..100 {
            let mut lane = Lane::new(State::Running);
            let (mut front, mut failures) = (0, 0);
            loop {
                let size = lane.run_size(100).min(100 - front);
                if !(front..front + size).contains(&bad) {
                    lane.pass(size);
                    front += size;
                } else if size > 1 {
                    lane.suspect(size);
                    failures += 1;
                } else {
                    break;
                }
            }

            assert_eq!(front, bad);
            assert!(failures <= 7, "{failures} failures before record {bad} stood alone");
        }
    }

    #[test]
    fn runs_grow_back_after_the_bad_record() {
        let mut lane = Lane::new(State::Running);
        lane.suspect(1);
        assert_eq!(lane.run_size(50), 1);
        lane.pass(1);

        let sizes: Vec<usize> = (0..8)
            .map(|_| {
                let size = lane.run_size(50);
                lane.pass(size);
                size
            })
            .collect();
        assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 50, 50]);
    }
}
