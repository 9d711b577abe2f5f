//! The life of a row of the outbox: queued, head of its addressee, closed.

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::error::ours;
use crate::adapters::store::requests::{MAIL, State, WEBHOOK, capped, ending_code, id, withdrawal};
use crate::ports::{RequestEnding, StoreError};

/// Adds a mail's row, unless it is there or its recipient is gone.
pub(super) fn add_mail(
    connection: &Connection,
    recipient: &str,
    reason: &str,
    subject: &str,
    event: &str,
) -> Result<(), StoreError> {
    let request = id([MAIL, reason, subject, recipient]);
    execute(connection, ADD_MAIL, params![request, recipient, reason, subject, event]).map(drop)
}

/// Adds a delivery's row, unless it is there.
pub(super) fn add_webhook(connection: &Connection, endpoint: &str, event: &str) -> Result<bool, StoreError> {
    let request = id([WEBHOOK, event, endpoint, ""]);
    Ok(execute(connection, ADD_WEBHOOK, params![request, endpoint, event])? > 0)
}

/// Returns the row of a request; `None` where the outbox does not know it.
pub(super) fn row_of(connection: &Connection, request: &str) -> Result<Option<i64>, StoreError> {
    connection
        .prepare_cached("SELECT id FROM requests WHERE request = ?1")
        .and_then(|mut statement| statement.query_row([request], |row| row.get(0)).optional())
        .map_err(ours)
}

/// Says whether a row has ended.
pub(super) fn is_closed(connection: &Connection, row: i64) -> Result<bool, StoreError> {
    connection
        .prepare_cached("SELECT ending IS NOT NULL FROM requests WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([row], |row| row.get(0)))
        .map_err(ours)
}

/// Says why a row is no longer wanted; `None` where it is.
pub(super) fn withdrawn(connection: &Connection, row: i64) -> Result<Option<&'static str>, StoreError> {
    let why: Option<i64> = connection
        .prepare_cached(WITHDRAWN)
        .and_then(|mut statement| statement.query_row([row], |row| row.get(0)).optional())
        .map_err(ours)?
        .flatten();
    Ok(why.map(withdrawal))
}

/// Ends a row. What is done stays done.
pub(super) fn end(
    connection: &Connection,
    row: i64,
    ending: RequestEnding,
    reply: &str,
    now: i64,
) -> Result<(), StoreError> {
    leave(connection, row, State::Closed, now)?;
    let sql = "UPDATE requests SET ending = ?2, reply = ?3, due = ?4 WHERE id = ?1 AND ending IS NOT 0";
    let reply = capped(reply);
    execute(connection, sql, params![row, ending_code(ending), reply, now]).map(drop)
}

/// A row is no longer a head, if it was one: the next of its addressee is.
pub(super) fn leave(connection: &Connection, row: i64, to: State, now: i64) -> Result<(), StoreError> {
    let Some((state, kind, addressee)) = place(connection, row)? else { return Ok(()) };
    execute(
        connection,
        "UPDATE requests SET state = ?2, due = ?3 WHERE id = ?1",
        params![row, to.code(), now],
    )?;
    if state.is_head() { promote(connection, &kind, &addressee) } else { Ok(()) }
}

/// A head whose recipient has no address waits for one.
pub(super) fn park(connection: &Connection, row: i64, now: i64) -> Result<(), StoreError> {
    execute(connection, "UPDATE requests SET state = 4, due = ?2 WHERE id = ?1", params![row, now]).map(drop)
}

/// A row goes back to its queue, until a time. One that was done or withdrawn stays so.
pub(super) fn put_back(
    connection: &Connection,
    row: i64,
    not_before: i64,
    reply: &str,
) -> Result<(), StoreError> {
    let sql = "UPDATE requests SET due = ?2, not_before = ?2, reply = ?3, ending = NULL,
            state = CASE WHEN state BETWEEN 1 AND 4 THEN 1
                WHEN EXISTS (SELECT 1 FROM requests h WHERE h.kind = requests.kind
                    AND h.addressee = requests.addressee AND h.state BETWEEN 1 AND 4) THEN 0
                ELSE 1 END
        WHERE id = ?1 AND (ending IS NULL OR ending = 2)";
    execute(connection, sql, params![row, not_before, capped(reply)]).map(drop)
}

