//! The names of what can be wrong.

use std::fmt;

use crate::record::Moment;
use crate::simulation::history::Process;

/// A way in which a history breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anomaly {
    /// A record was passed over, and its effect is nowhere (S1).
    LostEffect,
    /// An effect, or a handler's call, for a record that was never produced or never delivered (S14, S15).
    PhantomEffect,
    /// An effect happened again without an excuse; in the store: at all (S7, S9).
    DuplicateEffect,
    /// A record was begun before an earlier one of its key was finished (S5, S6).
    OrderInversion,
    /// Two runs of one lane were in flight at once (S5).
    TwoRunsInLane,
    /// A processor acted for an assignment that is over, fenced or not claimed (S8).
    StaleOwner,
    /// A handler was called for a record that its owner had finished or was told is finished.
    CalledAgain,
    /// A commit passed an unfinished record (S2).
    CommitAhead,
    /// A commit went back (S3).
    CommitRegress,
    /// A commit for an assignment that was lost, released or never there (S4).
    ForeignCommit,
    /// A commit passed a dead record before its acknowledgement (S12).
    DeadLetterUnacknowledged,
    /// A record ended as dead, and its dead letter is nowhere (S11).
    DeadLetterMissing,
    /// A dead letter differs from its record, or names another reason than its failure (S11).
    DeadLetterAltered,
    /// A record is both applied in the store and dead.
    FinalStateChanged,
    /// A record had more attempts than its budget, or ended before it was spent (B3).
    BudgetExceeded,
    /// A retry came before its moment, or was put off beyond the cap (B3).
    RetryMistimed,
    /// More runs in flight than the concurrency.
    TooManyRuns,
    /// What was received is not what was finished and what was left (O1).
    UnaccountedRecord,
    /// Nothing moved although every fault was over (L1, L6).
    StuckPartition,
    /// Released while something was in flight.
    ReleasedInFlight,
    /// Not released although the deadline had passed (B2).
    DeadlinePassed,
    /// A run of a lost partition was not abandoned.
    NotAbandoned,
    /// A processor's own invariants do not hold.
    UnsoundState,
    /// Ticks left a deadline in the past.
    BusyLoop,
}

impl Anomaly {
    /// All anomalies.
    pub const ALL: [Self; 24] = [
        Self::LostEffect,
        Self::PhantomEffect,
        Self::DuplicateEffect,
        Self::OrderInversion,
        Self::TwoRunsInLane,
        Self::StaleOwner,
        Self::CalledAgain,
        Self::CommitAhead,
        Self::CommitRegress,
        Self::ForeignCommit,
        Self::DeadLetterUnacknowledged,
        Self::DeadLetterMissing,
        Self::DeadLetterAltered,
        Self::FinalStateChanged,
        Self::BudgetExceeded,
        Self::RetryMistimed,
        Self::TooManyRuns,
        Self::UnaccountedRecord,
        Self::StuckPartition,
        Self::ReleasedInFlight,
        Self::DeadlinePassed,
        Self::NotAbandoned,
        Self::UnsoundState,
        Self::BusyLoop,
    ];
}

/// One anomaly in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which anomaly.
    pub anomaly: Anomaly,
    /// When it shows.
    pub at: Moment,
    /// Whose doing it is.
    pub process: Process,
    /// One sentence: what is wrong.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.since_start().as_secs_f64();
        write!(f, "{:?} at {at:.6}s in p{}: {}", self.anomaly, self.process.0, self.detail)
    }
}
