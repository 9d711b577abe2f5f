//! The edge of one process: fetching, flow control, commits and claims, as the real poll thread does them.

use std::time::Duration;

use super::group::Membership;
use super::happening::Happening;
use super::history::{Process, RowPolicy, Sender, What};
use super::member::{Fetching, Held};
use super::plan::Acceptance;
use super::reached::Point;
use super::store::Row;
use super::world::World;
use crate::input::{Input, Record};
use crate::record::{Attempt, FetchEpoch, Generation, KeyHash, Offset, OffsetRange};
use crate::settings::Claims;

/// What the driver asks the poll thread for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Pause(Generation),
    Resume(Generation),
    Seek(Generation, Offset, FetchEpoch),
    Verify(Generation),
}

/// A commit on its way: the client shows its membership of the moment of sending.
#[derive(Clone, Debug)]
pub(super) struct CommitSent {
    pub(super) place: usize,
    generation: Generation,
    membership: Option<Membership>,
    next: Offset,
    finished: Vec<OffsetRange>,
}

impl Held {
    /// Says whether fetching is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.fetching == Fetching::Paused
    }
}

impl World {
    /// Sees that the process polls soon.
    pub(super) fn wake_poll(&mut self, process: Process) {
        let delay = self.random.micros(200, 12_000);
        let member = self.member(process);
        if !member.polling {
            member.polling = true;
            self.after(delay, Happening::Poll(process));
        }
    }

    /// Fetches once from every partition that may be fetched.
    pub(super) fn poll(&mut self, process: Process) {
        self.member(process).polling = false;
        if self.member(process).callback.is_some() || !self.member(process).is_open() {
            return;
        }
        let mut more = false;
        for place in 0..self.plan.partitions {
            let limit = self.random.size(1, self.plan.fetch);
            let Some(held) = self.member(process).held.get(&place).cloned() else { continue };
            if held.fetching != Fetching::Yes {
                continue;
            }
            let fetched = self.broker.places[place].fetch(held.position, limit);
            let Some(last) = fetched.last().map(|stored| stored.letter.offset) else { continue };
            more |= fetched.len() == limit;
            let records = fetched
                .iter()
                .map(|stored| Record {
                    offset: stored.letter.offset,
                    key: stored
                        .letter
                        .key
                        .map(|key| KeyHash(u64::from(key).wrapping_mul(0x9e37_79b9_97f4_a7c1))),
                    bytes: 100,
                    payload: stored.letter,
                })
                .collect();
            let input = Input::Records { generation: held.generation, epoch: held.epoch, records };
            if let Some(held) = self.member(process).held.get_mut(&place) {
                held.position = last.next();
            }
            self.after_records(process, input);
        }
        if more {
            self.wake_poll(process);
        }
    }

    /// Records cross in their order, never before the assignment under which they were fetched; a revoke or
    /// a loss may overtake them.
    fn after_records(&mut self, process: Process, input: Input<super::history::Letter>) {
        let delay = self.random.micros(1, 15_000);
        let earliest = self.now.plus(delay);
        let queues = &mut self.member(process).queues;
        queues.records = earliest.max(queues.records).max(queues.group);
        let at = queues.records;
        self.at(at, Happening::Tell(process, Box::new(input)));
    }

    /// Hands a command to the poll thread, which takes them in order.
    pub(super) fn order(&mut self, process: Process, command: Command) {
        let delay = self.random.micros(1, 5_000);
        let earliest = self.now.plus(delay);
        let queue = &mut self.member(process).queues.commands;
        *queue = earliest.max(*queue);
        let at = *queue;
        self.at(at, Happening::Command(process, command));
    }

    /// The poll thread obeys.
    pub(super) fn command(&mut self, process: Process, command: Command) {
        let member = self.member(process);
        match command {
            Command::Pause(generation) => {
                let held = member.held.values_mut().find(|held| held.generation == generation);
                if let Some(held) = held.filter(|held| held.fetching == Fetching::Yes) {
                    held.fetching = Fetching::Paused;
                }
            }
            Command::Resume(generation) => {
                let held = member.held.values_mut().find(|held| held.generation == generation);
                if let Some(held) = held.filter(|held| held.fetching == Fetching::Paused) {
                    held.fetching = Fetching::Yes;
                }
                self.wake_poll(process);
            }
            Command::Seek(generation, offset, epoch) => {
                if let Some(held) = member.held.values_mut().find(|h| h.generation == generation) {
                    held.position = offset;
                    held.epoch = epoch;
                }
                self.wake_poll(process);
            }
            Command::Verify(generation) => self.verify(process, generation),
        }
    }

    fn verify(&mut self, process: Process, generation: Generation) {
        if self.member(process).callback.is_some() {
            self.after(Duration::from_millis(20), Happening::Command(process, Command::Verify(generation)));
            return;
        }
        let name = self.member(process).name;
        let seated = name.is_some_and(|name| self.group.knows(name));
        // The client may not have heard yet that it is no member any more.
        if self.member(process).place_of(generation).is_some() && (seated || self.random.chance(500)) {
            self.reached.note(Point::Verified);
            self.after_group(process, Input::Verified { generation });
        }
    }

    /// Sends a commit: one connection, so they arrive in order.
    pub(super) fn commit(
        &mut self,
        process: Process,
        place: usize,
        generation: Generation,
        next: Offset,
        finished: Vec<OffsetRange>,
    ) {
        let delay = self.random.micros(200, 20_000);
        let earliest = self.now.plus(delay);
        let member = self.member(process);
        if let Some(held) = member.held.get_mut(&place).filter(|held| held.generation == generation) {
            held.commits_in_flight += 1;
        }
        let ours = member.held.get(&place).is_some_and(|held| held.generation == generation);
        // The edge's own guard, which the careless broker's world does without.
        let membership = member.membership.filter(|_| ours);
        member.queues.commits = earliest.max(member.queues.commits);
        let at = member.queues.commits;
        let sent = CommitSent { place, generation, membership, next, finished };
        self.at(at, Happening::CommitArrives(process, Box::new(sent)));
    }

