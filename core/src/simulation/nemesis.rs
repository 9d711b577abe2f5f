//! The nemesis: chooses faults, springs traps in crash windows, and one day stops.

use std::time::Duration;

use super::group::MemberId;
use super::happening::Happening;
use super::history::{Process, What};
use super::member::{Life, Member};
use super::reached::Point;
use super::window::{Blow, Trap, Window};
use super::world::World;
use crate::processor::Processor;
use crate::record::Moment;

/// What the nemesis is up to.
#[derive(Debug, Default)]
pub(super) struct Nemesis {
    over: bool,
    pub(super) trap: Option<Trap>,
    pub(super) store_away_until: Moment,
    pub(super) dependency_away_until: Moment,
    pub(super) dead_letters_away_until: Moment,
    pub(super) commits_away_until: Moment,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Crash,
    Freeze,
    Leave,
    Expel,
    Rebalance,
    StoreAway,
    DependencyAway,
    DeadLettersAway,
    CommitsAway,
    EraseHint,
    DamageHint,
    Trap,
}

impl Fault {
    /// All kinds; traps weigh more.
    pub(super) const ALL: [Self; 16] = [
        Self::Crash,
        Self::Freeze,
        Self::Leave,
        Self::Expel,
        Self::Rebalance,
        Self::Rebalance,
        Self::StoreAway,
        Self::DependencyAway,
        Self::DeadLettersAway,
        Self::CommitsAway,
        Self::EraseHint,
        Self::DamageHint,
        Self::Trap,
        Self::Trap,
        Self::Trap,
        Self::Trap,
    ];
}

impl Nemesis {
    /// Says whether all faults are over.
    pub(super) fn is_calm(&self) -> bool {
        self.over
    }
}

impl World {
    /// Commits the next fault.
    pub(super) fn strike(&mut self) {
        if self.nemesis.over {
            return;
        }
        let fault = self.random.pick(&self.plan.faults);
        let slot = self.random.index(self.slots.len());
        let place = self.random.index(self.plan.partitions);
        let until = self.now.plus(self.random.millis(50, 3_000));
        match fault {
            Fault::Crash => self.with_process(slot, Self::crash),
            Fault::Freeze => self.with_process(slot, Self::freeze),
            Fault::Leave => self.with_process(slot, Self::leave),
            Fault::Expel => self.with_process(slot, Self::expel),
            Fault::Rebalance => {
                let notices = self.group.begin();
                self.send(notices);
            }
            Fault::StoreAway => self.nemesis.store_away_until = until,
            Fault::DependencyAway => self.nemesis.dependency_away_until = until,
            Fault::DeadLettersAway => self.nemesis.dead_letters_away_until = until,
            Fault::CommitsAway => self.nemesis.commits_away_until = until,
            Fault::EraseHint => self.erase_hint(place),
            Fault::DamageHint => self.damage_hint(place),
            Fault::Trap => {
                let blow = self.random.pick(&[Blow::Crash, Blow::Freeze]);
                let window = self.random.pick(&Window::ALL);
                let most = if window.is_rare() { 0 } else { 4 };
                self.nemesis.trap = Some(Trap { window, blow, spare: self.random.count(0, most) });
                if window == Window::W20InDrain {
                    self.with_process(slot, Self::leave);
                }
            }
        }
        let gap = self.plan.fault_gap.mul_f64(0.5) + self.random.millis(0, 500);
        self.after(gap, Happening::Nemesis);
    }

    /// Ends all faults: what was away is back, what was stopped starts.
    pub(super) fn calm(&mut self) {
        let difficult = self.plan.rates.difficult;
        self.plan.rates = super::plan::Rates { difficult, ..super::plan::Rates::default() };
        self.nemesis = Nemesis { over: true, ..Nemesis::default() };
        self.last_progress = self.now;
        for slot in 0..self.slots.len() {
            let delay = self.random.millis(0, 500);
            self.after(delay, Happening::Restart(slot));
        }
    }

    fn with_process(&mut self, slot: usize, blow: fn(&mut Self, Process)) {
        if let Some(process) = self.slots[slot]
            && matches!(self.member(process).life, Life::Running | Life::Closing)
        {
            blow(self, process);
        }
    }

    /// Kills a process: nothing of it goes on but what is on the wire.
    pub(super) fn crash(&mut self, process: Process) {
        self.reached.note(Point::Crash);
        self.note(process, What::Crashed);
        self.end_process(process);
        let session = self.plan.session;
        if let Some(name) = self.member(process).name {
            self.after(session, Happening::Expire(process, name));
        }
    }

