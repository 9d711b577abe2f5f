//! The life of a row of the outbox: queued, head of its addressee, closed.

use rusqlite::{Connection, OptionalExtension, Params, params};
use sha2::{Digest, Sha256};

use super::error::ours;
use crate::ports::{RequestEnding, StoreError};

pub(super) const MAIL: &str = "mail";
pub(super) const WEBHOOK: &str = "webhook";

/// The numbers that stand in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Behind another row of its addressee.
    Queued,
    /// The head, due at some time.
    Waiting,
    /// The head, with a relay.
    Taken,
    /// The head, published.
    Out,
    /// The head, without an address.
    Parked,
    /// Published long ago: no longer the head.
    Lapsed,
    /// At its end.
    Closed,
}

impl State {
    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Queued => 0,
            Self::Waiting => 1,
            Self::Taken => 2,
            Self::Out => 3,
            Self::Parked => 4,
            Self::Lapsed => 5,
            Self::Closed => 6,
        }
    }

    pub(super) const fn of_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Queued),
            1 => Some(Self::Waiting),
            2 => Some(Self::Taken),
            3 => Some(Self::Out),
            4 => Some(Self::Parked),
            5 => Some(Self::Lapsed),
            6 => Some(Self::Closed),
            _ => None,
        }
    }

    const fn is_head(self) -> bool {
        matches!(self, Self::Waiting | Self::Taken | Self::Out | Self::Parked)
    }
}

pub(super) const fn ending_code(ending: RequestEnding) -> i64 {
    match ending {
        RequestEnding::Done => 0,
        RequestEnding::Withdrawn => 1,
        RequestEnding::Dead => 2,
    }
}

pub(super) const fn ending_of(code: i64) -> Option<RequestEnding> {
    match code {
        0 => Some(RequestEnding::Done),
        1 => Some(RequestEnding::Withdrawn),
        2 => Some(RequestEnding::Dead),
        _ => None,
    }
}

/// Makes a request's event id of what it is about: the same for every copy, printable, of a fixed length.
pub(super) fn id(parts: [&str; 4]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut id = String::with_capacity(40);
    for byte in hasher.finalize().iter().take(20) {
        id.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        id.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    id
}

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

/// Says why a row is no longer wanted; `None` where it is.
pub(super) fn withdrawn(connection: &Connection, row: i64) -> Result<Option<&'static str>, StoreError> {
    let why: Option<i64> = connection
        .prepare_cached(WITHDRAWN)
        .and_then(|mut statement| statement.query_row([row], |row| row.get(0)).optional())
        .map_err(ours)?
        .flatten();
    Ok(match why {
        Some(1) => Some("the recipient is gone"),
        Some(2) => Some("the notification was taken back"),
        Some(3) => Some("the recipient unsubscribed"),
        Some(_) => Some("the endpoint is disabled or gone"),
        None => None,
    })
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

/// Cuts a reply to what is kept of it.
pub(super) fn capped(reply: &str) -> &str {
    reply.get(..reply.floor_char_boundary(MOST_REPLY)).unwrap_or_default()
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

/// What is kept of a reply, in bytes.
const MOST_REPLY: usize = 300;
