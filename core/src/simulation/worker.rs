//! The workers of one process: handlers with effects outside, and batches that are one store transaction.

use std::time::Duration;

use super::broker::Stored;
use super::happening::Happening;
use super::history::{Letter, Process, What};
use super::member::{Abandoned, Job};
use super::reached::Point;
use super::script::{Script, Verdict, Visible, attempt, transient};
use super::store::{Row, Rows};
use super::world::World;
use crate::failure::{Class, Ended, Failure};
use crate::input::{Input, Outcome, RunResult};
use crate::record::{Generation, Offset, RunId};
use crate::settings::Claims;

/// A step of a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The handler begins with the next record, or with the whole batch.
    Begin,
    /// The handler is done with a record.
    End,
    /// Its effect is there: the next record, or the report.
    Next,
    /// The batch is computed: its transaction is sent.
    Transact,
}

/// What a worker hears from the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    /// The transaction's answer.
    Changed(Rows),
    /// No answer: it may have been applied or not.
    Lost,
    /// The row, read again.
    Read(Row),
    /// The store is away.
    Away,
}

impl Job {
    /// Makes the job of a dispatched run.
    pub(super) fn new(place: usize, generation: Generation, records: &[(Offset, Letter)]) -> Self {
        Self {
            generation,
            place,
            letters: records.iter().map(|(_, letter)| *letter).collect(),
            index: 0,
            outcomes: Vec::with_capacity(records.len()),
            pending: None,
            whole: None,
            target: None,
            abandoned: Abandoned::No,
        }
    }
}

impl World {
    /// Does one step of a run.
    pub(super) fn work(&mut self, process: Process, run: RunId, step: Step) {
        let Some(mut job) = self.member(process).jobs.remove(&run) else { return };
        let next = match (step, self.plan.settings.claims) {
            (Step::Begin, Claims::AtOnce) => self.begin(process, run, &mut job),
            (Step::Begin, Claims::FromStore) => self.begin_batch(process, run, &mut job),
            (Step::End, _) => self.end(process, run, &mut job),
            (Step::Next, _) => self.go_on(&mut job),
            (Step::Transact, _) => self.transact(process, run, &mut job),
        };
        match next {
            Next::Step(span, step) => {
                self.member(process).jobs.insert(run, job);
                self.after(span, Happening::Work(process, run, step));
            }
            Next::Wait => {
                self.member(process).jobs.insert(run, job);
            }
            Next::Report => self.report(process, run, job),
        }
    }

    fn begin(&mut self, process: Process, run: RunId, job: &mut Job) -> Next {
        let Some(letter) = job.letters.get(job.index).copied() else { return Next::Report };
        if job.index == 0 && self.fails_as_a_whole(job) {
            return Next::Step(self.random.micros(1, 5_000), Step::Next);
        }
        self.note(process, What::Began(run, letter));
        let Some(verdict) = self.attempt(letter) else { return Next::Report };
        let takes = verdict.takes;
        job.pending = Some(verdict);
        Next::Step(takes, Step::End)
    }

    fn end(&mut self, process: Process, run: RunId, job: &mut Job) -> Next {
        if let Some(verdict) = job.pending.take()
            && let Some(letter) = job.letters.get(job.index).copied()
        {
            let generation = job.generation;
            if verdict.effect == Visible::Yes {
                self.last_progress = self.now;
                self.note(process, What::Effect { letter, generation, run, epoch: None });
            }
            if matches!(verdict.outcome, Outcome::Skipped | Outcome::Deferred) {
                self.note(process, What::Settled(letter));
            }
            job.outcomes.push(verdict.outcome);
        }
        Next::Step(Duration::ZERO, Step::Next)
    }

    fn go_on(&mut self, job: &mut Job) -> Next {
        let failed = job.whole.is_some() || matches!(job.outcomes.last(), Some(Outcome::Failed(_)));
        job.index += 1;
        if failed || job.index >= job.letters.len() || job.abandoned == Abandoned::Yes {
            return Next::Report;
        }
        if self.random.chance(20) {
            self.reached.note(Point::ShortReport);
            return Next::Report;
        }
        Next::Step(Duration::ZERO, Step::Begin)
    }

