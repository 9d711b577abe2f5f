//! What a run's records were, for the counters.

/// How a record was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Ok,
    Deferred,
    Skipped,
    Duplicate,
}

/// Finished records by event type and outcome. A run rarely has more than one row: that one needs no allocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    first: Option<Row>,
    rest: Vec<Row>,
}

/// How many records of a type were finished in one way.
pub(crate) type Row = (&'static str, Finish, u64);

/// The label of events that a group does not know.
pub(crate) const OTHER: &str = "other";

impl Tally {
    /// A tally of one record.
    pub(crate) fn one(event_type: &'static str, finish: Finish) -> Self {
        Self { first: Some((event_type, finish, 1)), rest: Vec::new() }
    }

    /// Counts one more.
    pub(crate) fn add(&mut self, event_type: &'static str, finish: Finish) {
        self.count((event_type, finish, 1));
    }

    /// Takes in another tally.
    pub(crate) fn merge(&mut self, other: &Self) {
        for row in other.rows() {
            self.count(*row);
        }
    }

    /// Returns the rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.first.iter().chain(&self.rest)
    }

    fn count(&mut self, (event_type, finish, count): Row) {
        let Some(first) = &mut self.first else {
            self.first = Some((event_type, finish, count));
            return;
        };
        let known = std::iter::once(first)
            .chain(&mut self.rest)
            .find(|(name, kind, _)| *name == event_type && *kind == finish);
        match known {
            Some((_, _, sum)) => *sum += count,
            None => self.rest.push((event_type, finish, count)),
        }
    }
}