    /// Stops a process, within its session or beyond.
    pub(super) fn freeze(&mut self, process: Process) {
        let beyond = self.random.chance(600);
        let micros = u64::try_from(self.plan.session.as_micros()).unwrap_or(u64::MAX);
        let span = if beyond {
            self.random.micros(micros + micros / 4, micros * 3)
        } else {
            self.random.micros(1_000, micros * 4 / 5)
        };
        self.reached.note(if beyond { Point::Zombie } else { Point::Freeze });
        self.note(process, What::Frozen);
        let now = self.now;
        let member = self.member(process);
        member.life = Life::Frozen { since: now, closing: member.life == Life::Closing };
        if beyond && let Some(name) = member.name {
            self.after(self.plan.session, Happening::Expire(process, name));
        }
        self.after(span, Happening::Thaw(process));
    }

    /// Lets a frozen process go on: everything that waited arrives in its order.
    pub(super) fn thaw(&mut self, process: Process) {
        let member = self.member(process);
        let Life::Frozen { closing, .. } = member.life else { return };
        member.life = if closing { Life::Closing } else { Life::Running };
        let backlog = std::mem::take(&mut member.backlog);
        self.note(process, What::Thawed);
        for what in backlog {
            self.at(self.now, what);
        }
        let delay = self.random.micros(1, 300_000);
        self.after(delay, Happening::Heartbeat(process));
    }

    /// The coordinator has not heard of a member for its session.
    pub(super) fn expire(&mut self, process: Process, name: MemberId) {
        let now = self.now;
        let session = self.plan.session;
        let silent = match self.member(process).life {
            Life::Over => true,
            Life::Frozen { since, .. } => now.since(since) >= session,
            Life::Running | Life::Closing => false,
        };
        if silent {
            let notices = self.group.remove(name, &mut self.random);
            self.send(notices);
        }
    }

    fn expel(&mut self, process: Process) {
        let Some(name) = self.member(process).name else { return };
        self.reached.note(Point::Expel);
        let notices = self.group.remove(name, &mut self.random);
        self.send(notices);
        let delay = self.random.millis(5, 700);
        self.after(delay, Happening::Heartbeat(process));
    }

    /// Ends a rebalance round whose time is up.
    pub(super) fn limit_join(&mut self, round: u32) {
        let (late, notices) = self.group.limit(round, &mut self.random);
        if late > 0 {
            self.reached.note(Point::JoinTooLate);
            for index in 0..self.members.len() {
                let process = Process(u32::try_from(index).unwrap_or(0));
                let delay = self.random.millis(5, 700);
                self.after(delay, Happening::Heartbeat(process));
            }
        }
        self.send(notices);
    }

    /// Marks the end of a process and sees that its slot starts again.
    pub(super) fn end_process(&mut self, process: Process) {
        let member = self.member(process);
        member.life = Life::Over;
        member.backlog.clear();
        member.jobs.clear();
        member.held.clear();
        let slot = member.slot;
        let delay = self.random.millis(10, 2_500);
        self.after(delay, Happening::Restart(slot));
    }

    /// Starts a new process in an empty slot.
    pub(super) fn restart(&mut self, slot: usize) {
        if let Some(process) = self.slots[slot]
            && self.member(process).life != Life::Over
        {
            return;
        }
        if self.slots[slot].is_some() {
            self.reached.note(Point::Restart);
        }
        let process = Process(u32::try_from(self.members.len()).unwrap_or(0));
        self.slots[slot] = Some(process);
        let mut settings = self.plan.settings.clone();
        settings.seed = self.random.bits();
        self.members.push(Member::new(slot, self.now, Processor::new(settings)));
        self.note(process, What::Started);
        self.enter(process);
        let grace = Duration::from_millis(self.random.between(0, 50));
        self.after(grace, Happening::Poll(process));
    }

    fn erase_hint(&mut self, place: usize) {
        if let Some(commit) = self.broker.places[place].committed.as_mut()
            && !commit.finished.is_empty()
        {
            commit.finished.clear();
            self.reached.note(Point::HintErased);
            self.note(Process(0), What::HintDamaged(place));
        }
    }

    fn damage_hint(&mut self, place: usize) {
        if self.broker.places[place].damage(&mut self.random) {
            self.reached.note(Point::HintDamaged);
            self.note(Process(0), What::HintDamaged(place));
        }
    }
}
