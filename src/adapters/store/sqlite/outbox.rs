//! The outbox: which requests are due, and what a relay publishes of them.
//!
//! Of an addressee one row is the head; what is queued behind it is not looked at until the head is closed.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::error::ours;
use super::queue;
use super::{SqliteStore, ledger};
use crate::adapters::store::requests::{self, LOOK, LOST_AFTER, MOST_BYTES, MOST_OUT, State, size};
use crate::event::{MailRequested, WebhookRequested, time};
use crate::ports::{DueRow, Outbox, OutboxBacklog, Request, RequestEnding, StoreError, StoreFuture};

impl Outbox for SqliteStore {
    fn take_due(&self, now: i64, limit: u32, lease: Duration) -> StoreFuture<'_, Vec<DueRow>> {
        Box::pin(
            self.write(move |connection| {
                take(connection, now, limit, now.saturating_add(time::millis(lease)))
            }),
        )
    }

    fn published(&self, rows: Vec<i64>, now: i64, patience: Duration) -> StoreFuture<'_, ()> {
        let until = now.saturating_add(time::millis(patience));
        Box::pin(self.write(move |connection| {
            // One that was closed or deferred before we came here is no longer taken.
            let sql = "UPDATE requests SET state = 3, due = ?2 WHERE id = ?1 AND state = 2";
            rows.iter().try_for_each(|row| execute(connection, sql, params![row, until]).map(drop))
        }))
    }

    fn given_back(&self, rows: Vec<i64>, not_before: i64) -> StoreFuture<'_, ()> {
        Box::pin(self.write(move |connection| {
            // To the end of the line: what cannot be published now must not stand before what can.
            let sql = "UPDATE requests SET state = 1, due = max(not_before, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER))
                WHERE id = ?1 AND state = 2";
            rows.iter().try_for_each(|row| execute(connection, sql, params![row, not_before]).map(drop))
        }))
    }

    fn given_up(&self, row: i64, now: i64, why: &str) -> StoreFuture<'_, ()> {
        let why = why.to_owned();
        Box::pin(self.write(move |connection| queue::end(connection, row, RequestEnding::Dead, &why, now)))
    }

    fn made_way(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.inner.made_way.notified())
    }

    fn backlog(&self, now: i64) -> StoreFuture<'_, OutboxBacklog> {
        Box::pin(self.read(move |connection| backlog(connection, now)))
    }
}

/// Takes what is due of both kinds, one row an addressee, and no more than fits into memory at once. Neither kind
/// waits for the other.
fn take(connection: &Connection, now: i64, limit: u32, until: i64) -> Result<Vec<DueRow>, StoreError> {
    let mut taken = Vec::new();
    for (kind, most) in [(requests::WEBHOOK, limit.div_ceil(2)), (requests::MAIL, limit)] {
        let expired = "UPDATE requests SET state = 1, due = max(not_before, ?2) WHERE state = 2 AND kind = ?1 AND due <= ?2";
        execute(connection, expired, params![kind, now])?;
        lapse(connection, kind, now)?;
        ask_again(connection, kind, now)?;
        let room = MOST_OUT.saturating_sub(out(connection, kind)?);
        let most = most.min(room).saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        take_kind(connection, kind, now, most, until, &mut taken)?;
    }
    Ok(taken)
}

fn take_kind(
    connection: &Connection,
    kind: &str,
    now: i64,
    limit: u32,
    until: i64,
    taken: &mut Vec<DueRow>,
) -> Result<(), StoreError> {
    let (mut left, mut bytes, mut looks) = (limit, 0, LOOK.max(limit));
    // What is withdrawn makes room for what was queued behind it.
    while left > 0 && looks > 0 && bytes < MOST_BYTES {
        let due = due(connection, kind, now, left)?;
        if due.is_empty() {
            break;
        }
        for row in due {
            looks = looks.saturating_sub(1);
            let Some(request) = wanted(connection, row, now)? else { continue };
            execute(
                connection,
                "UPDATE requests SET state = 2, due = ?2 WHERE id = ?1",
                params![row, until],
            )?;
            left = left.saturating_sub(1);
            bytes += size(&request);
            taken.push(DueRow { row, request });
            if bytes >= MOST_BYTES {
                break;
            }
        }
    }
    Ok(())
}

