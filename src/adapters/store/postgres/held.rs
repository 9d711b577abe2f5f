//! Rows of a table that a unit changes: loaded and locked together, changed in memory, saved together.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::error::Trouble;
use super::pipe::Value;
use crate::adapters::store::life::{Life, State};
use crate::ports::StoreError;

/// Rows by id, as they were and as they are to be.
pub(super) struct Held<R> {
    rows: BTreeMap<String, Slot<R>>,
}

struct Slot<R> {
    is_there: bool,
    is_changed: bool,
    row: Option<R>,
}

impl<R> Held<R> {
    /// Of these ids; nothing is loaded yet.
    pub(super) fn of<'a>(ids: impl Iterator<Item = &'a str>) -> Self {
        let slot = |id: &str| (id.to_owned(), Slot { is_there: false, is_changed: false, row: None });
        Self { rows: ids.map(slot).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the ids as a parameter, in their order.
    pub(super) fn ids<'v>(&self) -> Value<'v> {
        Box::new(self.rows.keys().cloned().collect::<Vec<String>>())
    }

    /// Takes rows that were loaded; their id comes first.
    pub(super) fn fill(
        &mut self,
        rows: Vec<Row>,
        read: impl Fn(&Row) -> Result<R, Trouble>,
    ) -> Result<(), Trouble> {
        for row in rows {
            let slot = Slot { is_there: true, is_changed: false, row: Some(read(&row)?) };
            self.rows.insert(row.try_get(0)?, slot);
        }
        Ok(())
    }

    /// Changes a row, or the stub that stands for one that is not there. `None` leaves it as it is. Returns it as it
    /// was and as it is, where it changed.
    pub(super) fn change(
        &mut self,
        id: &str,
        stub: impl FnOnce() -> R,
        after: impl FnOnce(&R) -> Option<R>,
    ) -> Option<(R, &R)> {
        let slot = self.rows.get_mut(id)?;
        let old = slot.row.take().unwrap_or_else(stub);
        match after(&old) {
            Some(new) => {
                slot.is_changed = true;
                Some((old, slot.row.insert(new)))
            }
            None => {
                // A stub that nothing came of is not a row.
                slot.row = (slot.is_there || slot.is_changed).then_some(old);
                None
            }
        }
    }

    /// Rows that are new.
    pub(super) fn made(&self) -> Vec<(&str, &R)> {
        self.of_kind(false)
    }

    /// Rows that were there and changed.
    pub(super) fn changed(&self) -> Vec<(&str, &R)> {
        self.of_kind(true)
    }

    fn of_kind(&self, is_there: bool) -> Vec<(&str, &R)> {
        let wanted = |slot: &&Slot<R>| slot.is_changed && slot.is_there == is_there;
        let rows = self.rows.iter().filter(|(_, slot)| wanted(slot));
        rows.filter_map(|(id, slot)| Some((id.as_str(), slot.row.as_ref()?))).collect()
    }

    /// Returns the rows as they are now.
    pub(super) fn into_rows(self) -> BTreeMap<String, R> {
        self.rows.into_iter().filter_map(|(id, slot)| Some((id, slot.row?))).collect()
    }
}

/// Reads the columns `state, since, created_by`, which come second.
pub(super) fn life(row: &Row) -> Result<Life, Trouble> {
    Ok(Life { state: state(row, 1)?, since: row.try_get(2)?, created_by: row.try_get(3)? })
}

/// Reads a state.
pub(super) fn state(row: &Row, column: usize) -> Result<State, Trouble> {
    let code = row.try_get(column)?;
    let unfit = || StoreError::Unusable(format!("the tables hold a state {code} that is not known"));
    Ok(State::of_code(code).ok_or_else(unfit)?)
}
