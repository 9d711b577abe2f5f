//! The outbox and the ledger of what was carried out.

use std::time::Duration;

use rusqlite::Connection;

use super::SqliteStore;
use crate::ports::{
    DueRow, Ledger, Outbox, OutboxBacklog, RequestEnding, Reservation, StoreError, StoreFuture,
};

impl Outbox for SqliteStore {
    fn take_due(&self, _now: i64, _limit: u32, _lease: Duration) -> StoreFuture<'_, Vec<DueRow>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn published(&self, _rows: Vec<i64>, _now: i64, _patience: Duration) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn given_back(&self, _rows: Vec<i64>) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn backlog(&self, _now: i64) -> StoreFuture<'_, OutboxBacklog> {
        Box::pin(async { Ok(OutboxBacklog::default()) })
    }
}

impl Ledger for SqliteStore {
    fn reserve<'a>(
        &'a self,
        _id: &'a str,
        _owner: &'a str,
        _now: i64,
        _lease: Duration,
    ) -> StoreFuture<'a, Reservation> {
        Box::pin(async { Ok(Reservation::Ours { attempt: 1 }) })
    }

    fn defer<'a>(
        &'a self,
        _id: &'a str,
        _now: i64,
        _not_before: i64,
        _reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn attempt_failed<'a>(&'a self, _id: &'a str, _now: i64, _reply: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Closes a request's row.
pub(super) fn close(
    _connection: &Connection,
    _id: &str,
    _ending: RequestEnding,
    _reply: &str,
    _time: i64,
) -> Result<(), StoreError> {
    Ok(())
}
