//! One process: its processor, and what its edge and its workers remember.

use std::collections::{BTreeMap, BTreeSet};

use super::group::{MemberId, Membership};
use super::happening::Happening;
use super::history::Letter;
use super::script::Verdict;
use crate::failure::Failure;
use crate::input::Outcome;
use crate::processor::Processor;
use crate::record::{FetchEpoch, Generation, Moment, Offset, RunId};

/// A process of a member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) slot: usize,
    pub(super) born: Moment,
    pub(super) life: Life,
    pub(super) processor: Processor<Letter>,
    /// What reached the process while it stood still.
    pub(super) backlog: Vec<Happening>,
    pub(super) name: Option<MemberId>,
    pub(super) membership: Option<Membership>,
    pub(super) held: BTreeMap<usize, Held>,
    /// Our copies of the store's rows, with our epochs.
    pub(super) rows: BTreeMap<Generation, (u64, Option<Offset>)>,
    pub(super) jobs: BTreeMap<RunId, Job>,
    pub(super) callback: Option<Callback>,
    /// What came while a callback was busy.
    pub(super) assignment_waiting: Option<(Membership, BTreeSet<usize>)>,
    pub(super) polling: bool,
    pub(super) tick_at: Option<Moment>,
    /// How often in a row a tick left a deadline in the past.
    pub(super) idle_ticks: u32,
    pub(super) queues: Queues,
}

/// When the last message of each first-in, first-out queue arrives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queues {
    pub(super) notices: Moment,
    pub(super) group: Moment,
    pub(super) records: Moment,
    pub(super) commands: Moment,
    pub(super) commits: Moment,
    pub(super) commit_replies: Moment,
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// Asked to stop: it drains.
    Closing,
    /// Stands still since a moment; afterwards it is as it was before.
    Frozen {
        since: Moment,
        closing: bool,
    },
    Over,
}

/// An assigned partition, as the edge sees it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) generation: Generation,
    pub(super) position: Offset,
    pub(super) epoch: FetchEpoch,
    pub(super) fetching: Fetching,
    pub(super) commits_in_flight: u32,
}

/// Whether a partition is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetching {
    Yes,
    Paused,
    /// It is being given back.
    Ended,
}

/// A revoke callback that has not returned.
#[derive(Clone, Debug)]
pub(super) struct Callback {
    pub(super) number: u64,
    pub(super) revoked: Vec<(usize, Generation)>,
    pub(super) waiting: BTreeSet<Generation>,
    pub(super) then: Then,
}

/// What follows a revoke callback.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// Join the rebalance (eager).
    Join,
    /// Take these, and join again (cooperative).
    Add(BTreeSet<usize>),
}

/// A run at a worker.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) generation: Generation,
    pub(super) place: usize,
    pub(super) letters: Vec<Letter>,
    pub(super) index: usize,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) pending: Option<Verdict>,
    pub(super) whole: Option<Failure>,
    /// Where a transaction is to leave the row.
    pub(super) target: Option<Offset>,
    /// The core gave it up, but its code cannot be stopped.
    pub(super) abandoned: Abandoned,
}

/// Whether a run was abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abandoned {
    Yes,
    No,
}

impl Member {
    /// Starts a process.
    pub(super) fn new(slot: usize, born: Moment, processor: Processor<Letter>) -> Self {
        Self {
            slot,
            born,
            life: Life::Running,
            processor,
            backlog: Vec::new(),
            name: None,
            membership: None,
            held: BTreeMap::new(),
            rows: BTreeMap::new(),
            jobs: BTreeMap::new(),
            callback: None,
            assignment_waiting: None,
            polling: false,
            tick_at: None,
            idle_ticks: 0,
            queues: Queues::default(),
        }
    }

    /// Translates the world's time into the processor's.
    pub(super) fn moment(&self, now: Moment) -> Moment {
        Moment::after_start(now.since(self.born))
    }

    /// Translates the processor's time into the world's.
    pub(super) fn world_time(&self, moment: Moment) -> Moment {
        self.born.plus(moment.since_start())
    }

    /// Says whether the process takes part in rebalances.
    pub(super) fn is_open(&self) -> bool {
        self.life == Life::Running
    }

    /// Says whether it was asked to stop, be it frozen or not.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.life, Life::Closing | Life::Frozen { closing: true, .. })
    }

    /// Returns the partition that a current generation belongs to.
    pub(super) fn place_of(&self, generation: Generation) -> Option<usize> {
        self.held.iter().find(|(_, held)| held.generation == generation).map(|(place, _)| *place)
    }
}