/// Counts what is out of a kind, up to what may be.
fn out(connection: &Connection, kind: &str) -> Result<u32, StoreError> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM requests WHERE state IN (3, 5) AND kind = ?1 LIMIT ?2)",
        )
        .and_then(|mut statement| statement.query_row(params![kind, MOST_OUT], |row| row.get(0)))
        .map_err(ours)
}

/// Reads a row that is due. One that is no longer wanted is withdrawn, one without an address waits for it.
fn wanted(connection: &Connection, row: i64, now: i64) -> Result<Option<Request>, StoreError> {
    if let Some(why) = queue::withdrawn(connection, row)? {
        queue::end(connection, row, RequestEnding::Withdrawn, why, now)?;
        return Ok(None);
    }
    let request = request(connection, row)?;
    if request.is_none() {
        queue::park(connection, row, now)?;
    }
    Ok(request)
}

/// Rows that were out for too long are no longer heads.
fn lapse(connection: &Connection, kind: &str, now: i64) -> Result<(), StoreError> {
    let late = "SELECT id FROM requests WHERE state = 3 AND kind = ?1 AND due <= ?2 ORDER BY due LIMIT ?3";
    let rows = rows(connection, late, params![kind, now, LOOK])?;
    rows.into_iter().try_for_each(|row| queue::leave(connection, row, State::Lapsed, now))
}

/// Rows that have been out for a day and more without an end are published again: their records may be gone. The ledger
/// knows what was done all the same.
fn ask_again(connection: &Connection, kind: &str, now: i64) -> Result<(), StoreError> {
    let lost = "SELECT id FROM requests WHERE state = 5 AND kind = ?1 AND due <= ?2 ORDER BY due LIMIT ?3";
    let rows = rows(connection, lost, params![kind, now.saturating_sub(LOST_AFTER), LOOK])?;
    rows.into_iter()
        .try_for_each(|row| queue::put_back(connection, row, now, "no end was heard of: asked again"))
}

fn due(connection: &Connection, kind: &str, now: i64, limit: u32) -> Result<Vec<i64>, StoreError> {
    let due = "SELECT id FROM requests WHERE state = 1 AND kind = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3";
    rows(connection, due, params![kind, now, limit])
}

fn rows(connection: &Connection, sql: &str, values: impl Params) -> Result<Vec<i64>, StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_map(values, |row| row.get(0))?.collect())
        .map_err(ours)
}

