//! The world: one queue of happenings in virtual time, in one thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::broker::Broker;
use super::group::{Group, Notice};
use super::happening::{Due, Happening};
use super::history::{Entry, History, Process, Rules, What};
use super::member::{Life, Member};
use super::nemesis::Nemesis;
use super::plan::{Plan, Protocol};
use super::random::Random;
use super::reached::{Point, Reached};
use super::store::Store;
use super::window::Window;
use crate::bugs::Bug;
use crate::record::Moment;

/// Everything that exists.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Moment,
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) broker: Broker,
    pub(super) group: Group,
    pub(super) store: Store,
    pub(super) members: Vec<Member>,
    /// The latest process of each slot.
    pub(super) slots: Vec<Option<Process>>,
    pub(super) nemesis: Nemesis,
    pub(super) reached: Reached,
    pub(super) generations: u64,
    pub(super) callbacks: u64,
    pub(super) last_progress: Moment,
    /// A processor broke: the history ends here.
    pub(super) broken: bool,
    entries: Vec<Entry>,
    queue: BinaryHeap<Reverse<Due>>,
    sequence: u64,
}

/// How long nothing may move once the faults are over: the stall time-out's default.
const STALL: Duration = Duration::from_secs(300);
/// More entries than any sound history has.
const RUNAWAY: usize = 120_000;

