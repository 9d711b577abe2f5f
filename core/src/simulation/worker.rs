//! The workers of one process: handlers with effects outside, and batches that are one store transaction.

use std::time::Duration;

use super::broker::Stored;
use super::history::{Letter, Process, What};
use super::member::{Abandoned, Job};
use super::reached::Point;
use super::script::{Script, Verdict, Visible, attempt, transient};
use super::store::{Move, Row, Rows};
use super::world::{Happening, World};
use crate::failure::{Class, Dependency, Ended, Failure};
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

    fn begin_batch(&mut self, process: Process, run: RunId, job: &mut Job) -> Next {
        if self.fails_as_a_whole(job) {
            return Next::Step(self.random.micros(1, 5_000), Step::Transact);
        }
        let mut takes = Duration::ZERO;
        let limit = if self.random.chance(20) { self.random.size(1, 12) } else { usize::MAX };
        for letter in job.letters.iter().take(limit) {
            self.note(process, What::Began(run, *letter));
            let Some(verdict) = self.attempt(*letter) else { break };
            takes += verdict.takes;
            let failed = matches!(verdict.outcome, Outcome::Failed(_));
            job.outcomes.push(verdict.outcome);
            if failed {
                break;
            }
        }
        Next::Step(takes, Step::Transact)
    }

    /// Now and then a batch fails as a whole; a batch handler may also throw everything away over one bad
    /// record.
    fn fails_as_a_whole(&mut self, job: &mut Job) -> bool {
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

    fn attempt(&mut self, letter: Letter) -> Option<Verdict> {
        let away = self.now < self.nemesis.dependency_away_until;
        let limit = self.plan.handler_limit;
        let stored: &mut Stored = self.broker.places[letter.place].stored(letter.offset)?;
        Some(attempt(stored, away, limit, &mut self.random, &mut self.reached))
    }

    fn transact(&mut self, process: Process, run: RunId, job: &mut Job) -> Next {
        let good = job.outcomes.iter().filter(|outcome| !matches!(outcome, Outcome::Failed(_))).count();
        let Some(last) = good.checked_sub(1).and_then(|index| job.letters.get(index)) else {
            return Next::Report;
        };
        let target = last.offset.next();
        job.target = Some(target);
        let Some((epoch, expected)) = self.member(process).rows.get(&job.generation).copied() else {
            job.whole = Some(Failure::new(Class::Outage(store()), "unclaimed", ""));
            return Next::Report;
        };
        if expected.is_some_and(|expected| expected >= target) {
            return Next::Report;
        }
        let fresh = |letter: &&Letter| expected.is_none_or(|expected| letter.offset >= expected);
        let pairs = job.letters.iter().zip(&job.outcomes).take(good);
        let of = |wanted: fn(&Outcome) -> bool| -> Box<[Letter]> {
            pairs.clone().filter(|(_, o)| wanted(o)).map(|(l, _)| l).filter(fresh).copied().collect()
        };
        let effects = of(|outcome| matches!(outcome, Outcome::Done));
        let settled = of(|outcome| matches!(outcome, Outcome::Skipped | Outcome::Deferred));
        let wanted = Move { epoch, expected, next: target };
        let delay = self.random.micros(100, 10_000);
        let (place, generation) = (job.place, job.generation);
        let what = Happening::TransactionArrives(process, run, place, wanted, effects, settled, generation);
        self.after(delay, what);
        Next::Wait
    }

    /// The store decides a transaction.
    pub(super) fn transaction_arrives(
        &mut self,
        process: Process,
        run: RunId,
        place: usize,
        wanted: Move,
        (effects, settled): (&[Letter], &[Letter]),
        generation: Generation,
    ) {
        let lost = self.random.chance(self.plan.rates.store_reply_lost);
        let broken = lost && self.random.chance(500);
        let reply = if self.now < self.nemesis.store_away_until {
            self.reached.note(Point::StoreAway);
            Reply::Away
        } else if broken {
            Reply::Lost
        } else {
            let rows = self.store.apply(place, wanted);
            if rows == Rows::One {
                self.last_progress = self.now;
                for letter in effects {
                    let epoch = Some(wanted.epoch);
                    self.note(process, What::Effect { letter: *letter, generation, run, epoch });
                }
                for letter in settled {
                    self.note(process, What::Settled(*letter));
                }
            }
            if lost { Reply::Lost } else { Reply::Changed(rows) }
        };
        if matches!(reply, Reply::Lost) {
            self.reached.note(Point::StoreReplyLost);
        }
        let delay = self.random.micros(100, 10_000);
        self.after(delay, Happening::StoreReply(process, run, reply));
    }

    /// The store shows a row again.
    pub(super) fn read_arrives(&mut self, process: Process, run: RunId, place: usize) {
        let away = self.now < self.nemesis.store_away_until;
        let reply = if away { Reply::Away } else { Reply::Read(self.store.rows[place]) };
        let delay = self.random.micros(100, 10_000);
        self.after(delay, Happening::StoreReply(process, run, reply));
    }

    /// The store's answer reaches the worker. Zero rows, or no answer: the row says what became of it.
    pub(super) fn take_store_reply(&mut self, process: Process, run: RunId, reply: Reply) {
        let Some(mut job) = self.member(process).jobs.remove(&run) else { return };
        let (generation, place) = (job.generation, job.place);
        let mine = self.member(process).rows.get(&generation).copied();
        match reply {
            Reply::Changed(Rows::One) => {
                if let Some((_, next)) = self.member(process).rows.get_mut(&generation) {
                    *next = job.target;
                }
                self.report(process, run, job);
            }
            Reply::Changed(Rows::Zero) | Reply::Lost => {
                self.member(process).jobs.insert(run, job);
                let delay = self.random.micros(100, 10_000);
                self.after(delay, Happening::ReadArrives(process, run, place));
            }
            Reply::Away => {
                job.whole = Some(Failure::new(Class::Outage(store()), "refused", ""));
                self.report(process, run, job);
            }
            Reply::Read(row) if mine.is_none_or(|(epoch, _)| epoch != row.epoch) => {
                self.reached.note(Point::Fenced);
                self.tell(process, Input::Fenced { generation });
                if self.random.chance(300) {
                    self.lie(process, run);
                }
            }
            Reply::Read(row) => {
                self.member(process).rows.insert(generation, (row.epoch, row.next));
                if row.next >= job.target {
                    self.reached.note(Point::StoreFoundDone);
                    self.report(process, run, job);
                } else {
                    self.member(process).jobs.insert(run, job);
                    self.after(Duration::ZERO, Happening::Work(process, run, Step::Transact));
                }
            }
        }
    }

    fn report(&mut self, process: Process, run: RunId, job: Job) {
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
    fn lie(&mut self, process: Process, run: RunId) {
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

enum Next {
    Step(Duration, Step),
    Wait,
    Report,
}

fn store() -> Dependency {
    Dependency("store".into())
}
