//! Deliberate bugs: each is a mistake that a consumer somewhere has made. The simulation must catch every one.

/// A mistake to put into the core. Without the feature `simulation` nothing can switch one on.
#[cfg_attr(not(feature = "simulation"), expect(unreachable_pub, reason = "public with the feature only"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// Completions that name an old generation or an abandoned run count.
    ActForOldGeneration,
    /// Outcomes after the first failure of a run count as done.
    ApplyBeyondFailure,
    /// Every attempt counts as the first: the budget is never spent.
    AttemptsForgotten,
    /// Partitions that were lost are committed all the same.
    CommitAfterLost,
    /// A commit may name an offset below an earlier one.
    CommitBackwards,
    /// Commits the highest finished offset instead of the lowest unfinished one.
    CommitTooFar,
    /// Dispatches before the claim is answered.
    DispatchWhileClaiming,
    /// Drops records that arrive after a pause was asked for.
    DropOnPause,
    /// A lane is not looked at again after its record waited for a retry.
    ForgetLane,
    /// The finished set of the commit metadata is taken for the watermark.
    FinishedHintAsWatermark,
    /// Goes on after the store fenced the partition.
    IgnoreFence,
    /// An unacknowledged dead letter finishes its record.
    PassBeforeDeadLetterAck,
    /// Releases a revoked partition while its runs are in flight.
    ReleaseWhileInFlight,
    /// A failed batch is dispatched again as a whole, for ever.
    RetryBatchAsWhole,
    /// Records behind a waiting one of the same key are dispatched.
    RetryOutOfOrder,
    /// What is unfinished when a drain ends counts as finished.
    SkipOnDrain,
    /// A lane may have two runs in flight.
    TwoRunsOfALane,
}

#[cfg(feature = "simulation")]
impl Bug {
    /// All deliberate bugs.
    pub const ALL: [Self; 17] = [
        Self::ActForOldGeneration,
        Self::ApplyBeyondFailure,
        Self::AttemptsForgotten,
        Self::CommitAfterLost,
        Self::CommitBackwards,
        Self::CommitTooFar,
        Self::DispatchWhileClaiming,
        Self::DropOnPause,
        Self::ForgetLane,
        Self::FinishedHintAsWatermark,
        Self::IgnoreFence,
        Self::PassBeforeDeadLetterAck,
        Self::ReleaseWhileInFlight,
        Self::RetryBatchAsWhole,
        Self::RetryOutOfOrder,
        Self::SkipOnDrain,
        Self::TwoRunsOfALane,
    ];
}
