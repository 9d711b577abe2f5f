//! The group's coordinator: who is a member, in which generation, and who shall have what.

use std::collections::{BTreeMap, BTreeSet};

use super::history::Process;
use super::plan::Protocol;
use super::random::Random;

/// The name that the coordinator gives: a member that was expelled comes back under a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MemberId(u32);

/// The coordinator's state.
#[derive(Debug)]
pub(super) struct Group {
    protocol: Protocol,
    partitions: usize,
    seats: BTreeMap<MemberId, Seat>,
    /// Counts the completed rebalances.
    pub(super) generation: u32,
    /// The rebalance under way, if there is one.
    joining: Option<u32>,
    rounds: u32,
    names: u32,
}

#[derive(Debug)]
struct Seat {
    process: Process,
    /// What it said it owns, once it has joined the round.
    joined: Option<BTreeSet<usize>>,
    /// What it was given last.
    given: BTreeSet<usize>,
    /// In which generation that was.
    given_in: u32,
}

/// What the coordinator sends.
#[derive(Debug)]
pub(super) enum Notice {
    /// A rebalance began: join it.
    Rejoin(Process),
    /// You have this now.
    Assignment(Process, Membership, BTreeSet<usize>),
    /// The round is to end by itself after the limit.
    Limit(u32),
}

/// What a member shows with its commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) member: MemberId,
    pub(super) generation: u32,
}

impl Group {
    /// Makes an empty group.
    pub(super) fn new(protocol: Protocol, partitions: usize) -> Self {
        Self {
            protocol,
            partitions,
            seats: BTreeMap::new(),
            generation: 0,
            joining: None,
            rounds: 0,
            names: 0,
        }
    }

    /// Gives a process a seat; it has yet to join.
    pub(super) fn enter(&mut self, process: Process) -> MemberId {
        self.names += 1;
        let id = MemberId(self.names);
        self.seats.insert(id, Seat { process, joined: None, given: BTreeSet::new(), given_in: 0 });
        id
    }

    /// Says whether the member has a seat.
    pub(super) fn knows(&self, id: MemberId) -> bool {
        self.seats.contains_key(&id)
    }

    /// Says whether the broker may believe a commit.
    pub(super) fn is_current(&self, membership: Option<Membership>) -> bool {
        membership.is_some_and(|shown| self.knows(shown.member) && shown.generation == self.generation)
    }

    /// Takes a member's seat away.
    pub(super) fn remove(&mut self, id: MemberId, random: &mut Random) -> Vec<Notice> {
        if self.seats.remove(&id).is_none() {
            return Vec::new();
        }
        let mut notices = self.begin();
        notices.extend(self.complete_if_all_joined(random));
        notices
    }

    /// Begins a rebalance, unless one is under way.
    pub(super) fn begin(&mut self) -> Vec<Notice> {
        self.begin_for_all_but(None)
    }

    fn begin_for_all_but(&mut self, joining: Option<MemberId>) -> Vec<Notice> {
        if self.joining.is_some() || self.seats.is_empty() {
            return Vec::new();
        }
        self.rounds += 1;
        self.joining = Some(self.rounds);
        let mut notices = vec![Notice::Limit(self.rounds)];
        let others = self.seats.iter().filter(|(id, _)| Some(**id) != joining);
        notices.extend(others.map(|(_, seat)| Notice::Rejoin(seat.process)));
        notices
    }

    /// A member joins with what it owns. A member that has not seen its last assignment speaks of the past:
    /// it will join again when it has.
    pub(super) fn join(
        &mut self,
        id: MemberId,
        owned: BTreeSet<usize>,
        seen: u32,
        random: &mut Random,
    ) -> Vec<Notice> {
        if self.seats.get(&id).is_none_or(|seat| seat.given_in > seen) {
            return Vec::new();
        }
        let mut notices = self.begin_for_all_but(Some(id));
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.joined = Some(owned);
        }
        notices.extend(self.complete_if_all_joined(random));
        notices
    }

    /// Ends a round without those that did not come; says how many these were.
    pub(super) fn limit(&mut self, round: u32, random: &mut Random) -> (usize, Vec<Notice>) {
        if self.joining != Some(round) {
            return (0, Vec::new());
        }
        let before = self.seats.len();
        self.seats.retain(|_, seat| seat.joined.is_some());
        let late = before - self.seats.len();
        (late, self.complete_if_all_joined(random))
    }

    fn complete_if_all_joined(&mut self, random: &mut Random) -> Vec<Notice> {
        if self.joining.is_none() || self.seats.values().any(|seat| seat.joined.is_none()) {
            return Vec::new();
        }
        self.joining = None;
        self.generation += 1;
        let targets = self.targets(random);
        let owners = self.owners();
        let generation = self.generation;
        let mut notices = Vec::with_capacity(self.seats.len());
        for (id, seat) in &mut self.seats {
            seat.joined = None;
            seat.given_in = generation;
            seat.given = (0..targets.len())
                .filter(|place| targets[*place] == Some(*id) && owners[*place].is_none_or(|o| o == *id))
                .collect();
            let membership = Membership { member: *id, generation };
            notices.push(Notice::Assignment(seat.process, membership, seat.given.clone()));
        }
        notices
    }

    /// Who owns what, by the members' own words. Under the eager protocol nobody owns anything here.
    fn owners(&self) -> Vec<Option<MemberId>> {
        let mut owners = vec![None; self.partitions];
        for (id, seat) in &self.seats {
            for place in seat.joined.iter().flatten() {
                owners[*place] = Some(*id);
            }
        }
        owners
    }

    /// Who shall own what: mostly as before, sometimes shuffled.
    fn targets(&self, random: &mut Random) -> Vec<Option<MemberId>> {
        let ids: Vec<MemberId> = self.seats.keys().copied().collect();
        let mut targets = vec![None; self.partitions];
        if ids.is_empty() {
            return targets;
        }
        let share = self.partitions.div_ceil(ids.len());
        let mut load: BTreeMap<MemberId, usize> = BTreeMap::new();
        if random.chance(700) {
            for (id, seat) in &self.seats {
                let claimed = seat.joined.as_ref().filter(|_| self.protocol == Protocol::Cooperative);
                for place in claimed.unwrap_or(&seat.given) {
                    let count = load.entry(*id).or_default();
                    if *count < share && targets[*place].is_none() {
                        *count += 1;
                        targets[*place] = Some(*id);
                    }
                }
            }
        }
        let mut turn = random.index(ids.len());
        for target in targets.iter_mut().filter(|target| target.is_none()) {
            while load.get(&ids[turn % ids.len()]).is_some_and(|count| *count >= share) {
                turn += 1;
            }
            let id = ids[turn % ids.len()];
            *load.entry(id).or_default() += 1;
            *target = Some(id);
            turn += 1;
        }
        targets
    }
}