/// A recipient has an address: what waited for it is due.
pub(super) fn unpark(connection: &Connection, recipient: &str) -> Result<(), StoreError> {
    let sql = "UPDATE requests SET state = 1, due = not_before
        WHERE kind = 'mail' AND addressee = ?1 AND state BETWEEN 1 AND 4 AND state = 4";
    execute(connection, sql, [recipient]).map(drop)
}

/// A recipient is gone, and all that waits for them is withdrawn.
pub(super) fn withdraw_all(connection: &Connection, recipient: &str) -> Result<(), StoreError> {
    for sql in [
        "UPDATE requests SET state = 6, ending = 1, reply = 'the recipient is gone', due = CAST(unixepoch('subsec') * 1000 AS INTEGER)
         WHERE kind = 'mail' AND addressee = ?1 AND state BETWEEN 1 AND 4",
        "UPDATE requests SET state = 6, ending = 1, reply = 'the recipient is gone', due = CAST(unixepoch('subsec') * 1000 AS INTEGER)
         WHERE kind = 'mail' AND addressee = ?1 AND state = 0",
    ] {
        execute(connection, sql, [recipient])?;
    }
    Ok(())
}

/// Makes the first in the queue of an addressee its head.
pub(super) fn promote(connection: &Connection, kind: &str, addressee: &str) -> Result<(), StoreError> {
    execute(connection, PROMOTE, params![kind, addressee]).map(drop)
}

fn place(connection: &Connection, row: i64) -> Result<Option<(State, String, String)>, StoreError> {
    connection
        .prepare_cached("SELECT state, kind, addressee FROM requests WHERE id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([row], |row| {
                    let code = row.get(0)?;
                    let state =
                        State::of_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, code))?;
                    Ok((state, row.get(1)?, row.get(2)?))
                })
                .optional()
        })
        .map_err(ours)
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<usize, StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(ours)
}

const ADD_MAIL: &str =
    "INSERT INTO requests (request, kind, addressee, reason, subject, event, state, due, not_before, requested_at)
    SELECT ?1, 'mail', ?2, ?3, ?4, ?5,
        CASE WHEN EXISTS (SELECT 1 FROM requests WHERE kind = 'mail' AND addressee = ?2 AND state BETWEEN 1 AND 4)
            THEN 0
            WHEN EXISTS (SELECT 1 FROM contacts WHERE id = ?2 AND email IS NOT NULL) THEN 1 ELSE 4 END,
        now, now, now
    FROM (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now)
    WHERE NOT EXISTS (SELECT 1 FROM contacts WHERE id = ?2 AND state IN (2, 3))
    ON CONFLICT (request) DO NOTHING";

const ADD_WEBHOOK: &str =
    "INSERT INTO requests (request, kind, addressee, event, state, due, not_before, requested_at)
    SELECT ?1, 'webhook', ?2, ?3,
        EXISTS (SELECT 1 FROM requests WHERE kind = 'webhook' AND addressee = ?2 AND state BETWEEN 1 AND 4) = 0,
        now, now, now
    FROM (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now) WHERE true
    ON CONFLICT (request) DO NOTHING";

const PROMOTE: &str = "UPDATE requests SET state = CASE
        WHEN kind = 'mail' AND NOT EXISTS (SELECT 1 FROM contacts WHERE id = ?2 AND email IS NOT NULL) THEN 4
        ELSE 1 END
    WHERE id = (SELECT id FROM requests WHERE kind = ?1 AND addressee = ?2 AND state = 0 ORDER BY id LIMIT 1)";

/// 1: removed; 2: taken back; 3: unsubscribed; 4: no endpoint. By the state of the tables now.
const WITHDRAWN: &str = "SELECT CASE
        WHEN kind = 'webhook' THEN CASE WHEN NOT EXISTS
            (SELECT 1 FROM webhooks w WHERE w.id = addressee AND w.disabled_at IS NULL) THEN 4 END
        WHEN EXISTS (SELECT 1 FROM contacts c WHERE c.id = addressee AND c.state IN (2, 3)) THEN 1
        WHEN NOT EXISTS (SELECT 1 FROM notifications n
            WHERE n.recipient = addressee AND n.reason = requests.reason AND n.subject = requests.subject) THEN 2
        WHEN reason = 'post' AND NOT coalesce((SELECT s.subscribed FROM subscriptions s
            WHERE s.subscriber = addressee ORDER BY s.since DESC LIMIT 1), 0) THEN 3
        END
    FROM requests WHERE id = ?1";
