//! What a seed decides before anything happens: the group's settings, the world's size and its troubles.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::history::RowPolicy;
use super::nemesis::Fault;
use super::random::Random;
use crate::bugs::Bug;
use crate::record::Moment;
use crate::settings::{Claims, Flood, Ordering, Pressure, Retry, Settings};

/// The plan of one history.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) protocol: Protocol,
    pub(super) acceptance: Acceptance,
    pub(super) rows: RowPolicy,
    pub(super) partitions: usize,
    pub(super) slots: usize,
    /// Records of each partition.
    pub(super) records: usize,
    /// Of those, how many are in the log at the start.
    pub(super) backlog: usize,
    pub(super) keys: u32,
    /// How long a member may be silent.
    pub(super) session: Duration,
    /// How long a rebalance waits for its members.
    pub(super) join_limit: Duration,
    /// How long a revoke or a shutdown waits for what is in flight.
    pub(super) drain: Duration,
    /// The handlers' own deadline.
    pub(super) handler_limit: Duration,
    pub(super) fetch: u32,
    pub(super) rates: Rates,
    pub(super) faults: Vec<Fault>,
    pub(super) fault_gap: Duration,
    /// When the nemesis stops.
    pub(super) calm_at: Moment,
}

/// How partitions move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Everything is given back at each rebalance.
    Eager,
    /// Only what moves is given back.
    Cooperative,
}

/// Which commits the broker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acceptance {
    /// Those of a current member and generation, of any partition, as Kafka does.
    OfMembers,
    /// Any, as librdkafka's mock cluster does.
    OfAnybody,
}

/// How often things go wrong by themselves, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) commit_fails: u32,
    pub(super) commit_reply_lost: u32,
    pub(super) dead_letter_refused: u32,
    pub(super) dead_letter_reply_lost: u32,
    pub(super) dead_letter_late: u32,
    pub(super) store_reply_lost: u32,
    pub(super) claim_late: u32,
    pub(super) whole_run_fails: u32,
    pub(super) stray_tick: u32,
    /// How many records have a script other than success.
    pub(super) difficult: u32,
}

impl Plan {
    /// Draws the plan of `seed`.
    pub(super) fn draw(seed: u64, bug: Option<Bug>) -> (Self, Random) {
        let mut random = Random::new(seed);
        let settings = settings(&mut random, bug);
        let partitions = random.size(1, 4);
        let records = random.size(4, 30);
        let session = random.millis(800, 3_000);
        let (rates, faults) = troubles(&mut random);
        let mut plan = Self {
            settings,
            protocol: random.pick(&[Protocol::Eager, Protocol::Cooperative]),
            acceptance: if random.chance(200) { Acceptance::OfAnybody } else { Acceptance::OfMembers },
            rows: if random.chance(150) { RowPolicy::StayBehind } else { RowPolicy::Follow },
            partitions,
            slots: random.size(1, 3),
            records,
            backlog: random.index(records + 1),
            keys: random.count(1, 6),
            session,
            join_limit: random.millis(1_500, 4_000),
            drain: random.millis(20, 1_200),
            handler_limit: random.millis(300, 2_000),
            fetch: random.count(1, 16),
            rates,
            fault_gap: random.millis(50, 1_500),
            calm_at: Moment::after_start(if faults.is_empty() {
                random.millis(500, 2_000)
            } else {
                random.millis(2_000, 12_000)
            }),
            faults,
        };
        if plan.rows == RowPolicy::StayBehind {
            // Every restart would meet, and count, the same dead records again.
            plan.settings.flood.minimum = u32::MAX;
        }
        (plan, random)
    }
}

fn settings(random: &mut Random, bug: Option<Bug>) -> Settings {
    let from_store = random.chance(400);
    let ordering = if from_store {
        Ordering::Partition
    } else {
        random.pick(&[Ordering::Key, Ordering::Key, Ordering::Partition, Ordering::Unordered])
    };
    let batch = if ordering == Ordering::Partition { random.size(1, 12) } else { 1 };
    Settings {
        ordering,
        batch: NonZeroUsize::new(batch).unwrap_or(NonZeroUsize::MIN),
        concurrency: NonZeroUsize::new(random.size(1, 6)).unwrap_or(NonZeroUsize::MIN),
        claims: if from_store { Claims::FromStore } else { Claims::AtOnce },
        retry: Retry {
            max_attempts: NonZeroU32::new(random.count(1, 6)).unwrap_or(NonZeroU32::MIN),
            base: random.millis(5, 200),
            cap: random.millis(200, 3_000),
            side_queue: random.size(1, 24),
        },
        pressure: Pressure {
            ahead: random.size(1, 256),
            partition_records: random.size(2, 64),
            total_bytes: if random.chance(300) { random.size(500, 5_000) } else { usize::MAX / 2 },
        },
        flood: Flood {
            minimum: if random.chance(50) { random.count(2, 6) } else { 10_000 },
            percent: 50,
            window: random.millis(500, 4_000),
        },
        commit_interval: random.millis(20, 1_000),
        seed: random.bits(),
        bug,
    }
}

/// One history in eight is calm: there, nothing may be repeated at all.
fn troubles(random: &mut Random) -> (Rates, Vec<Fault>) {
    let difficult = random.pick(&[0, 100, 250, 500]);
    if random.chance(125) {
        return (Rates { difficult, ..Rates::default() }, Vec::new());
    }
    let mut rate = |choices: &[u32]| random.pick(choices);
    let rates = Rates {
        commit_fails: rate(&[0, 30, 200]),
        commit_reply_lost: rate(&[0, 30, 200]),
        dead_letter_refused: rate(&[0, 100, 400]),
        dead_letter_reply_lost: rate(&[0, 50, 200]),
        dead_letter_late: rate(&[0, 100, 400]),
        store_reply_lost: rate(&[0, 50, 200]),
        claim_late: rate(&[0, 100, 400]),
        whole_run_fails: rate(&[0, 20, 100]),
        stray_tick: rate(&[0, 20, 100]),
        difficult,
    };
    let kinds = random.size(1, 5);
    let faults = (0..kinds).map(|_| random.pick(&Fault::ALL)).collect();
    (rates, faults)
}
