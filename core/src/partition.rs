//! One assignment of one partition: claiming, active, fenced, draining, gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::{Failure, Reason};
use crate::lane::{Lanes, Slot};
use crate::offsets::{Seq, Window};
use crate::output::PauseCause;
use crate::record::{Attempt, FetchEpoch, Generation, Moment, Offset, OffsetRange, RunId, TopicPartition};
use crate::settings::Settings;
use crate::snapshot::{PartitionPhase, PartitionSnapshot};

/// What the processor knows of one assignment.
#[derive(Debug)]
pub(crate) struct Assigned<T> {
    pub(crate) name: TopicPartition,
    pub(crate) generation: Generation,
    pub(crate) phase: Phase,
    pub(crate) epoch: FetchEpoch,
    pub(crate) window: Window<T>,
    pub(crate) lanes: Lanes,
    /// Where records that wait for a retry stand.
    pub(crate) waits: BTreeMap<Seq, Slot>,
    /// Dead letters that are not acknowledged yet.
    pub(crate) letters: BTreeMap<Seq, Letter>,
    /// Attempts of earlier owners, for records that have not come yet.
    pub(crate) attempts: BTreeMap<Offset, Attempt>,
    pub(crate) in_flight: BTreeSet<RunId>,
    /// How many records a run may hold now: halved by failed batches.
    pub(crate) batch: usize,
    pub(crate) commit: CommitState,
    pub(crate) paused: Option<PauseCause>,
    pub(crate) claim_failures: u32,
    /// Whether it stands in the round of partitions that have something to dispatch.
    pub(crate) in_turn: bool,
}

/// What an assignment is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Claiming,
    Active,
    Fenced,
    Draining { deadline: Moment },
}

/// A dead letter on its way.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) reason: Reason,
    pub(crate) failure: Failure,
    pub(crate) attempts: u32,
    pub(crate) slot: Slot,
    pub(crate) refusals: u32,
    /// Whether it is with the producer; otherwise it waits to be sent again.
    pub(crate) sent: bool,
}

/// How far the partition is committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitState {
    /// The last offset that the broker acknowledged.
    pub(crate) acknowledged: Option<Offset>,
    /// What was last asked for.
    pub(crate) asked: Option<(Offset, Vec<OffsetRange>)>,
}

impl<T: Clone> Assigned<T> {
    pub(crate) fn new(
        name: TopicPartition,
        generation: Generation,
        start: Option<Offset>,
        finished: Vec<OffsetRange>,
        settings: &Settings,
    ) -> Self {
        Self {
            name,
            generation,
            phase: Phase::Claiming,
            epoch: FetchEpoch::default(),
            window: Window::new(start, finished),
            lanes: lanes(settings),
            waits: BTreeMap::new(),
            letters: BTreeMap::new(),
            attempts: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            batch: settings.batch.get(),
            commit: CommitState::default(),
            paused: None,
            claim_failures: 0,
            in_turn: false,
        }
    }

    /// Says whether a run or a dead letter of it is out of our hands.
    pub(crate) fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty() || self.letters.values().any(|letter| letter.sent)
    }

    pub(crate) fn has_refused_letters(&self) -> bool {
        self.letters.values().any(|letter| letter.refusals > 0)
    }

    pub(crate) fn snapshot(&self) -> PartitionSnapshot<T> {
        PartitionSnapshot {
            partition: self.name.clone(),
            generation: self.generation,
            phase: match self.phase {
                Phase::Claiming => PartitionPhase::Claiming,
                Phase::Active => PartitionPhase::Active,
                Phase::Fenced => PartitionPhase::Fenced,
                Phase::Draining { .. } => PartitionPhase::Draining,
            },
            watermark: self.window.watermark(),
            committed: self.commit.acknowledged,
            unfinished: self.window.unfinished(),
            waiting: self.waits.len().max(self.lanes.aside_records()),
            head: self.window.front().and_then(|entry| {
                let payload = entry.payload.clone()?;
                Some((entry.offset, payload, Attempt(entry.failures.saturating_add(1)), entry.retry_at))
            }),
            paused: self.paused,
        }
    }
}

/// Makes the lanes of one partition: a fixed number, however many keys there are.
pub(crate) fn lanes(settings: &Settings) -> Lanes {
    Lanes::new(settings.ordering, settings.concurrency.get().saturating_mul(16).min(1_024))
}
