//! Numbers, times and verdicts in plain words.

use crate::telemetry::{GroupState, GroupStatus, PartitionStatus, Verdict};

/// How something stands out on the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tone {
    /// Nothing to see.
    #[default]
    Quiet,
    /// All is well.
    Good,
    /// It is at work.
    Busy,
    /// Somebody should look.
    Bad,
}

/// Says what a group is doing, in one sentence.
pub(crate) fn of_group(group: &GroupStatus) -> (Tone, String) {
    if let Some(halted) = &group.halted {
        return (Tone::Bad, format!("stopped: {halted}"));
    }
    match group.state {
        GroupState::Stopped => return (Tone::Quiet, "stopped".to_owned()),
        GroupState::Draining => return (Tone::Busy, "shutting down".to_owned()),
        GroupState::Joining => return (Tone::Busy, "joining its group".to_owned()),
        GroupState::Running => {}
    }
    if !group.store_reachable {
        return (Tone::Bad, "the store does not answer".to_owned());
    }
    if group.partitions.is_empty() {
        return (Tone::Quiet, "no partitions here: others hold them".to_owned());
    }
    let worst = group.partitions.iter().max_by_key(|one| (rank(&one.verdict), one.lag));
    worst.map_or_else(Default::default, |worst| of_partition(worst, group.lag()))
}

/// Says what to think of a partition; `behind` is the lag that goes with the words.
fn of_partition(partition: &PartitionStatus, behind: i64) -> (Tone, String) {
    let place = || format!("{}/{}", partition.topic, partition.partition);
    match &partition.verdict {
        Verdict::CaughtUp => (Tone::Good, "caught up".to_owned()),
        Verdict::BrokersAway => (Tone::Bad, "no Kafka broker answers".to_owned()),
        Verdict::Unknown => (Tone::Busy, "looking".to_owned()),
        Verdict::CatchingUp { eta: Some(eta) } => {
            (Tone::Busy, format!("{} behind, caught up in {}", events(behind), span_words(*eta)))
        }
        Verdict::CatchingUp { eta: None } => (Tone::Busy, format!("{} behind, catching up", events(behind))),
        Verdict::FallingBehind { rate } => {
            (Tone::Bad, format!("{} behind and falling back by {rate:.0} a second", events(behind)))
        }
        Verdict::Paused { cause } => (Tone::Busy, format!("{} is paused ({cause})", place())),
        Verdict::Rewound => (Tone::Bad, format!("{} was set back", place())),
        Verdict::Stalled { seconds } => {
            (Tone::Bad, format!("{} behind, and no progress for {}", events(behind), span_words(*seconds)))
        }
        Verdict::WaitingOn { dependency } => {
            (Tone::Bad, format!("{} behind: {dependency} is away and waited for", events(behind)))
        }
        Verdict::Blocked { head } => {
            let next =
                head.next_in.map_or_else(String::new, |next| format!(", again in {}", span_words(next)));
            let offset = head.offset;
            (
                Tone::Bad,
                format!(
                    "{}/{offset} keeps failing (attempt {}{next}): {}",
                    place(),
                    head.attempt,
                    head.error
                ),
            )
        }
    }
}

fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::BrokersAway => 9,
        Verdict::Blocked { .. } => 8,
        Verdict::WaitingOn { .. } => 7,
        Verdict::Stalled { .. } => 6,
        Verdict::Rewound => 5,
        Verdict::FallingBehind { .. } => 4,
        Verdict::Paused { .. } => 3,
        Verdict::CatchingUp { .. } => 2,
        Verdict::Unknown => 1,
        Verdict::CaughtUp => 0,
    }
}

fn events(count: i64) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{} events", grouped(count)) }
}

/// Writes a number with its digits in groups.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("−{text}") } else { text }
}

/// Writes a span of seconds as a person would say it.
pub(crate) fn span_words(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => "a moment".to_owned(),
        seconds if seconds < 90.0 => format!("{seconds:.0} s"),
        seconds if seconds < 5_400.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 129_600.0 => format!("{:.0} h", seconds / 3_600.0),
        seconds => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// Says how long before or after `now` a time lies; both in milliseconds since the Unix epoch.
pub(crate) fn from_now(now: i64, time: i64) -> String {
    let seconds = std::time::Duration::from_millis(now.abs_diff(time)).as_secs_f64();
    match (seconds < 1.0, time > now) {
        (true, _) => "now".to_owned(),
        (false, true) => format!("in {}", span_words(seconds)),
        (false, false) => format!("{} ago", span_words(seconds)),
    }
}

/// Writes a time as RFC 3339, to the millisecond.
pub(crate) fn rfc3339(time: i64) -> String {
    jiff::Timestamp::from_millisecond(time).map_or_else(|_| "–".to_owned(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Head;

    fn partition(verdict: Verdict) -> PartitionStatus {
        PartitionStatus { topic: "t".to_owned(), verdict, lag: Some(3), ..PartitionStatus::default() }
    }

    fn group(verdicts: impl IntoIterator<Item = Verdict>) -> GroupStatus {
        GroupStatus {
            state: GroupState::Running,
            store_reachable: true,
            partitions: verdicts.into_iter().map(partition).collect(),
            ..GroupStatus::default()
        }
    }

    #[test]
    fn the_worst_partition_speaks_for_its_group() {
        let head = Head { offset: 7, attempt: 3, next_in: Some(4.0), error: "refused".to_owned() };
        let group = group([Verdict::CaughtUp, Verdict::Blocked { head }, Verdict::CatchingUp { eta: None }]);

        let (tone, words) = of_group(&group);

        assert_eq!(tone, Tone::Bad);
        assert_eq!(words, "t/0/7 keeps failing (attempt 3, again in 4 s): refused");
    }

    #[test]
    fn a_group_that_waits_says_for_what() {
        let group = group([Verdict::WaitingOn { dependency: "smtp".to_owned() }]);

        assert_eq!(of_group(&group).1, "3 events behind: smtp is away and waited for");
    }

    #[test]
    fn numbers_and_spans_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(-999), "−999");
        assert_eq!(from_now(10_000, 4_000), "6 s ago");
        assert_eq!(from_now(10_000, 610_000), "in 10 min");
        assert_eq!(from_now(10_000, 10_200), "now");
    }
}
