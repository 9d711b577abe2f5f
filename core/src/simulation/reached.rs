//! Which faults, classes and windows a run met: a nemesis that reached nothing proves nothing.

use std::fmt;

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Something that a simulation can meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $($(#[$doc])* $name,)+
        }

        impl Point {
            /// All points.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the name, as it stands in the summary.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            const fn index(self) -> usize {
                let mut index = 0;
                $(
                    if matches!(self, Self::$name) {
                        return index;
                    }
                    index += 1;
                )+
                index
            }
        }
    };
}

points! {
    /// A process was killed.
    Crash = "fault: crash",
    /// A process stood still, shorter than its session.
    Freeze = "fault: freeze within the session",
    /// A process stood still beyond its session and woke.
    Zombie = "fault: freeze beyond the session",
    /// A process was asked to stop.
    Leave = "fault: graceful stop",
    /// A process started again.
    Restart = "fault: restart",
    /// The coordinator expelled a living member.
    Expel = "fault: member expelled",
    /// A rebalance with full revocation.
    EagerRebalance = "fault: eager rebalance",
    /// A rebalance by increments.
    CooperativeRebalance = "fault: cooperative rebalance",
    /// A rebalance ended without members that did not come back in time.
    JoinTooLate = "fault: rejoin too late",
    /// Partitions were lost.
    Lost = "fault: partitions lost",
    /// A revoke had runs to wait for.
    RevokedInFlight = "fault: revoke with runs in flight",
    /// A run was abandoned.
    Abandoned = "fault: run abandoned",
    /// An abandoned run reported all the same.
    AbandonedReported = "fault: abandoned run reports",
    /// An input of a generation that is over arrived.
    StaleInput = "fault: input of an old generation",
    /// A commit was refused because the member is not current.
    CommitStale = "fault: commit of a stale member refused",
    /// A commit of a stale member was taken.
    CommitStaleTaken = "fault: commit of a stale member taken",
    /// A commit failed.
    CommitFailed = "fault: commit failed",
    /// A commit was taken, its reply lost.
    CommitReplyLost = "fault: commit reply lost",
    /// Commit metadata was erased.
    HintErased = "fault: finished ranges erased",
    /// Commit metadata was damaged.
    HintDamaged = "fault: finished ranges damaged",
    /// Finished ranges were handed to a new owner.
    HintUsed = "finished ranges handed on",
    /// The dead-letter topic refused.
    DeadLetterRefused = "fault: dead letter refused",
    /// The dead-letter topic took a record, its acknowledgement was lost.
    DeadLetterReplyLost = "fault: dead letter acknowledgement lost",
    /// The dead-letter topic acknowledged late.
    DeadLetterLate = "fault: dead letter acknowledged late",
    /// The store was away.
    StoreAway = "fault: store away",
    /// A transaction's reply was lost.
    StoreReplyLost = "fault: store reply lost",
    /// A transaction whose reply was lost was found done.
    StoreFoundDone = "store: found done after a lost reply",
    /// A claim failed.
    ClaimFailed = "fault: claim failed",
    /// A claim landed late.
    ClaimLate = "fault: claim late",
    /// A transaction found a foreign epoch.
    Fenced = "fault: fenced",
    /// A fenced owner was still the owner.
    Verified = "fault: fenced but still ours",
    /// A claim moved the fetch position.
    Seek = "seek after a claim",
    /// A dependency was away.
    Outage = "class: outage",
    /// A transient failure.
    Transient = "class: transient",
    /// A handler ran into its deadline.
    HandlerDeadline = "class: transient by deadline",
    /// The other side named a time.
    RetryAfter = "class: transient with retry-after",
    /// A record was refused.
    Dead = "class: dead",
    /// A failure that no attempt can cure.
    Fatal = "class: fatal",
    /// The core stopped the group because of too many dead letters.
    Flood = "dead-letter flood",
    /// A run of several records failed as a whole.
    WholeRunFailed = "whole run failed",
    /// A run stopped in its middle.
    MidRunFailure = "failure in the middle of a run",
    /// A report said more than was attempted.
    BeyondFailure = "outcomes beyond the failure",
    /// A report said less than was dispatched.
    ShortReport = "outcomes missing",
    /// A handler's effect happened, but it reported a failure.
    EffectThenError = "effect, then error",
    /// A rule passed over a record.
    Skipped = "outcome: skipped",
    /// A record was stored for later.
    Deferred = "outcome: deferred",
    /// A record used up its attempts.
    Exhausted = "attempts exhausted",
    /// Fetching was paused.
    Paused = "paused",
    /// Records arrived after a pause.
    RecordsWhilePaused = "records after a pause",
    /// A circuit opened.
    CircuitOpened = "circuit opened",
    /// A tick came early or twice.
    StrayTick = "stray tick",
    /// W1, killed.
    CrashFetched = "W1 fetched: crash",
    /// W2, killed.
    CrashBeforeHandler = "W2 before handler: crash",
    /// W3, killed.
    CrashBeforeEffect = "W3 before effect: crash",
    /// W4, killed.
    CrashAfterEffect = "W4 after effect: crash",
    /// W5, killed.
    CrashBeforeTransaction = "W5 before COMMIT: crash",
    /// W6, killed.
    CrashInTransaction = "W6 COMMIT sent: crash",
    /// W7, killed.
    CrashAfterTransaction = "W7 COMMIT read: crash",
    /// W8, killed.
    CrashBeforeCommit = "W8 completed, not committed: crash",
    /// W9, killed.
    CrashInCommit = "W9 commit sent: crash",
    /// W10, killed.
    CrashInRevoke = "W10 revoke begun: crash",
    /// W11, killed.
    CrashDrained = "W11 drained: crash",
    /// W12, killed.
    CrashAssigned = "W12 assigned: crash",
    /// W13, killed.
    CrashDeadLetterSent = "W13 dead letter sent: crash",
    /// W14, killed.
    CrashDeadLettered = "W14 dead letter acknowledged: crash",
    /// W20, killed.
    CrashInDrain = "W20 shutdown drain: crash",
    /// W23, killed.
    CrashInClaim = "W23 claim sent: crash",
    /// W1, frozen.
    FreezeFetched = "W1 fetched: freeze",
    /// W2, frozen.
    FreezeBeforeHandler = "W2 before handler: freeze",
    /// W3, frozen.
    FreezeBeforeEffect = "W3 before effect: freeze",
    /// W4, frozen.
    FreezeAfterEffect = "W4 after effect: freeze",
    /// W5, frozen.
    FreezeBeforeTransaction = "W5 before COMMIT: freeze",
    /// W6, frozen.
    FreezeInTransaction = "W6 COMMIT sent: freeze",
    /// W7, frozen.
    FreezeAfterTransaction = "W7 COMMIT read: freeze",
    /// W8, frozen.
    FreezeBeforeCommit = "W8 completed, not committed: freeze",
    /// W9, frozen.
    FreezeInCommit = "W9 commit sent: freeze",
    /// W10, frozen.
    FreezeInRevoke = "W10 revoke begun: freeze",
    /// W11, frozen.
    FreezeDrained = "W11 drained: freeze",
    /// W12, frozen.
    FreezeAssigned = "W12 assigned: freeze",
    /// W13, frozen.
    FreezeDeadLetterSent = "W13 dead letter sent: freeze",
    /// W14, frozen.
    FreezeDeadLettered = "W14 dead letter acknowledged: freeze",
    /// W20, frozen.
    FreezeInDrain = "W20 shutdown drain: freeze",
    /// W23, frozen.
    FreezeInClaim = "W23 claim sent: freeze",
}

/// How often each point was met.
#[derive(Clone, Debug)]
pub struct Reached(Vec<u64>);

impl Default for Reached {
    fn default() -> Self {
        Self(vec![0; Point::ALL.len()])
    }
}

impl Reached {
    /// Counts one meeting.
    pub(super) fn note(&mut self, point: Point) {
        self.0[point.index()] += 1;
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// Returns how often `point` was met.
    pub fn count(&self, point: Point) -> u64 {
        self.0[point.index()]
    }

    /// Returns the points that were never met.
    pub fn missed(&self) -> Vec<Point> {
        Point::ALL.iter().copied().filter(|point| self.count(*point) == 0).collect()
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for point in Point::ALL {
            writeln!(f, "  {:>12}  {}", self.count(*point), point.name())?;
        }
        Ok(())
    }
}
