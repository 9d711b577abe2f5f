//! The store: one row a partition, and transactions that must find it as they expect.

use crate::record::Offset;

/// The rows of a group.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) rows: Vec<Row>,
}

/// The row of one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    pub(super) epoch: u64,
    pub(super) next: Option<Offset>,
}

/// A transaction's `UPDATE … WHERE epoch = mine AND next_offset = expected`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) epoch: u64,
    pub(super) expected: Option<Offset>,
    pub(super) next: Offset,
}

/// How the update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// The row was as expected: everything is durable.
    One,
    /// It was not: nothing changed.
    Zero,
}

impl Store {
    /// Makes empty rows.
    pub(super) fn new(partitions: usize) -> Self {
        Self { rows: vec![Row::default(); partitions] }
    }

    /// Raises the epoch of a partition and returns its row: one upsert.
    pub(super) fn claim(&mut self, place: usize) -> Row {
        let row = &mut self.rows[place];
        row.epoch += 1;
        *row
    }

    /// Applies a move, or nothing.
    pub(super) fn apply(&mut self, place: usize, wanted: Move) -> Rows {
        let row = &mut self.rows[place];
        if row.epoch != wanted.epoch || row.next != wanted.expected {
            return Rows::Zero;
        }
        row.next = Some(wanted.next);
        Rows::One
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_epoch_changes_zero_rows() {
        let mut store = Store::new(1);
        let old = store.claim(0);
        let new = store.claim(0);

        let late = store.apply(0, Move { epoch: old.epoch, expected: None, next: Offset(5) });
        let current = store.apply(0, Move { epoch: new.epoch, expected: None, next: Offset(3) });

        assert_eq!((late, current), (Rows::Zero, Rows::One));
        assert_eq!(store.rows[0].next, Some(Offset(3)));
    }

    #[test]
    fn a_position_that_is_not_expected_changes_zero_rows() {
        let mut store = Store::new(1);
        let row = store.claim(0);
        let wanted = Move { epoch: row.epoch, expected: None, next: Offset(3) };

        let both = (store.apply(0, wanted), store.apply(0, wanted));

        assert_eq!(both, (Rows::One, Rows::Zero));
    }
}
