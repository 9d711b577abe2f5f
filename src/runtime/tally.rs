//! What a run's records were, for the counters.

/// How a record was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Ok,
    Skipped,
    Duplicate,
}

/// Finished records by event type and outcome: a handful of rows a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    rows: Vec<(&'static str, Finish, u64)>,
}

/// The label of events that a group does not know.
pub(crate) const OTHER: &str = "other";

impl Tally {
    /// A tally of one record.
    pub(crate) fn one(event_type: &'static str, finish: Finish) -> Self {
        Self { rows: vec![(event_type, finish, 1)] }
    }

    /// Counts one more.
    pub(crate) fn add(&mut self, event_type: &'static str, finish: Finish) {
        for (name, kind, count) in &mut self.rows {
            if *name == event_type && *kind == finish {
                *count += 1;
                return;
            }
        }
        self.rows.push((event_type, finish, 1));
    }

    /// Takes in another tally.
    pub(crate) fn merge(&mut self, other: Self) {
        for (name, finish, count) in other.rows {
            match self.rows.iter_mut().find(|row| row.0 == name && row.1 == finish) {
                Some(row) => row.2 += count,
                None => self.rows.push((name, finish, count)),
            }
        }
    }

    /// Returns the rows.
    pub(crate) fn rows(&self) -> &[(&'static str, Finish, u64)] {
        &self.rows
    }
}
