//! What a processor is told: it changes what its assignments may do and what they know.

use super::tenure::{Phase, Tenure};
use super::{Anomaly, Checker, RunState};
use crate::failure::Class;
use crate::input::{Input, Outcome, RunResult};
use crate::record::{Generation, Moment, Offset, RunId, TopicPartition};
use crate::simulation::history::Letter;

impl Checker {
    pub(super) fn told(&mut self, input: &Input<Letter>) {
        self.settle_duties();
        match input {
            Input::Assigned { partition, generation, start, finished } => {
                let phase = if self.in_store() { Phase::Claiming } else { Phase::Active };
                let place = index_of(partition);
                let mut tenure = Tenure::new(self.process, place, phase, *start, finished);
                tenure.began = self.entry;
                self.tenures.insert(*generation, tenure);
            }
            Input::Claimed { generation, next, attempts } => self.claimed(*generation, *next, attempts),
            Input::Fenced { generation } => {
                self.drop_runs(*generation);
                if let Some(tenure) = self.tenures.get_mut(generation) {
                    tenure.fence();
                }
            }
            Input::Verified { generation } => {
                if let Some(tenure) = self.tenures.get_mut(generation)
                    && tenure.phase == Phase::Fenced
                {
                    tenure.phase = Phase::Claiming;
                }
            }
            Input::Records { generation, epoch, records } => {
                if let Some(tenure) = self.tenures.get_mut(generation) {
                    let place = &self.places[tenure.place];
                    for index in records.iter().filter_map(|record| place.index_of(record.offset)) {
                        tenure.deliver(index, place.records[index].letter.offset, *epoch);
                    }
                }
            }
            Input::Completed { run, result } => self.completed(*run, result),
            Input::DeadLettered { ticket } => {
                if let Some(tenure) = self.tenures.get_mut(&ticket.generation)
                    && let Some(index) = self.places[tenure.place].index_of(ticket.offset)
                    // After a second claim, an answer may belong to an earlier request for the same record.
                    && (tenure.condemned.contains(&index) || tenure.claims > 1)
                {
                    tenure.condemned.retain(|condemned| *condemned != index);
                    tenure.finish(index);
                }
            }
            Input::DeadLetterFailed { ticket } => {
                if let Some(tenure) = self.tenures.get_mut(&ticket.generation)
                    && let Some(index) = self.places[tenure.place].index_of(ticket.offset)
                {
                    tenure.condemned.retain(|condemned| *condemned != index);
                    // Its acknowledgement was lost: the owner does not know how the record ended.
                    tenure.dirty |= self.places[tenure.place].records[index].buried;
                }
            }
            Input::Revoked { generations, deadline } => {
                for generation in generations {
                    self.drain(*generation, *deadline);
                }
            }
            Input::Drain { deadline } => {
                let process = self.process;
                let of_process = self.tenures.iter().filter(|(_, tenure)| tenure.process == process);
                let generations: Vec<Generation> = of_process.map(|(generation, _)| *generation).collect();
                for generation in generations {
                    self.drain(generation, *deadline);
                }
            }
            Input::Lost { generations } => {
                for generation in generations {
                    if let Some(tenure) = self.tenures.get_mut(generation)
                        && tenure.phase != Phase::Over
                    {
                        tenure.end(self.entry);
                        tenure.dirty = true;
                    }
                }
                self.processes.entry(self.process).or_default().lost.clone_from(generations);
            }
            Input::Tick => self.note_overdue(),
            Input::ClaimFailed { .. } | Input::Committed { .. } | Input::CommitFailed { .. } => {}
        }
    }

    /// What had to follow from the last thing that the process was told must have followed by now.
    pub(super) fn settle_duties(&mut self) {
        let Some(owner) = self.processes.get_mut(&self.process) else { return };
        if owner.lost.is_empty() && owner.overdue.is_empty() {
            return;
        }
        let lost = std::mem::take(&mut owner.lost);
        let overdue = std::mem::take(&mut owner.overdue);
        for generation in lost {
            let flying = self.tenures.get(&generation).and_then(|tenure| tenure.in_flight.first().copied());
            if let Some(run) = flying {
                self.find(Anomaly::NotAbandoned, format!("run {} of lost g{}", run.0, generation.0));
            }
        }
        for generation in overdue {
            if self.tenures.get(&generation).is_some_and(|tenure| tenure.phase != Phase::Over) {
                self.find(Anomaly::DeadlinePassed, format!("g{} is not released", generation.0));
            }
        }
    }

    fn note_overdue(&mut self) {
        let (at, process) = (self.at, self.process);
        let overdue = self.tenures.iter().filter(|(_, tenure)| {
            tenure.process == process && matches!(tenure.phase, Phase::Draining(deadline) if deadline <= at)
        });
        let overdue: Vec<Generation> = overdue.map(|(generation, _)| *generation).collect();
        if !overdue.is_empty() {
            self.processes.entry(process).or_default().overdue = overdue;
        }
    }

