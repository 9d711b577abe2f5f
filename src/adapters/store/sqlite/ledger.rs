//! The ledger: who may carry a request out, how often it was tried, and whether it is done.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::SqliteStore;
use super::error::ours;
use super::{outbox, queue};
use crate::adapters::store::requests::{Deferral, PARKED, capped, parked, unknown_to_outbox};
use crate::event::time;
use crate::ports::{IfUnknown, Ledger, RequestEnding, Reservation, StoreError, StoreFuture};

impl Ledger for SqliteStore {
    fn reserve_with<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        lease: Duration,
        if_unknown: IfUnknown,
    ) -> StoreFuture<'a, Reservation> {
        let (id, owner) = (id.to_owned(), owner.to_owned());
        let until = now.saturating_add(time::millis(lease));
        Box::pin(self.write(move |connection| reserve(connection, &id, &owner, now, until, if_unknown)))
    }

    fn defer<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        not_before: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        let (id, owner, reply) = (id.to_owned(), owner.to_owned(), reply.to_owned());
        Box::pin(self.write(move |connection| {
            let row = queue::row_of(connection, &id)?.ok_or_else(|| unknown_to_outbox(&id))?;
            let held = entry(connection, &id)?.and_then(|entry| entry.held);
            match Deferral::of(held.as_ref(), &owner) {
                Deferral::Ours => {
                    end_attempt(connection, &id, Some(&owner), &reply, now)?;
                    queue::put_back(connection, row, not_before, &reply)
                }
                Deferral::Nobodys if queue::is_closed(connection, row)? => Ok(()),
                Deferral::Nobodys => queue::put_back(connection, row, not_before, &reply),
                Deferral::Others => Ok(()),
                Deferral::Parked => Err(parked(&id)),
            }
        }))
    }

    fn attempt_failed<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        let (id, owner, reply) = (id.to_owned(), owner.to_owned(), reply.to_owned());
        Box::pin(self.write(move |connection| end_attempt(connection, &id, Some(&owner), &reply, now)))
    }

    fn done<'a>(&'a self, id: &'a str, now: i64, reply: &'a str) -> StoreFuture<'a, ()> {
        let (id, reply) = (id.to_owned(), reply.to_owned());
        Box::pin(async move {
            self.write(move |connection| outbox::close(connection, &id, RequestEnding::Done, &reply, now))
                .await?;
            self.inner.made_way.notify_one();
            Ok(())
        })
    }

    fn died<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()> {
        let (id, why) = (id.to_owned(), why.to_owned());
        Box::pin(async move {
            self.write(move |connection| match queue::row_of(connection, &id)? {
                Some(row) => queue::end(connection, row, RequestEnding::Dead, &why, now),
                None => Ok(()),
            })
            .await?;
            self.inner.made_way.notify_one();
            Ok(())
        })
    }
}

fn reserve(
    connection: &Connection,
    id: &str,
    owner: &str,
    now: i64,
    until: i64,
    if_unknown: IfUnknown,
) -> Result<Reservation, StoreError> {
    let entry = entry(connection, id)?;
    let attempts = entry.as_ref().map_or(0, |entry| entry.attempts);
    if entry.as_ref().is_some_and(|entry| entry.done) {
        return Ok(Reservation::Done);
    }
    if let Some(row) = queue::row_of(connection, id)? {
        if is_withdrawn(connection, row)? {
            return Ok(Reservation::Withdrawn);
        }
        if let Some(why) = queue::withdrawn(connection, row)? {
            queue::end(connection, row, RequestEnding::Withdrawn, why, now)?;
            return Ok(Reservation::Withdrawn);
        }
    }
    let held = entry.and_then(|entry| entry.held);
    match &held {
        Some((other, until)) if other != owner && *until > now => {
            return Ok(Reservation::Held { until: *until });
        }
        Some((by, _)) if if_unknown == IfUnknown::Leave => {
            return Ok(Reservation::Unknown { attempt: attempts, by: by.clone() });
        }
        Some(_) | None => {}
    }
    let attempt: u32 = connection
        .prepare_cached(
            "INSERT INTO ledger (request, attempts, owner, held_until, done, changed_at) VALUES (?1, 1, ?2, ?3, 0, ?4)
             ON CONFLICT DO UPDATE SET attempts = attempts + 1, owner = excluded.owner,
                 held_until = excluded.held_until, changed_at = excluded.changed_at
             RETURNING attempts",
        )
        .and_then(|mut statement| statement.query_row(params![id, owner, until, now], |row| row.get(0)))
        .map_err(ours)?;
    execute(
        connection,
        "INSERT INTO request_attempts (request, attempt, began_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![id, attempt, now],
    )?;
    // Whoever held it never said how it ended.
    Ok(match held {
        Some((by, _)) => Reservation::Unknown { attempt, by },
        None => Reservation::Ours { attempt },
    })
}

struct Entry {
    done: bool,
    attempts: u32,
    held: Option<(String, i64)>,
}

fn entry(connection: &Connection, id: &str) -> Result<Option<Entry>, StoreError> {
    connection
        .prepare_cached("SELECT done, owner, held_until, attempts FROM ledger WHERE request = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([id], |row| {
                    let held = row.get::<_, Option<String>>(1)?.zip(row.get(2)?);
                    Ok(Entry { done: row.get(0)?, attempts: row.get(3)?, held })
                })
                .optional()
        })
        .map_err(ours)
}

fn is_withdrawn(connection: &Connection, row: i64) -> Result<bool, StoreError> {
    connection
        .prepare_cached("SELECT ending IS 1 FROM requests WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([row], |row| row.get(0)))
        .map_err(ours)
}

/// The running attempt is over, and nobody holds the request any more; of an owner where one is named.
pub(super) fn end_attempt(
    connection: &Connection,
    id: &str,
    owner: Option<&str>,
    reply: &str,
    now: i64,
) -> Result<(), StoreError> {
    note_end(connection, id, owner, reply, now)?;
    execute(
        connection,
        "UPDATE ledger SET owner = NULL, held_until = NULL, changed_at = ?2
         WHERE request = ?1 AND owner = coalesce(?3, owner)",
        params![id, now, owner],
    )
}

/// The running attempt is over, and nobody knows what became of it: whoever comes next need not wait, and is told so. It
/// stays written whose attempt it was.
pub(super) fn leave_unknown(
    connection: &Connection,
    id: &str,
    reply: &str,
    now: i64,
) -> Result<(), StoreError> {
    note_end(connection, id, None, reply, now)?;
    execute(
        connection,
        "UPDATE ledger SET held_until = ?3, changed_at = ?2 WHERE request = ?1 AND owner IS NOT NULL",
        params![id, now, PARKED],
    )
}

fn note_end(
    connection: &Connection,
    id: &str,
    owner: Option<&str>,
    reply: &str,
    now: i64,
) -> Result<(), StoreError> {
    execute(
        connection,
        "UPDATE request_attempts SET ended_at = ?2, reply = ?3 WHERE request = ?1 AND ended_at IS NULL
         AND attempt = (SELECT attempts FROM ledger WHERE request = ?1 AND owner = coalesce(?4, owner))",
        params![id, now, capped(reply), owner],
    )
}

/// The other side has it: nobody will carry it out again.
pub(super) fn done(connection: &Connection, id: &str, now: i64) -> Result<(), StoreError> {
    execute(
        connection,
        "INSERT INTO ledger (request, attempts, done, changed_at) VALUES (?1, 0, 1, ?2)
         ON CONFLICT DO UPDATE SET done = 1, changed_at = excluded.changed_at",
        params![id, now],
    )
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map(drop).map_err(ours)
}
