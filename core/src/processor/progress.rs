//! Commits, and how much may be unfinished.

use super::{Processor, bug};
use crate::output::{Output, PauseCause};
use crate::partition::Phase;
use crate::record::{Generation, Moment, Offset};

impl<T: Clone> Processor<T> {
    /// Notes that a partition's position may have changed.
    pub(super) fn moved(&mut self, generation: Generation) {
        self.moved.insert(generation);
    }

    pub(super) fn commit_when_due(&mut self, now: Moment) {
        match self.commit_at {
            None if self.moved.is_empty() => {}
            None => self.commit_at = Some(now.plus(self.settings.commit_interval)),
            Some(at) if at > now => {}
            Some(_) => {
                self.commit_at = None;
                for generation in std::mem::take(&mut self.moved) {
                    self.commit(generation);
                }
            }
        }
    }

    /// Commits a partition where there is anything new to say.
    pub(super) fn commit(&mut self, generation: Generation) {
        let backwards = bug!(self.settings, CommitBackwards);
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        if matches!(part.phase, Phase::Claiming | Phase::Fenced) && !bug!(self.settings, IgnoreFence) {
            return;
        }
        let Some(mut next) = part.window.watermark() else { return };
        let finished = part.window.finished();
        #[cfg(feature = "simulation")]
        {
            if bug!(self.settings, CommitTooFar) {
                next = part.window.highest_finished().unwrap_or(next);
            }
            if bug!(self.settings, FinishedHintAsWatermark) {
                next = finished.last().map_or(next, |range| range.to);
            }
        }
        if backwards && next.0 % 7 == 3 {
            next = Offset(next.0 - 2);
        }
        if !backwards && part.commit.asked.as_ref().is_some_and(|(asked, _)| next < *asked) {
            return;
        }
        if part.commit.asked.as_ref().is_some_and(|(asked, ranges)| *asked == next && *ranges == finished) {
            return;
        }
        part.commit.asked = Some((next, finished.clone()));
        let partition = part.name.clone();
        self.outputs.push_back(Output::Commit { partition, generation, next, finished });
    }

    pub(super) fn committed(&mut self, generation: Generation, next: Offset) {
        if let Some(part) = self.assigned.get_mut(&generation) {
            part.commit.acknowledged = part.commit.acknowledged.max(Some(next));
        }
    }

    /// The next commit says it again.
    pub(super) fn commit_failed(&mut self, _now: Moment, generation: Generation) {
        if let Some(part) = self.assigned.get_mut(&generation)
            && let Some((_, finished)) = &mut part.commit.asked
        {
            // No position is taken back; a set that cannot be makes the next commit differ.
            finished.clear();
            finished.push(crate::record::OffsetRange { from: Offset(-1), to: Offset(-1) });
            self.moved(generation);
        }
    }

    /// Pauses or resumes a partition by what is unfinished in it, or all of them by their bytes.
    pub(super) fn relieve(&mut self, generation: Generation) {
        let before = self.is_anything_paused();
        let bytes = self.bytes();
        let limit = self.settings.pressure.total_bytes;
        if bytes >= limit || (before && bytes <= limit / 2) {
            for generation in self.assigned.keys().copied().collect::<Vec<_>>() {
                self.relieve_one(generation, bytes);
            }
        } else {
            self.relieve_one(generation, bytes);
        }
    }

    fn is_anything_paused(&self) -> bool {
        self.assigned.values().any(|part| part.paused.is_some())
    }

    fn relieve_one(&mut self, generation: Generation, bytes: usize) {
        let limits = &self.settings.pressure;
        let side_queue = self.settings.retry.side_queue;
        let Some(part) = self.assigned.get_mut(&generation) else { return };
        if matches!(part.phase, Phase::Draining { .. } | Phase::Fenced) {
            return;
        }
        let unfinished = part.window.unfinished();
        let aside = part.lanes.aside_records();
        let wanted = if unfinished >= limits.partition_records || bytes >= limits.total_bytes {
            Some(PauseCause::Backpressure)
        } else if aside > side_queue || part.has_refused_letters() {
            Some(PauseCause::Order)
        } else {
            None
        };
        let relieved = unfinished <= limits.partition_records / 2
            && bytes <= limits.total_bytes / 2
            && aside <= side_queue / 2;
        match (part.paused, wanted) {
            (None, Some(cause)) => {
                part.paused = Some(cause);
                self.outputs.push_back(Output::Pause { partition: part.name.clone(), cause });
            }
            (Some(_), None) if relieved => {
                part.paused = None;
                self.outputs.push_back(Output::Resume { partition: part.name.clone() });
            }
            (Some(_) | None, _) => {}
        }
    }
}
