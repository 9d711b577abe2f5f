//! Verdicts instead of thresholds: what to think of a partition, judged from a window of what it did.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::telemetry::status::{Head, PartitionReport};

/// What to think of a partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Verdict {
    /// Its head record keeps failing.
    Blocked {
        /// The record.
        head: Head,
    },
    /// No broker answers: what is in the log is not known.
    BrokersAway,
    /// It has work, and more is done than comes in.
    CatchingUp {
        /// In how many seconds it will have caught up, where that can be said.
        eta: Option<f64>,
    },
    /// Nothing is unfinished.
    CaughtUp,
    /// More comes in than is done.
    FallingBehind {
        /// By how many records a second.
        rate: f64,
    },
    /// It is not fetched.
    Paused {
        /// Why.
        cause: String,
    },
    /// Its committed offset went back.
    Rewound,
    /// It has work and does none of it.
    Stalled {
        /// For how many seconds.
        seconds: f64,
    },
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// A dependency is away.
    WaitingOn {
        /// Which.
        dependency: String,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked { head } => {
                write!(f, "blocked (offset {}, attempt {}", head.offset, head.attempt)?;
                if let Some(next) = head.next_in {
                    write!(f, ", next in {}", rounded(next))?;
                }
                write!(f, ", {})", head.error)
            }
            Self::BrokersAway => f.write_str("waiting-on kafka (no broker answers)"),
            Self::CatchingUp { eta: Some(eta) } => write!(f, "catching-up (ETA {})", rounded(*eta)),
            Self::CatchingUp { eta: None } => f.write_str("catching-up"),
            Self::CaughtUp => f.write_str("caught-up"),
            Self::FallingBehind { rate } => write!(f, "falling-behind (+{rate:.0}/s)"),
            Self::Paused { cause } => write!(f, "paused ({cause})"),
            Self::Rewound => f.write_str("rewound"),
            Self::Stalled { seconds } => write!(f, "stalled (for {})", rounded(*seconds)),
            Self::Unknown => f.write_str("unknown"),
            Self::WaitingOn { dependency } => write!(f, "waiting-on {dependency} (circuit open)"),
        }
    }
}

/// Where a partition stood at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Seconds on any clock that does not go back.
    pub(crate) at: f64,
    pub(crate) position: i64,
    pub(crate) end: i64,
}

/// Judges from the samples, oldest first, of which the last is the present.
pub(crate) fn judge(report: &PartitionReport, samples: &[Sample], waiting_on: &[String]) -> Verdict {
    let Some(lag) = report.lag() else { return Verdict::Unknown };
    if lag == 0 {
        return Verdict::CaughtUp;
    }
    let (Some(oldest), Some(newest)) = (samples.first(), samples.last()) else { return Verdict::Unknown };
    if let Some(dependency) = waiting_on.first() {
        return Verdict::WaitingOn { dependency: dependency.clone() };
    }
    if let Some(head) = &report.head {
        return Verdict::Blocked { head: head.clone() };
    }
    if let Some(cause) = report.paused.as_ref().filter(|cause| *cause != "backpressure") {
        return Verdict::Paused { cause: cause.clone() };
    }
    if newest.position < oldest.position {
        return Verdict::Rewound;
    }
    by_rates(lag, samples, oldest, newest)
}

fn by_rates(lag: i64, samples: &[Sample], oldest: &Sample, newest: &Sample) -> Verdict {
    let seconds = newest.at - oldest.at;
    if seconds < SHORTEST_WINDOW {
        return Verdict::CatchingUp { eta: None };
    }
    if newest.position == oldest.position {
        // While there was nothing to do it did not stand still.
        let since =
            samples.iter().find(|sample| sample.end > sample.position).map_or(newest.at, |first| first.at);
        let seconds = newest.at - since;
        return if seconds < SHORTEST_STALL {
            Verdict::CatchingUp { eta: None }
        } else {
            Verdict::Stalled { seconds }
        };
    }
    let done = float(newest.position.saturating_sub(oldest.position)) / seconds;
    let came = float(newest.end.saturating_sub(oldest.end)) / seconds;
    if done > came {
        Verdict::CatchingUp { eta: Some(float(lag) / (done - came)) }
    } else {
        Verdict::FallingBehind { rate: came - done }
    }
}

