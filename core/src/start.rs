//! Where a group starts in a partition: a pure function of what the store, Kafka and the log say.

use std::fmt;

use crate::record::{Offset, OffsetRange};

/// Decides where a group starts in a partition whose log holds `log` (`from` is its first offset, `to` the one
/// that the next record will get).
///
/// # Errors
///
/// Refuses where going on would pass records silently, or where the store and the log do not belong
/// together: a person has to say what is meant.
pub fn start(known: Known, log: OffsetRange, policy: StartPolicy) -> Result<Start, StartRefusal> {
    let position = match known {
        Known::Store { row: Some(row), .. } => row,
        Known::Kafka { commit: Some(commit) } => commit,
        Known::Store { row: None, commit: Some(commit) } => match policy.adopt {
            Adopt::Kafka => commit,
            Adopt::Refuse => return Err(StartRefusal::UnknownGroup { commit }),
        },
        Known::Store { row: None, commit: None } | Known::Kafka { commit: None } => {
            return Ok(Start::at(match policy.new_group {
                NewGroup::Earliest => log.from,
                NewGroup::Latest => log.to,
            }));
        }
    };
    if position > log.to {
        return Err(StartRefusal::BeyondEnd { position, end: log.to });
    }
    if position >= log.from {
        return Ok(Start::at(position));
    }
    let removed = OffsetRange { from: position, to: log.from };
    match policy.on_gap {
        OnGap::Continue => Ok(Start { next: log.from, removed: Some(removed) }),
        OnGap::Stop => Err(StartRefusal::Removed(removed)),
    }
}

/// What is known of a group's position in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The group has no effects in the store: Kafka's commit is all there is.
    Kafka {
        /// Kafka's commit.
        commit: Option<Offset>,
    },
    /// The group has its effects in the store, whose row decides.
    Store {
        /// The next offset by the store.
        row: Option<Offset>,
        /// Kafka's commit.
        commit: Option<Offset>,
    },
}

/// What the configuration says for the cases in which there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartPolicy {
    /// When records were removed before the group had them. Default: stop.
    pub on_gap: OnGap,
    /// When the group is new. Default: earliest.
    pub new_group: NewGroup,
    /// When the store does not know a group that Kafka knows. Default: refuse.
    pub adopt: Adopt,
}

/// What to do when the log's start has passed the group's position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// Go on at the log's start; the removed range is reported.
    Continue,
    /// Do not start.
    #[default]
    Stop,
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewGroup {
    /// At the log's start.
    #[default]
    Earliest,
    /// At the log's end.
    Latest,
}

/// What to do with a group that Kafka knows and the store does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adopt {
    /// Go on at Kafka's commit.
    Kafka,
    /// Do not start.
    #[default]
    Refuse,
}

/// Where a group starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The next offset to read.
    pub next: Offset,
    /// Offsets that were removed from the log before the group read them.
    pub removed: Option<OffsetRange>,
}

impl Start {
    const fn at(next: Offset) -> Self {
        Self { next, removed: None }
    }
}

/// Why a group does not start in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRefusal {
    /// The position lies beyond the log's end.
    BeyondEnd {
        /// The position.
        position: Offset,
        /// The log's end.
        end: Offset,
    },
    /// The offsets between the position and the log's start were removed.
    Removed(OffsetRange),
    /// Kafka has a commit of the group, the store has no row.
    UnknownGroup {
        /// Kafka's commit.
        commit: Offset,
    },
}

impl fmt::Display for StartRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeyondEnd { position, end } => write!(
                f,
                "the group's position {position} lies beyond the log's end {end}: the topic was made anew, or \
                 this store belongs to another cluster; connect the right store, or move the stopped group \
                 with `postroom group seek`"
            ),
            Self::Removed(OffsetRange { from, to }) => write!(
                f,
                "offsets {from} to {} were removed from the log before the group read them: set \
                 `on_gap = \"continue\"` to go on at {to} without them",
                Offset(to.0.saturating_sub(1))
            ),
            Self::UnknownGroup { commit } => write!(
                f,
                "the store does not know this group, but Kafka has its commit at {commit}: connect the store \
                 that the group used before, or set `store.adopt = true` to go on at {commit} with this one"
            ),
        }
    }
}