    /// The broker takes or refuses a commit.
    pub(super) fn commit_arrives(&mut self, process: Process, sent: CommitSent) {
        let CommitSent { place, generation, membership, next, finished } = sent;
        let current = self.group.is_current(membership);
        let believed = current || self.plan.acceptance == Acceptance::OfAnybody;
        let fails =
            self.now < self.nemesis.commits_away_until || self.random.chance(self.plan.rates.commit_fails);
        let taken = believed && !fails && self.row_follows(process, place, generation, next);
        if taken {
            let commit = super::broker::Commit { next, finished };
            if self.broker.places[place].committed.as_ref().is_none_or(|old| old.next < next) {
                self.last_progress = self.now;
            }
            let row = &mut self.broker.places[place];
            row.highest = row.highest.max(next);
            row.committed = Some(commit);
            let sender = if current { Sender::Current } else { Sender::Stale };
            self.note(process, What::CommitApplied { place, generation, next, sender });
        } else {
            self.note(process, What::CommitRefused { place, generation });
        }
        let lost = self.random.chance(self.plan.rates.commit_reply_lost);
        match (current, believed) {
            (false, true) => self.reached.note(Point::CommitStaleTaken),
            (false, false) => self.reached.note(Point::CommitStale),
            (true, _) if fails => self.reached.note(Point::CommitFailed),
            (true, _) if lost => self.reached.note(Point::CommitReplyLost),
            (true, _) => {}
        }
        let answer = if taken && !lost { Ok(next) } else { Err(()) };
        let delay = self.random.micros(200, 20_000);
        let earliest = self.now.plus(delay);
        let queue = &mut self.member(process).queues.commit_replies;
        *queue = earliest.max(*queue);
        let at = *queue;
        self.at(at, Happening::CommitReply(process, place, generation, answer));
    }

    /// Moves the store's row to where a commit goes, if the group has one and it is behind: a dead letter
    /// moves no row by itself. Returns whether the commit may go on.
    fn row_follows(&mut self, process: Process, place: usize, generation: Generation, next: Offset) -> bool {
        if self.plan.settings.claims == Claims::AtOnce || self.plan.rows == RowPolicy::StayBehind {
            return true;
        }
        let Some((epoch, mine)) = self.member(process).rows.get(&generation).copied() else { return false };
        if mine.is_some_and(|mine| mine >= next) {
            return true;
        }
        if self.now < self.nemesis.store_away_until {
            return false;
        }
        let row = self.store.rows[place];
        if row.epoch != epoch {
            self.after_group(process, Input::Fenced { generation });
            return false;
        }
        if row.next.is_none_or(|theirs| theirs < next) {
            self.store.rows[place].next = Some(next);
            self.member(process).rows.insert(generation, (epoch, Some(next)));
        }
        true
    }

    /// The answer to a commit reaches its process.
    pub(super) fn take_commit_reply(
        &mut self,
        process: Process,
        place: usize,
        generation: Generation,
        answer: Result<Offset, ()>,
    ) {
        let held = self.member(process).held.get_mut(&place).filter(|held| held.generation == generation);
        if let Some(held) = held {
            held.commits_in_flight = held.commits_in_flight.saturating_sub(1);
        }
        let input = match answer {
            Ok(next) => Input::Committed { generation, next },
            Err(()) => Input::CommitFailed { generation },
        };
        self.tell(process, input);
    }

    /// Sends a claim to the store, now and then over a slow path.
    pub(super) fn claim(&mut self, process: Process, place: usize, generation: Generation) {
        let delay = if self.random.chance(self.plan.rates.claim_late) {
            self.reached.note(Point::ClaimLate);
            self.random.millis(100, 3_000)
        } else {
            self.random.micros(200, 20_000)
        };
        self.after(delay, Happening::ClaimArrives(process, place, generation));
    }

    /// The store raises the epoch, unless it is away; its answer may be lost.
    pub(super) fn claim_arrives(&mut self, process: Process, place: usize, generation: Generation) {
        let away = self.now < self.nemesis.store_away_until;
        let row = if away {
            None
        } else {
            let row = self.store.claim(place);
            self.note(process, What::Epoch { place, epoch: row.epoch, generation });
            (!self.random.chance(self.plan.rates.store_reply_lost)).then_some(row)
        };
        let delay = self.random.micros(200, 20_000);
        self.after(delay, Happening::ClaimReply(process, place, generation, row));
    }

    /// The store's answer to a claim reaches its process.
    pub(super) fn take_claim_reply(
        &mut self,
        process: Process,
        place: usize,
        generation: Generation,
        row: Option<Row>,
    ) {
        let Some(row) = row else {
            self.reached.note(Point::ClaimFailed);
            self.tell(process, Input::ClaimFailed { generation });
            return;
        };
        self.member(process).rows.insert(generation, (row.epoch, row.next));
        let begun = self.broker.places[place].log.iter();
        let attempts = begun
            .filter(|stored| stored.attempts > 0 && row.next.is_none_or(|next| stored.letter.offset >= next))
            .map(|stored| (stored.letter.offset, Attempt(stored.attempts)))
            .collect();
        self.tell(process, Input::Claimed { generation, next: row.next, attempts });
    }
}
