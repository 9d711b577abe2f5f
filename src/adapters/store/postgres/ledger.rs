//! The ledger: who may carry a request out, how often it was tried, and whether it is done.
//!
//! Whoever reserves, ends or closes a request holds its row of the ledger first, then its row of the outbox.

use std::time::Duration;

use deadpool_postgres::Transaction;

use super::error::Trouble;
use super::queue::{self, Reopen, execute};
use super::{PostgresStore, in_transaction, outbox};
use crate::adapters::store::requests::{Deferral, PARKED, capped, parked, unknown_to_outbox};
use crate::event::time;
use crate::ports::{IfUnknown, Ledger, RequestEnding, Reservation, StoreFuture};

impl Ledger for PostgresStore {
    fn reserve_with<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        lease: Duration,
        if_unknown: IfUnknown,
    ) -> StoreFuture<'a, Reservation> {
        let until = now.saturating_add(time::millis(lease));
        Box::pin(async move { in_transaction!(self, tx => reserve(&tx, id, owner, now, until, if_unknown)) })
    }

    fn defer<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        not_before: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move { in_transaction!(self, tx => defer(&tx, id, owner, now, not_before, reply)) })
    }

    fn attempt_failed<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move { in_transaction!(self, tx => end_attempt(&tx, id, Some(owner), reply, now)) })
    }

    fn done<'a>(&'a self, id: &'a str, now: i64, reply: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            in_transaction!(self, tx => outbox::close(&tx, id, RequestEnding::Done, reply, now))?;
            self.inner.made_way.notify_one();
            Ok(())
        })
    }

    fn died<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            in_transaction!(self, tx => queue::end_request(&tx, id, RequestEnding::Dead, why, now))?;
            self.inner.made_way.notify_one();
            Ok(())
        })
    }
}

async fn reserve(
    tx: &Transaction<'_>,
    id: &str,
    owner: &str,
    now: i64,
    until: i64,
    if_unknown: IfUnknown,
) -> Result<Reservation, Trouble> {
    let mut entry = entry(tx, id).await?;
    if entry.as_ref().is_some_and(|entry| entry.done) {
        return Ok(Reservation::Done);
    }
    if let Some(wanted) = queue::wanted(tx, id).await? {
        if wanted.is_withdrawn {
            return Ok(Reservation::Withdrawn);
        }
        if let Some(why) = wanted.why {
            queue::end(tx, wanted.row, RequestEnding::Withdrawn, why, now).await?;
            return Ok(Reservation::Withdrawn);
        }
    }
    if entry.is_none() {
        // Of those who come first together one makes the row; the others wait, and find it.
        execute(tx, FIRST, &[&id, &now]).await?;
        entry = self::entry(tx, id).await?;
        if entry.as_ref().is_some_and(|entry| entry.done) {
            return Ok(Reservation::Done);
        }
    }
    let attempts = entry.as_ref().map_or(0, |entry| entry.attempts);
    let held = entry.and_then(|entry| entry.held);
    match &held {
        Some((other, until)) if other != owner && *until > now => {
            return Ok(Reservation::Held { until: *until });
        }
        Some((by, _)) if if_unknown == IfUnknown::Leave => {
            return Ok(Reservation::Unknown { attempt: number(attempts), by: by.clone() });
        }
        Some(_) | None => {}
    }
    let begin = tx.prepare_cached(BEGIN).await?;
    let attempt: i64 = tx.query_one(&begin, &[&id, &owner, &until, &now]).await?.try_get(0)?;
    let attempt = number(attempt);
    // Whoever held it never said how it ended.
    Ok(match held {
        Some((by, _)) => Reservation::Unknown { attempt, by },
        None => Reservation::Ours { attempt },
    })
}

fn number(attempts: i64) -> u32 {
    u32::try_from(attempts).unwrap_or(u32::MAX)
}

struct Entry {
    done: bool,
    attempts: i64,
    held: Option<(String, i64)>,
}

