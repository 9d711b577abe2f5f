//! Batches whose effects live in the store: one transaction each, and what becomes of lost replies.

use std::time::Duration;

use super::happening::Happening;
use super::history::{Letter, Process, What};
use super::member::Job;
use super::reached::Point;
use super::store::{Move, Rows};
use super::worker::{Next, Reply, Step};
use super::world::World;
use crate::failure::{Class, Dependency, Failure};
use crate::input::{Input, Outcome};
use crate::record::{Generation, RunId};

impl World {
    /// Computes a batch, up to its first failure.
    pub(super) fn begin_batch(&mut self, process: Process, run: RunId, job: &mut Job) -> Next {
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

    /// Sends the transaction of what is good in the batch.
    pub(super) fn transact(&mut self, process: Process, run: RunId, job: &mut Job) -> Next {
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
}

fn store() -> Dependency {
    Dependency("store".into())
}