    fn drain(&mut self, generation: Generation, deadline: Moment) {
        let born = self.processes.get(&self.process).map_or(Moment::START, |owner| owner.born);
        let deadline = born.plus(deadline.since_start());
        if let Some(tenure) = self.tenures.get_mut(&generation) {
            tenure.phase = match tenure.phase {
                Phase::Over => Phase::Over,
                Phase::Draining(earlier) => Phase::Draining(earlier.min(deadline)),
                Phase::Claiming | Phase::Active | Phase::Fenced => Phase::Draining(deadline),
            };
        }
    }

    fn claimed(
        &mut self,
        generation: Generation,
        next: Option<Offset>,
        attempts: &[(Offset, crate::record::Attempt)],
    ) {
        let Some(tenure) = self.tenures.get_mut(&generation) else { return };
        if tenure.phase != Phase::Claiming {
            return;
        }
        tenure.claimed(next);
        let place = &self.places[tenure.place];
        for (offset, attempt) in attempts {
            if let Some(index) = place.index_of(*offset) {
                tenure.begun.insert(index, attempt.0);
            }
        }
    }

    /// Fenced: what is in flight is dropped, whatever it reports later.
    fn drop_runs(&mut self, generation: Generation) {
        let process = self.process;
        let Some(tenure) = self.tenures.get_mut(&generation) else { return };
        for id in std::mem::take(&mut tenure.in_flight) {
            if let Some(run) = self.runs.get_mut(&(process, id)) {
                run.state = RunState::Abandoned;
            }
            if let Some(owner) = self.processes.get_mut(&process) {
                owner.flying = owner.flying.saturating_sub(1);
            }
        }
    }

    fn completed(&mut self, id: RunId, result: &RunResult) {
        let Some(run) = self.runs.get_mut(&(self.process, id)) else { return };
        if run.state != RunState::Flying {
            return;
        }
        run.state = RunState::Over;
        let generation = run.generation;
        let indices = std::mem::take(&mut run.indices);
        let Some(tenure) = self.tenures.get_mut(&generation) else { return };
        tenure.in_flight.retain(|flying| *flying != id);
        if let Some(owner) = self.processes.get_mut(&self.process) {
            owner.flying = owner.flying.saturating_sub(1);
        }
        match tenure.phase {
            Phase::Over => return,
            // Too late: the deadline may be served before the report.
            Phase::Draining(deadline) if deadline <= self.at => tenure.dirty = true,
            Phase::Claiming | Phase::Active | Phase::Fenced | Phase::Draining(_) => {}
        }
        match result {
            RunResult::Done => indices.iter().for_each(|index| self.finished(generation, *index, id)),
            RunResult::Each(outcomes) => {
                for (index, outcome) in indices.iter().zip(outcomes) {
                    match outcome {
                        Outcome::Done | Outcome::Skipped | Outcome::Deferred => {
                            self.finished(generation, *index, id);
                        }
                        Outcome::Failed(failure) => {
                            self.failed(generation, *index, &failure.class);
                            break;
                        }
                    }
                }
            }
            RunResult::Failed(failure) => self.failed_whole(generation, &indices, &failure.class),
        }
    }

    fn finished(&mut self, generation: Generation, index: usize, run: RunId) {
        let Some(tenure) = self.tenures.get_mut(&generation) else { return };
        tenure.finish(index);
        let process = self.process;
        if let Some(record) = self.places[tenure.place].records.get_mut(index) {
            let mine = record.effects.iter_mut().filter(|e| e.run == run && e.process == process);
            mine.for_each(|effect| effect.reported = true);
        }
    }

    fn failed(&mut self, generation: Generation, index: usize, class: &Class) {
        let limit = self.rules.max_attempts;
        let now = self.at;
        let Some(tenure) = self.tenures.get_mut(&generation) else { return };
        tenure.asked_to_wait(index, class, now);
        let (count, last) = tenure.failures.entry(index).or_default();
        *count += u32::from(matches!(class, Class::Transient { .. }));
        *last = Some(class.clone());
        let count = *count;
        if count > limit {
            self.find(Anomaly::BudgetExceeded, format!("record {index} failed {count} times of {limit}"));
        }
    }

    /// A run that fails as a whole is split, so it does not fail so often. A record is not given up for a
    /// failure that it shared.
    fn failed_whole(&mut self, generation: Generation, indices: &[usize], class: &Class) {
        let Some(first) = indices.first() else { return };
        if indices.len() == 1 {
            return self.failed(generation, *first, class);
        }
        let limit = self.rules.max_attempts;
        let now = self.at;
        let Some(tenure) = self.tenures.get_mut(&generation) else { return };
        tenure.asked_to_wait(*first, class, now);
        let (count, limit) = match class {
            Class::Transient { .. } => (tenure.shared_failures.entry(*first).or_default(), limit + SPLITS),
            Class::Dead(_) => (tenure.refused_whole.entry((*first, indices.len())).or_default(), 2),
            Class::Outage(_) | Class::Fatal => return,
        };
        *count += 1;
        if *count > limit {
            let detail = format!("a run of {} from record {first} is not split", indices.len());
            self.find(Anomaly::BudgetExceeded, detail);
        }
    }
}

/// How often the longest run can be halved before its first record stands alone.
const SPLITS: u32 = 8;

/// Returns the index of a partition: the simulated topic's partitions are numbered from 0.
pub(super) fn index_of(partition: &TopicPartition) -> usize {
    usize::try_from(partition.partition.0).unwrap_or(0)
}