/// Reads a row and holds it until the transaction ends.
async fn entry(tx: &Transaction<'_>, id: &str) -> Result<Option<Entry>, Trouble> {
    let statement = tx.prepare_cached(ENTRY).await?;
    let Some(row) = tx.query_opt(&statement, &[&id]).await? else { return Ok(None) };
    let held = row.try_get::<_, Option<String>>(1)?.zip(row.try_get(2)?);
    Ok(Some(Entry { done: row.try_get(0)?, attempts: row.try_get(3)?, held }))
}

async fn defer(
    tx: &Transaction<'_>,
    id: &str,
    owner: &str,
    now: i64,
    not_before: i64,
    reply: &str,
) -> Result<(), Trouble> {
    let held = entry(tx, id).await?.and_then(|entry| entry.held);
    if !queue::knows(tx, id).await? {
        return Err(unknown_to_outbox(id).into());
    }
    match Deferral::of(held.as_ref(), owner) {
        Deferral::Ours => {
            end_attempt(tx, id, Some(owner), reply, now).await?;
            queue::put_back(tx, id, not_before, reply, Reopen::Yes).await
        }
        Deferral::Nobodys => queue::put_back(tx, id, not_before, reply, Reopen::No).await,
        Deferral::Others => Ok(()),
        Deferral::Parked => Err(parked(id).into()),
    }
}

/// The running attempt is over, and nobody holds the request any more; of an owner where one is named.
pub(super) async fn end_attempt(
    tx: &Transaction<'_>,
    id: &str,
    owner: Option<&str>,
    reply: &str,
    now: i64,
) -> Result<(), Trouble> {
    execute(tx, END_ATTEMPT, &[&id, &now, &capped(reply), &owner]).await?;
    execute(tx, RELEASE, &[&id, &now, &owner]).await.map(drop)
}

/// The running attempt is over, and nobody knows what became of it: whoever comes next need not wait, and is told so. It
/// stays written whose attempt it was.
pub(super) async fn leave_unknown(
    tx: &Transaction<'_>,
    id: &str,
    reply: &str,
    now: i64,
) -> Result<(), Trouble> {
    execute(tx, END_ATTEMPT, &[&id, &now, &capped(reply), &None::<&str>]).await?;
    execute(tx, LEAVE_UNKNOWN, &[&id, &now, &PARKED]).await.map(drop)
}

/// The other side has it: nobody will carry it out again.
pub(super) async fn done(tx: &Transaction<'_>, id: &str, now: i64) -> Result<(), Trouble> {
    execute(tx, DONE, &[&id, &now]).await.map(drop)
}

const FIRST: &str = "INSERT INTO ledger (request, attempts, done, changed_at) VALUES ($1, 0, false, $2)
    ON CONFLICT (request) DO NOTHING";

const ENTRY: &str = "SELECT done, owner, held_until, attempts FROM ledger WHERE request = $1 FOR UPDATE";

const BEGIN: &str = "WITH begun AS (
        UPDATE ledger SET attempts = attempts + 1, owner = $2, held_until = $3, changed_at = $4 WHERE request = $1
        RETURNING request, attempts),
    written AS (
        INSERT INTO request_attempts (request, attempt, began_at) SELECT request, attempts, $4 FROM begun
        ON CONFLICT DO NOTHING)
    SELECT attempts FROM begun";

const END_ATTEMPT: &str = "WITH held AS (
        SELECT request, attempts FROM ledger WHERE request = $1 AND owner = coalesce($4, owner) FOR UPDATE)
    UPDATE request_attempts a SET ended_at = $2, reply = $3 FROM held
    WHERE a.request = held.request AND a.attempt = held.attempts AND a.ended_at IS NULL";

const RELEASE: &str = "UPDATE ledger SET owner = NULL, held_until = NULL, changed_at = $2
    WHERE request = $1 AND owner = coalesce($3, owner)";

const LEAVE_UNKNOWN: &str = "UPDATE ledger SET held_until = $3, changed_at = $2
    WHERE request = $1 AND owner IS NOT NULL";

const DONE: &str = "INSERT INTO ledger AS l (request, attempts, done, changed_at) VALUES ($1, 0, true, $2)
    ON CONFLICT (request) DO UPDATE SET done = true, changed_at = excluded.changed_at";