impl World {
    /// Makes the world of `seed`.
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let (plan, random) = Plan::draw(seed, bug);
        let mut world = Self {
            now: Moment::START,
            broker: Broker::new(&plan),
            group: Group::new(plan.protocol, plan.partitions),
            store: Store::new(plan.partitions),
            members: Vec::new(),
            slots: vec![None; plan.slots],
            nemesis: Nemesis::default(),
            reached: Reached::default(),
            generations: 0,
            callbacks: 0,
            last_progress: Moment::START,
            broken: false,
            entries: Vec::with_capacity(4_096),
            queue: BinaryHeap::with_capacity(256),
            sequence: 0,
            plan,
            random,
        };
        world.populate();
        world
    }

    /// Lets everything happen and returns the history.
    pub(super) fn run(mut self) -> (History, Reached) {
        let ending = loop {
            let Some(Reverse(due)) = self.queue.pop() else {
                break What::Stuck("nothing is due any more".into());
            };
            self.now = due.at;
            self.happen(due.what);
            if self.broken {
                break What::Stuck("a processor is broken".into());
            }
            if self.nemesis.is_calm() {
                if self.broker.places.iter().all(super::broker::Place::was_committed) {
                    break What::Finished;
                }
                if self.now.since(self.last_progress) > STALL {
                    break What::Stuck("no progress for the stall time-out".into());
                }
            }
            if self.entries.len() > RUNAWAY {
                break What::Stuck("the group runs without an end".into());
            }
        };
        self.note(Process(0), ending);
        let settings = &self.plan.settings;
        let rules = Rules {
            ordering: settings.ordering,
            claims: settings.claims,
            max_attempts: settings.retry.max_attempts.get(),
            retry_cap: settings.retry.cap,
            concurrency: settings.concurrency.get(),
            partitions: self.plan.partitions,
            rows: self.plan.rows,
        };
        (History { rules, entries: self.entries }, self.reached)
    }

    fn populate(&mut self) {
        for place in 0..self.plan.partitions {
            for _ in 0..self.plan.backlog {
                self.produce(place);
            }
            for _ in self.plan.backlog..self.plan.records {
                let span = self.plan.calm_at.since_start().as_micros();
                let at = self.random.micros(0, u64::try_from(span).unwrap_or(u64::MAX));
                self.after(at, Happening::Produce(place));
            }
        }
        for slot in 0..self.plan.slots {
            let delay = if slot == 0 { Duration::ZERO } else { self.random.millis(0, 1_500) };
            self.after(delay, Happening::Restart(slot));
        }
        if !self.plan.faults.is_empty() {
            self.after(self.plan.fault_gap, Happening::Nemesis);
        }
        self.at(self.plan.calm_at, Happening::Calm);
    }

    /// Writes a line of the history.
    pub(super) fn note(&mut self, process: Process, what: What) {
        self.entries.push(Entry { at: self.now, process, what });
    }

    /// Lets something happen at a moment.
    pub(super) fn at(&mut self, at: Moment, what: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse(Due { at: at.max(self.now), sequence: self.sequence, what }));
    }

    /// Lets something happen after a span.
    pub(super) fn after(&mut self, span: Duration, what: Happening) {
        self.at(self.now.plus(span), what);
    }

    /// Returns the process.
    pub(super) fn member(&mut self, process: Process) -> &mut Member {
        &mut self.members[usize::try_from(process.0).unwrap_or(usize::MAX)]
    }

    /// Sends what the coordinator said; each member hears it in order.
    pub(super) fn send(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            let delay = self.random.micros(500, 200_000);
            let (process, what) = match notice {
                Notice::Limit(round) => {
                    self.reached.note(match self.plan.protocol {
                        Protocol::Eager => Point::EagerRebalance,
                        Protocol::Cooperative => Point::CooperativeRebalance,
                    });
                    self.after(self.plan.join_limit, Happening::JoinLimit(round));
                    continue;
                }
                Notice::Rejoin(process) => (process, Happening::Rejoin(process)),
                Notice::Assignment(process, membership, places) => {
                    (process, Happening::Assignment(process, membership, places))
                }
            };
            let earliest = self.now.plus(delay);
            let queue = &mut self.member(process).queues.notices;
            *queue = earliest.max(*queue);
            let at = *queue;
            self.at(at, what);
        }
    }

    fn happen(&mut self, what: Happening) {
        if let Some((process, window)) = Window::of(&what) {
            self.spring(process, window);
        }
        let Some(process) = what.process() else {
            return self.happen_in_world(what);
        };
        match self.member(process).life {
            Life::Running | Life::Closing => self.happen_in_process(what),
            Life::Frozen { .. } => self.member(process).backlog.push(what),
            Life::Over => {}
        }
    }

    fn happen_in_process(&mut self, what: Happening) {
        match what {
            Happening::Tell(process, input) => self.tell(process, *input),
            Happening::Tick(process) => self.tick(process),
            Happening::Poll(process) => self.poll(process),
            Happening::Command(process, command) => self.command(process, command),
            Happening::Rejoin(process) => self.rejoin(process),
            Happening::Assignment(process, membership, places) => {
                self.take_assignment(process, membership, places);
            }
            Happening::Heartbeat(process) => self.heartbeat(process),
            Happening::CallbackEnd(process, number) => self.end_callback(process, number),
            Happening::CallbackLimit(process, number) => self.limit_callback(process, number),
            Happening::Close(process) => self.close_when_answered(process),
            Happening::CloseLimit(process) => self.close(process),
            Happening::Work(process, run, step) => self.work(process, run, step),
            Happening::StoreReply(process, run, reply) => self.take_store_reply(process, run, reply),
            Happening::ClaimReply(process, place, generation, row) => {
                self.take_claim_reply(process, place, generation, row);
            }
            Happening::CommitReply(process, place, generation, answer) => {
                self.take_commit_reply(process, place, generation, answer);
            }
            other => self.happen_in_world(other),
        }
    }

    fn happen_in_world(&mut self, what: Happening) {
        match what {
            Happening::CommitArrives(process, sent) => self.commit_arrives(process, *sent),
            Happening::DeadLetterArrives(process, dead) => self.dead_letter_arrives(process, &dead),
            Happening::ClaimArrives(process, place, generation) => {
                self.claim_arrives(process, place, generation);
            }
            Happening::TransactionArrives(process, run, place, wanted, effects, settled, generation) => {
                self.transaction_arrives(process, run, place, wanted, (&effects, &settled), generation);
            }
            Happening::ReadArrives(process, run, place) => self.read_arrives(process, run, place),
            Happening::JoinArrives(name, owned, seen) => {
                let notices = self.group.join(name, owned, seen, &mut self.random);
                self.send(notices);
            }
            Happening::Produce(place) => self.produce(place),
            Happening::JoinLimit(round) => self.limit_join(round),
            Happening::Expire(process, name) => self.expire(process, name),
            Happening::Thaw(process) => self.thaw(process),
            Happening::Restart(slot) => self.restart(slot),
            Happening::Nemesis => self.strike(),
            Happening::Calm => self.calm(),
            other => drop(other),
        }
    }

    fn produce(&mut self, place: usize) {
        let letter = self.broker.places[place].produce(place, &self.plan, &mut self.random);
        self.note(Process(0), What::Produced(letter));
        for index in 0..self.members.len() {
            if self.members[index].held.contains_key(&place) {
                self.wake_poll(Process(u32::try_from(index).unwrap_or(0)));
            }
        }
    }
}