impl std::error::Error for StartRefusal {}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: OffsetRange = OffsetRange { from: Offset(10), to: Offset(20) };
    const STRICT: StartPolicy =
        StartPolicy { on_gap: OnGap::Stop, new_group: NewGroup::Earliest, adopt: Adopt::Refuse };

    fn row(at: i64, commit: i64) -> Known {
        Known::Store { row: Some(Offset(at)), commit: Some(Offset(commit)) }
    }

    #[test]
    fn the_row_decides_wherever_kafka_stands() {
        for at in [10, 15, 20] {
            for commit in [0, 12, 99] {
                assert_eq!(start(row(at, commit), LOG, STRICT), Ok(Start::at(Offset(at))));
            }
        }
    }

    #[test]
    fn a_row_below_the_log_names_what_was_removed() {
        let removed = OffsetRange { from: Offset(7), to: Offset(10) };

        let refusal = start(row(7, 15), LOG, STRICT);
        let going_on = start(row(7, 15), LOG, StartPolicy { on_gap: OnGap::Continue, ..STRICT });

        assert_eq!(refusal, Err(StartRefusal::Removed(removed)));
        assert_eq!(going_on, Ok(Start { next: Offset(10), removed: Some(removed) }));
        assert!(StartRefusal::Removed(removed).to_string().contains("offsets 7 to 9 were removed"));
    }

    #[test]
    fn a_row_beyond_the_log_is_refused_under_every_policy() {
        let lenient =
            StartPolicy { on_gap: OnGap::Continue, new_group: NewGroup::Latest, adopt: Adopt::Kafka };
        let refusal = Err(StartRefusal::BeyondEnd { position: Offset(21), end: Offset(20) });

        assert_eq!(start(row(21, 15), LOG, STRICT), refusal);
        assert_eq!(start(row(21, 15), LOG, lenient), refusal);
    }

    #[test]
    fn a_new_group_begins_where_it_is_told() {
        let latest = StartPolicy { new_group: NewGroup::Latest, ..STRICT };

        for known in [Known::Store { row: None, commit: None }, Known::Kafka { commit: None }] {
            assert_eq!(start(known, LOG, STRICT), Ok(Start::at(Offset(10))));
            assert_eq!(start(known, LOG, latest), Ok(Start::at(Offset(20))));
        }
    }

    #[test]
    fn a_group_that_only_kafka_knows_is_adopted_on_request_and_within_the_log() {
        let adopt = StartPolicy { adopt: Adopt::Kafka, ..STRICT };
        let known = |commit| Known::Store { row: None, commit: Some(Offset(commit)) };

        assert_eq!(start(known(15), LOG, STRICT), Err(StartRefusal::UnknownGroup { commit: Offset(15) }));
        assert_eq!(start(known(15), LOG, adopt), Ok(Start::at(Offset(15))));
        assert!(matches!(start(known(5), LOG, adopt), Err(StartRefusal::Removed(_))));
        assert!(matches!(start(known(25), LOG, adopt), Err(StartRefusal::BeyondEnd { .. })));
    }

    #[test]
    fn a_group_without_effects_in_the_store_follows_kafka_by_the_same_rules() {
        let known = |commit| Known::Kafka { commit: Some(Offset(commit)) };

        assert_eq!(start(known(15), LOG, STRICT), Ok(Start::at(Offset(15))));
        assert!(matches!(start(known(5), LOG, STRICT), Err(StartRefusal::Removed(_))));
        assert!(matches!(start(known(25), LOG, STRICT), Err(StartRefusal::BeyondEnd { .. })));
    }
}