    /// Now and then a batch fails as a whole; a batch handler may also throw everything away over one bad
    /// record.
    pub(super) fn fails_as_a_whole(&mut self, job: &mut Job) -> bool {
        let class = if self.random.chance(self.plan.rates.whole_run_fails) {
            Some(transient(&mut self.random, &mut self.reached))
        } else if job.letters.len() > 1 && self.random.chance(300) {
            let place = &mut self.broker.places[job.place];
            job.letters.iter().find_map(|letter| match place.stored(letter.offset)?.script {
                Script::Dead(reason) => Some(Class::Dead(reason)),
                Script::Hopeless => Some(Class::Transient { retry_after: None, ended: Ended::ByError }),
                _ => None,
            })
        } else {
            None
        };
        let Some(class) = class else { return false };
        if job.letters.len() > 1 {
            self.reached.note(Point::WholeRunFailed);
        }
        job.whole = Some(Failure::new(class, "simulated", ""));
        true
    }

    /// Tries a record once.
    pub(super) fn attempt(&mut self, letter: Letter) -> Option<Verdict> {
        let away = self.now < self.nemesis.dependency_away_until;
        let limit = self.plan.handler_limit;
        let stored: &mut Stored = self.broker.places[letter.place].stored(letter.offset)?;
        Some(attempt(stored, away, limit, &mut self.random, &mut self.reached))
    }

    /// Reports the end of a run, in one of the ways in which that can be said.
    pub(super) fn report(&mut self, process: Process, run: RunId, job: Job) {
        let Job { letters, mut outcomes, whole, .. } = job;
        let failed = matches!(outcomes.last(), Some(Outcome::Failed(_)));
        let all_done = outcomes.iter().all(|o| *o == Outcome::Done) && outcomes.len() == letters.len();
        let result = if let Some(failure) = whole {
            RunResult::Failed(failure)
        } else if all_done && self.random.chance(500) {
            RunResult::Done
        } else if failed && letters.len() == 1 && self.random.chance(500) {
            match outcomes.pop() {
                Some(Outcome::Failed(failure)) => RunResult::Failed(failure),
                Some(other) => RunResult::Each(vec![other]),
                None => RunResult::Each(outcomes),
            }
        } else {
            if failed && outcomes.len() < letters.len() {
                self.reached.note(Point::MidRunFailure);
                if self.random.chance(400) {
                    self.reached.note(Point::BeyondFailure);
                    outcomes.resize(letters.len(), Outcome::Done);
                }
            }
            RunResult::Each(outcomes)
        };
        let delay = self.random.micros(1, 3_000);
        self.after(delay, Happening::Tell(process, Box::new(Input::Completed { run, result })));
    }

    /// The core gives a run up: most handlers stop at once, some cannot.
    pub(super) fn abandon(&mut self, process: Process, run: RunId) {
        self.reached.note(Point::Abandoned);
        let stops = self.random.chance(700);
        let member = self.member(process);
        if stops {
            if member.jobs.remove(&run).is_some() && self.random.chance(500) {
                self.lie(process, run);
            }
        } else if let Some(job) = member.jobs.get_mut(&run) {
            job.abandoned = Abandoned::Yes;
            self.reached.note(Point::AbandonedReported);
        }
    }

    /// A report that must have no effect, whatever it says.
    pub(super) fn lie(&mut self, process: Process, run: RunId) {
        self.reached.note(Point::AbandonedReported);
        let result = if self.random.chance(700) {
            RunResult::Done
        } else {
            RunResult::Failed(Failure::new(transient(&mut self.random, &mut self.reached), "simulated", ""))
        };
        let delay = self.random.micros(1, 60_000);
        self.after(delay, Happening::Tell(process, Box::new(Input::Completed { run, result })));
    }
}

/// What follows a step.
pub(super) enum Next {
    Step(Duration, Step),
    Wait,
    Report,
}