/// Exact up to 2⁵³, beyond which a verdict does not need the last digits.
fn float(count: i64) -> f64 {
    let high = i32::try_from(count >> 31).unwrap_or(i32::MAX);
    let low = u32::try_from(count & 0x7fff_ffff).unwrap_or(u32::MAX);
    f64::from(high).mul_add(2_147_483_648.0, f64::from(low))
}

fn rounded(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

/// How much must have been seen before rates mean anything, in seconds.
const SHORTEST_WINDOW: f64 = 3.0;

/// How long nothing must have been done of what there is to do, in seconds, before something is wrong: a group that
/// begins reads, claims and looks up first.
const SHORTEST_STALL: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_has_just_come_is_no_stall_however_long_nothing_came() {
        let idle = [sample(0.0, 10, 10), sample(25.0, 10, 10)];
        let fresh = [idle[0], idle[1], sample(26.0, 10, 12), sample(29.0, 10, 12)];
        let old = [idle[0], sample(5.0, 10, 12), sample(29.0, 10, 12)];

        assert_eq!(judge(&report(10, 12), &fresh, &[]), Verdict::CatchingUp { eta: None });
        assert_eq!(judge(&report(10, 12), &old, &[]), Verdict::Stalled { seconds: 24.0 });
    }

    fn report(position: i64, end: i64) -> PartitionReport {
        PartitionReport { position: Some(position), end: Some(end), ..PartitionReport::default() }
    }

    fn sample(at: f64, position: i64, end: i64) -> Sample {
        Sample { at, position, end }
    }

    #[test]
    fn nothing_unfinished_is_caught_up_even_while_a_dependency_is_away() {
        let verdict = judge(&report(10, 10), &[sample(0.0, 10, 10)], &["db".to_owned()]);

        assert_eq!(verdict, Verdict::CaughtUp);
    }

    #[test]
    fn an_empty_log_is_caught_up_before_any_position_is_known() {
        let empty = PartitionReport { end: Some(0), ..PartitionReport::default() };
        let unread = PartitionReport { end: Some(5), ..PartitionReport::default() };

        assert_eq!(judge(&empty, &[], &[]), Verdict::CaughtUp);
        assert_eq!(judge(&unread, &[], &[]), Verdict::Unknown);
    }

    #[test]
    fn the_time_to_catch_up_is_lag_by_the_difference_of_rates() {
        let verdict = judge(&report(200, 400), &[sample(0.0, 100, 350), sample(10.0, 200, 400)], &[]);

        assert_eq!(verdict, Verdict::CatchingUp { eta: Some(40.0) });
        assert_eq!(verdict.to_string(), "catching-up (ETA 40 s)");
    }

    #[test]
    fn more_coming_than_done_is_falling_behind() {
        let verdict = judge(&report(110, 400), &[sample(0.0, 100, 200), sample(10.0, 110, 400)], &[]);

        assert_eq!(verdict.to_string(), "falling-behind (+19/s)");
    }

    #[test]
    fn a_failing_head_blocks() {
        let head =
            Head { offset: 7, attempt: 3, next_in: Some(4.0), error: "mailbox unavailable".to_owned() };
        let blocked = PartitionReport { head: Some(head), ..report(7, 20) };

        let verdict = judge(&blocked, &[sample(0.0, 7, 20)], &[]);

        assert_eq!(verdict.to_string(), "blocked (offset 7, attempt 3, next in 4 s, mailbox unavailable)");
    }

    #[test]
    fn work_without_progress_is_a_stall() {
        let verdict = judge(&report(100, 400), &[sample(0.0, 100, 400), sample(30.0, 100, 400)], &[]);

        assert_eq!(verdict, Verdict::Stalled { seconds: 30.0 });
    }

    #[test]
    fn a_position_that_went_back_is_named() {
        let verdict = judge(&report(90, 400), &[sample(0.0, 100, 400), sample(5.0, 90, 400)], &[]);

        assert_eq!(verdict, Verdict::Rewound);
    }

    #[test]
    fn large_offsets_become_floats_without_loss() {
        assert!((float(9_007_199_254_740_991) - 9_007_199_254_740_991.0).abs() < f64::EPSILON);
        assert!((float(-5) + 5.0).abs() < f64::EPSILON);
    }
}