/// Reads what a row asks for; `None` where what it needs is not there (yet).
fn request(connection: &Connection, row: i64) -> Result<Option<Request>, StoreError> {
    let kind: String = connection
        .prepare_cached("SELECT kind FROM requests WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([row], |row| row.get(0)))
        .map_err(ours)?;
    if kind == requests::MAIL {
        let mail = one(connection, MAIL, row, mail)?;
        return Ok(mail.map(|mail| Request::Mail(Box::new(mail))));
    }
    let webhook = one(connection, WEBHOOK, row, webhook)?;
    Ok(webhook.map(|webhook| Request::Webhook(Box::new(webhook))))
}

fn mail(row: &Row<'_>) -> rusqlite::Result<MailRequested> {
    Ok(MailRequested {
        event_id: row.get("request")?,
        blog: row.get("blog")?,
        recipient: row.get("recipient")?,
        address: row.get("address")?,
        name: row.get("name")?,
        locale: row.get::<_, Option<String>>("locale")?.unwrap_or_else(|| "en".to_owned()),
        reason: row.get("reason")?,
        source_event: row.get("event")?,
        post_id: row.get("post")?,
        post_title: row.get("title")?,
        post_slug: row.get("slug")?,
        comment_id: row.get("comment")?,
        author: row.get("author")?,
        author_name: row.get("author_name")?,
        format: row.get("format")?,
        text: row.get("text")?,
        occurred_at: row.get("time")?,
        requested_at: row.get("requested_at")?,
    })
}

fn webhook(row: &Row<'_>) -> rusqlite::Result<WebhookRequested> {
    Ok(WebhookRequested {
        event_id: row.get("request")?,
        blog: row.get("blog")?,
        endpoint: row.get("endpoint")?,
        source_event: row.get("event")?,
        source_type: row.get("type")?,
        body: row.get("body")?,
        occurred_at: row.get("time")?,
        requested_at: row.get("requested_at")?,
    })
}

fn backlog(connection: &Connection, now: i64) -> Result<OutboxBacklog, StoreError> {
    let read = || {
        let pending: i64 = connection
            .prepare_cached("SELECT count(*) FROM requests WHERE state < 6")?
            .query_row([], |row| row.get(0))?;
        let oldest_due = connection.prepare_cached(OLDEST)?.query_row([now], |row| row.get(0))?;
        let (deferred, next_due): (i64, _) =
            connection.prepare_cached(DEFERRED)?.query_row([now], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let count = |rows: i64| u64::try_from(rows).unwrap_or_default();
        Ok(OutboxBacklog { pending: count(pending), oldest_due, deferred: count(deferred), next_due })
    };
    read().map_err(ours)
}

/// Closes a request. What is done nobody holds any more; else it is whose attempt it was who says that it is over.
pub(super) fn close(
    connection: &Connection,
    id: &str,
    ending: RequestEnding,
    reply: &str,
    time: i64,
) -> Result<(), StoreError> {
    match ending {
        RequestEnding::Unknown => ledger::leave_unknown(connection, id, reply, time)?,
        RequestEnding::Dead | RequestEnding::Withdrawn => {}
        RequestEnding::Done => {
            ledger::end_attempt(connection, id, None, reply, time)?;
            ledger::done(connection, id, time)?;
        }
    }
    match queue::row_of(connection, id)? {
        Some(row) => queue::end(connection, row, ending, reply, time),
        None => Ok(()),
    }
}

fn one<V>(
    connection: &Connection,
    sql: &str,
    row: i64,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<V>,
) -> Result<Option<V>, StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([row], read).optional())
        .map_err(ours)
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<usize, StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(ours)
}

const MAIL: &str = "SELECT r.request, r.addressee AS recipient, r.reason, r.event, r.requested_at,
        c.email AS address, c.name, c.locale, m.blog, m.post, m.comment, m.author, m.time,
        coalesce(m.format, iif(m.comment IS NULL, t.format, NULL)) AS format,
        coalesce(m.text, iif(m.comment IS NULL, t.text, NULL)) AS text,
        t.title, t.slug, a.name AS author_name
    FROM requests r JOIN mail_sources m ON m.event = r.event JOIN contacts c ON c.id = r.addressee
        LEFT JOIN thread_posts t ON t.post = m.post LEFT JOIN contacts a ON a.id = m.author
    WHERE r.id = ?1 AND c.email IS NOT NULL";

const WEBHOOK: &str =
    "SELECT r.request, r.addressee AS endpoint, r.event, r.requested_at, f.blog, f.type, f.body, f.time
    FROM requests r JOIN webhook_fan_outs f ON f.event = r.event
    WHERE r.id = ?1";

const OLDEST: &str = "SELECT min(due) FROM (
    SELECT min(due) AS due FROM requests WHERE state = 1 AND kind = 'mail' AND due <= ?1
    UNION ALL SELECT min(due) FROM requests WHERE state = 1 AND kind = 'webhook' AND due <= ?1)";

const DEFERRED: &str =
    "SELECT count(*), min(due) FROM requests WHERE state = 1 AND kind IN ('mail', 'webhook') AND due > ?1";
