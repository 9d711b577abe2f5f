//! How a row answers to what happened to its object: one rule for posts, comments and people, for every engine.
//!
//! Among the events of one object in its own topic the order of offsets decides. Source times are compared where
//! that order says nothing: for what came before the object was first created, and for events that arrive out of
//! order. A removal wins a tie.

use crate::ports::{Arrival, Origin};

/// What a row knows of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// Where it stands.
    pub(crate) state: State,
    /// The source time of the event that decided so, in milliseconds.
    pub(crate) since: i64,
    /// The event that created it last: a repeat of it changes nothing.
    pub(crate) created_by: Option<String>,
}

/// Where an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Others point to it, or changes to it came first; its creation is still to come.
    Stub,
    /// Created and not removed.
    Alive,
    /// Created and removed.
    Removed,
    /// Removed before its creation came.
    Absent,
}

impl Life {
    /// Returns the life of an object that was never heard of.
    pub(crate) fn stub() -> Self {
        Self { state: State::Stub, since: i64::MIN, created_by: None }
    }

    /// Returns the life after a creation; `None` where it is a repeat or out of date.
    pub(crate) fn created(&self, origin: &Origin) -> Option<Self> {
        let event = origin.event.as_str();
        let alive = Self { state: State::Alive, since: origin.time, created_by: Some(event.to_owned()) };
        match self.state {
            State::Stub => Some(alive),
            State::Absent if origin.time > self.since => Some(alive),
            State::Absent => Some(Self { state: State::Removed, since: self.since, ..alive }),
            State::Alive | State::Removed => {
                let repeat = self.created_by.as_deref() == Some(event);
                let later = origin.arrival == Arrival::InOrder || origin.time > self.since;
                (later && !repeat).then_some(alive)
            }
        }
    }

    /// Returns the life after a removal; `None` where it is out of date.
    pub(crate) fn removed(&self, origin: &Origin) -> Option<Self> {
        let (state, since) = match self.state {
            State::Stub => (State::Absent, origin.time),
            State::Absent => (State::Absent, self.since.max(origin.time)),
            State::Alive if origin.arrival == Arrival::InOrder || origin.time >= self.since => {
                (State::Removed, origin.time)
            }
            State::Alive => return None,
            State::Removed => (State::Removed, self.since.max(origin.time)),
        };
        Some(Self { state, since, created_by: self.created_by.clone() })
    }

    /// Says what an update of an object does to its fields, which were last written at `content`.
    pub(crate) fn updated(&self, origin: &Origin, content: i64) -> Writes {
        let newer = origin.time >= content;
        let writes = match self.state {
            State::Stub => newer,
            State::Alive => origin.arrival == Arrival::InOrder || newer,
            State::Removed | State::Absent => false,
        };
        if writes { Writes::New } else { Writes::Nothing }
    }

    /// Says what a creation that was accepted does to the fields, which were last written at `content`.
    pub(crate) fn filled(&self, origin: &Origin, content: i64) -> Writes {
        match self.state {
            State::Stub if content > origin.time => Writes::Gaps,
            State::Stub | State::Absent | State::Alive | State::Removed => Writes::New,
        }
    }

    /// Says whether it counts.
    pub(crate) fn is_alive(&self) -> bool {
        self.state == State::Alive
    }
}

/// What an event does to the fields of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// What it says is newer than what is there.
    New,
    /// What is there is newer: only empty fields are filled.
    Gaps,
    /// It is out of date.
    Nothing,
}

impl State {
    /// Returns the number that stands in the table.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Stub => 0,
            Self::Alive => 1,
            Self::Removed => 2,
            Self::Absent => 3,
        }
    }

    /// Reads the number that stands in the table.
    pub(crate) const fn of_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Stub),
            1 => Some(Self::Alive),
            2 => Some(Self::Removed),
            3 => Some(Self::Absent),
            _ => None,
        }
    }

    /// Returns the word for people and dumps.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Stub => "stub",
            Self::Alive => "alive",
            Self::Removed => "removed",
            Self::Absent => "absent",
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::event::EventId;

    fn at(event: &str, time: i64, arrival: Arrival) -> Origin {
        Origin { event: EventId::parse(event).unwrap(), time, arrival }
    }

    fn live(event: &str, time: i64) -> Origin {
        at(event, time, Arrival::InOrder)
    }

    fn late(event: &str, time: i64) -> Origin {
        at(event, time, Arrival::OutOfOrder)
    }

    #[test]
    fn created_again_after_its_removal_is_alive_whatever_the_clock_said() {
        let life = Life::stub().created(&live("a", 10)).unwrap().removed(&live("b", 20)).unwrap();

        let again = life.created(&live("c", 10)).unwrap();

        assert_eq!(again.state, State::Alive);
    }

    #[test]
    fn repeat_of_a_creation_does_not_revive() {
        let life = Life::stub().created(&live("a", 10)).unwrap().removed(&live("b", 20)).unwrap();

        assert_eq!(life.created(&live("a", 10)), None);
    }

    #[test]
    fn removal_that_came_first_wins_over_an_older_creation_and_over_an_equal_one() {
        let life = Life::stub().removed(&live("b", 20)).unwrap();

        assert_eq!(life.created(&live("a", 20)).unwrap().state, State::Removed);
        assert_eq!(life.created(&live("a", 10)).unwrap().state, State::Removed);
        assert_eq!(life.created(&live("a", 21)).unwrap().state, State::Alive);
    }

    #[test]
    fn replayed_events_are_judged_by_their_time() {
        let life = Life::stub().created(&live("a", 10)).unwrap();
        let gone = life.removed(&live("b", 20)).unwrap();

        assert_eq!(life.removed(&late("c", 9)), None);
        assert_eq!(life.removed(&late("c", 10)).unwrap().state, State::Removed);
        assert_eq!(gone.created(&late("d", 20)), None);
        assert_eq!(gone.created(&late("d", 21)).unwrap().state, State::Alive);
    }

    #[test]
    fn update_before_the_creation_is_held_and_fills_what_the_creation_says_later() {
        let stub = Life::stub();

        assert_eq!(stub.updated(&live("u", 20), i64::MIN), Writes::New);
        assert_eq!(stub.filled(&live("a", 10), 20), Writes::Gaps);
        assert_eq!(stub.filled(&live("a", 30), 20), Writes::New);
    }

    #[test]
    fn update_after_the_removal_changes_nothing() {
        let gone = Life::stub().created(&live("a", 10)).unwrap().removed(&live("b", 20)).unwrap();

        assert_eq!(gone.updated(&live("u", 30), 10), Writes::Nothing);
    }

    #[test]
    fn every_state_survives_its_code() {
        for state in [State::Stub, State::Alive, State::Removed, State::Absent] {
            assert_eq!(State::of_code(state.code()), Some(state));
        }
    }
}
