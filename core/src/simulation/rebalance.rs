//! A process in its group: joining, revoke callbacks, assignments, losses, closing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::group::Membership;
use super::happening::Happening;
use super::history::{Process, What};
use super::member::{Callback, Fetching, Held, Then};
use super::plan::Protocol;
use super::reached::Point;
use super::world::World;
use crate::input::Input;
use crate::record::{FetchEpoch, Generation, Offset};

/// What the edge waits beyond the deadline that it gave, before it goes on by itself.
const GRACE: Duration = Duration::from_millis(400);
/// What a commit inside a revoke may take.
const COMMIT_LIMIT: Duration = Duration::from_secs(2);

impl World {
    /// A process becomes a new member.
    pub(super) fn enter(&mut self, process: Process) {
        let name = self.group.enter(process);
        let member = self.member(process);
        member.name = Some(name);
        member.membership = None;
        self.join(process);
    }

    fn join(&mut self, process: Process) {
        let protocol = self.plan.protocol;
        let member = self.member(process);
        let Some(name) = member.name else { return };
        let owned: BTreeSet<usize> = match protocol {
            Protocol::Eager => BTreeSet::new(),
            Protocol::Cooperative => member.held.keys().copied().collect(),
        };
        let seen = member.membership.map_or(0, |membership| membership.generation);
        let delay = self.random.micros(500, 60_000);
        self.after(delay, Happening::JoinArrives(name, owned, seen));
    }

    /// The coordinator wants everybody to join again.
    pub(super) fn rejoin(&mut self, process: Process) {
        if !self.member(process).is_open() {
            return;
        }
        // A callback that is busy joins at its end.
        if self.member(process).callback.is_some() {
            return;
        }
        if self.plan.protocol == Protocol::Eager && !self.member(process).held.is_empty() {
            let all = self.member(process).held.keys().copied().collect();
            self.begin_callback(process, &all, Then::Join);
        } else {
            self.join(process);
        }
    }

    /// The coordinator's new assignment.
    pub(super) fn take_assignment(
        &mut self,
        process: Process,
        membership: Membership,
        places: BTreeSet<usize>,
    ) {
        let member = self.member(process);
        if !member.is_open() || member.name != Some(membership.member) {
            return;
        }
        if member.callback.is_some() {
            member.assignment_waiting = Some((membership, places));
            return;
        }
        member.membership = Some(membership);
        let gone: BTreeSet<usize> =
            member.held.keys().copied().filter(|place| !places.contains(place)).collect();
        let added: BTreeSet<usize> =
            places.into_iter().filter(|place| !member.held.contains_key(place)).collect();
        if gone.is_empty() {
            self.assign(process, &added);
        } else {
            self.begin_callback(process, &gone, Then::Add(added));
        }
    }

    fn assign(&mut self, process: Process, places: &BTreeSet<usize>) {
        for place in places {
            let generation = self.next_generation();
            let partition = self.broker.places[*place].name.clone();
            let commit = self.broker.places[*place].committed.clone();
            let start = commit.as_ref().map(|commit| commit.next);
            let finished = commit.map(|commit| commit.finished).unwrap_or_default();
            if !finished.is_empty() {
                self.reached.note(Point::HintUsed);
            }
            let held = Held {
                generation,
                position: start.unwrap_or(Offset(0)),
                epoch: FetchEpoch(0),
                fetching: Fetching::Yes,
                commits_in_flight: 0,
            };
            self.member(process).held.insert(*place, held);
            self.after_group(process, Input::Assigned { partition, generation, start, finished });
        }
        self.wake_poll(process);
    }

    fn begin_callback(&mut self, process: Process, places: &BTreeSet<usize>, then: Then) {
        self.callbacks += 1;
        let number = self.callbacks;
        let now = self.now;
        let drain = self.plan.drain;
        let member = self.member(process);
        let mut revoked = Vec::with_capacity(places.len());
        for (place, held) in &mut member.held {
            if places.contains(place) {
                held.fetching = Fetching::Ended;
                revoked.push((*place, held.generation));
            }
        }
        let waiting: BTreeSet<Generation> = revoked.iter().map(|(_, generation)| *generation).collect();
        let busy = member.jobs.values().any(|job| waiting.contains(&job.generation));
        let generations = waiting.iter().copied().collect();
        let deadline = member.moment(now).plus(drain);
        member.callback = Some(Callback { number, revoked, waiting, then });
        if busy {
            self.reached.note(Point::RevokedInFlight);
        }
        self.after_group(process, Input::Revoked { generations, deadline });
        self.after(drain + GRACE, Happening::CallbackLimit(process, number));
    }

    /// The processor let go of an assignment.
    pub(super) fn released(&mut self, process: Process, generation: Generation) {
        let delay = self.random.micros(10, 3_000);
        let member = self.member(process);
        let Some(callback) = member.callback.as_mut() else { return };
        callback.waiting.remove(&generation);
        if callback.waiting.is_empty() {
            let number = callback.number;
            self.after(delay, Happening::CallbackEnd(process, number));
        }
    }

    /// Everything is released: once the commits are answered, the callback returns.
    pub(super) fn end_callback(&mut self, process: Process, number: u64) {
        let member = self.member(process);
        let Some(callback) = member.callback.as_ref().filter(|callback| callback.number == number) else {
            return;
        };
        let open = callback
            .revoked
            .iter()
            .any(|(place, _)| member.held.get(place).is_some_and(|held| held.commits_in_flight > 0));
        if open {
            self.after(Duration::from_millis(5), Happening::CallbackEnd(process, number));
        } else {
            self.return_from_callback(process);
        }
    }

    /// The time of a callback is up: what is not released is as good as lost.
    pub(super) fn limit_callback(&mut self, process: Process, number: u64) {
        let member = self.member(process);
        let Some(callback) = member.callback.as_ref().filter(|callback| callback.number == number) else {
            return;
        };
        if callback.waiting.is_empty() {
            self.after(COMMIT_LIMIT, Happening::CallbackEnd(process, number));
            return;
        }
        let generations = callback.waiting.iter().copied().collect();
        self.after_group(process, Input::Lost { generations });
        self.return_from_callback(process);
    }

    fn return_from_callback(&mut self, process: Process) {
        let member = self.member(process);
        let Some(callback) = member.callback.take() else { return };
        for (place, generation) in &callback.revoked {
            if member.held.get(place).is_some_and(|held| held.generation == *generation) {
                member.held.remove(place);
            }
        }
        let waiting = member.assignment_waiting.take();
        if !member.is_open() {
            return;
        }
        let Some(name) = member.name else { return };
        if !self.group.knows(name) {
            return self.lose(process);
        }
        match (callback.then, waiting) {
            (Then::Join, None) => {}
            (Then::Join, Some((membership, _))) => self.member(process).membership = Some(membership),
            (Then::Add(_), Some((membership, places))) => {
                self.take_assignment(process, membership, places);
            }
            (Then::Add(added), None) => self.assign(process, &added),
        }
        self.join(process);
        self.wake_poll(process);
    }

    /// The member hears from the coordinator: perhaps that it is none any more.
    pub(super) fn heartbeat(&mut self, process: Process) {
        let member = self.member(process);
        let Some(name) = member.name else { return };
        // Inside a callback the client cannot tell; the callback's end will.
        if member.callback.is_none() && !self.group.knows(name) {
            self.lose(process);
        }
    }

    fn lose(&mut self, process: Process) {
        let member = self.member(process);
        let generations: Vec<Generation> = member.held.values().map(|held| held.generation).collect();
        member.held.clear();
        member.name = None;
        member.membership = None;
        let open = member.is_open();
        if !generations.is_empty() {
            self.reached.note(Point::Lost);
            self.after_group(process, Input::Lost { generations });
        }
        if open {
            self.enter(process);
        }
    }

    /// Everything is drained: once the commits are answered, the process leaves.
    pub(super) fn close_when_answered(&mut self, process: Process) {
        if self.member(process).held.values().any(|held| held.commits_in_flight > 0) {
            self.after(Duration::from_millis(5), Happening::Close(process));
        } else {
            self.close(process);
        }
    }

    /// The process leaves its group and ends.
    pub(super) fn close(&mut self, process: Process) {
        let member = self.member(process);
        if !member.is_closing() {
            return;
        }
        let name = member.name;
        self.note(process, What::Left);
        self.end_process(process);
        if let Some(name) = name {
            let notices = self.group.remove(name, &mut self.random);
            self.send(notices);
        }
    }
}
