//! Rows that nobody will ask for again.

use std::time::Duration;

use rusqlite::Connection;

use super::error::ours;
use super::queue;
use crate::ports::{RequestEnding, StoreError};

/// How long rows are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// What guards against repeats, and what is closed or over.
    pub(super) retention: Duration,
    /// Notifications, by the times of their events; `None` keeps them for ever.
    pub(super) notifications: Option<Duration>,
}

/// What one piece of cleaning did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) removed: usize,
    /// Where the next piece goes on; `None` where all is clean.
    pub(super) next: Option<usize>,
}

/// Cleans a little, from place `at` on, which is 0 at first: withdraws mails that never got an address, removes ids,
/// attempts, requests, announcements and notifications that are old enough, attempts below their position, and
/// subscriptions of people who are gone. Others write between two pieces.
pub(super) fn piece(connection: &Connection, kept: Kept, at: usize) -> Result<Piece, StoreError> {
    connection.execute_batch("SAVEPOINT clean").map_err(ours)?;
    let removed = step(connection, kept, at);
    let end = if removed.is_ok() { "RELEASE clean" } else { "ROLLBACK TO clean; RELEASE clean" };
    connection.execute_batch(end).map_err(ours)?;
    Ok(match removed? {
        // Withdrawn, a mail makes way for the next, which has no address either.
        Some(rows) if rows == STEP || (at == 0 && rows > 0) => Piece { removed: rows, next: Some(at) },
        Some(rows) => Piece { removed: rows, next: Some(at + 1) },
        None => Piece { removed: 0, next: None },
    })
}

/// Returns where it goes on after a place that failed: what failed there is tried again the next time.
pub(super) fn after(at: usize) -> Option<usize> {
    (at < STEPS.len()).then_some(at + 1)
}

/// Does the step of that number; `None` where there is none.
fn step(connection: &Connection, kept: Kept, at: usize) -> Result<Option<usize>, StoreError> {
    let Some(at) = at.checked_sub(1) else {
        return withdraw_some(connection).map(|rows| rows.min(STEP)).map(Some);
    };
    let Some((sql, span)) = STEPS.get(at) else { return Ok(None) };
    let span = match span {
        Span::None => None,
        Span::Retention => Some(kept.retention),
        Span::Notifications => match kept.notifications {
            Some(span) => Some(span),
            None => return Ok(Some(0)),
        },
    };
    let seconds = span.map(|span| i64::try_from(span.as_secs()).unwrap_or(i64::MAX / 2_000));
    let removed = connection.prepare_cached(sql).and_then(|mut statement| match seconds {
        None => statement.execute([]),
        Some(seconds) => statement.execute([seconds]),
    });
    removed.map(Some).map_err(ours)
}

fn withdraw_some(connection: &Connection) -> Result<usize, StoreError> {
    let rows: Vec<(i64, i64)> = connection
        .prepare_cached(WITHOUT_ADDRESS)
        .and_then(|mut statement| statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(ours)?;
    for (row, now) in &rows {
        queue::end(connection, *row, RequestEnding::Withdrawn, "no address came", *now)?;
    }
    Ok(rows.len())
}

const WITHOUT_ADDRESS: &str = "SELECT id, unixepoch() * 1000 FROM requests WHERE state = 4 AND kind = 'mail'
    AND requested_at < (unixepoch() - 2 * 86400) * 1000 LIMIT 500";

const OLD_REQUESTS: &str = "DELETE FROM requests WHERE id IN (
    SELECT id FROM requests WHERE state = 6 AND kind IN ('mail', 'webhook') AND due < (unixepoch() - ?1) * 1000
    LIMIT 500)";

const LAPSED_REQUESTS: &str = "DELETE FROM requests WHERE id IN (
    SELECT id FROM requests WHERE state = 5 AND kind IN ('mail', 'webhook') AND due < (unixepoch() - ?1) * 1000
    LIMIT 500)";

const OLD_LEDGER: &str = "DELETE FROM ledger WHERE request IN (
    SELECT request FROM ledger WHERE changed_at < (unixepoch() - ?1) * 1000
        AND request NOT IN (SELECT request FROM requests) LIMIT 500)";

const OLD_TRIES: &str = "DELETE FROM request_attempts WHERE (request, attempt) IN (
    SELECT request, attempt FROM request_attempts WHERE began_at < (unixepoch() - ?1) * 1000
        AND request NOT IN (SELECT request FROM requests) LIMIT 500)";

const OLD_MAIL_SOURCES: &str = "DELETE FROM mail_sources WHERE event IN (
    SELECT event FROM mail_sources m WHERE until < unixepoch() * 1000
        AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.event = m.event AND r.kind = 'mail' AND r.state < 6)
    LIMIT 500)";

const OLD_WEBHOOKS: &str = "DELETE FROM webhook_fan_outs WHERE arrival IN (
    SELECT arrival FROM webhook_fan_outs f WHERE arrived_at < (unixepoch() - ?1) * 1000 AND expanded_to IS NULL
        AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.event = f.event AND r.kind = 'webhook' AND r.state < 6)
    LIMIT 500)";

const OLD_IDS: &str = "DELETE FROM dedupe WHERE (consumer_group, id) IN (
    SELECT consumer_group, id FROM dedupe WHERE applied_at < unixepoch() - ?1 LIMIT 500)";

const OLD_ATTEMPTS: &str = "DELETE FROM attempts WHERE (consumer_group, topic, partition, record_offset) IN (
    SELECT consumer_group, topic, partition, record_offset FROM attempts
    WHERE counted_at < unixepoch() - ?1 LIMIT 500)";

const FINISHED_ATTEMPTS: &str =
    "DELETE FROM attempts WHERE (consumer_group, topic, partition, record_offset) IN (
    SELECT a.consumer_group, a.topic, a.partition, a.record_offset
    FROM attempts a JOIN positions p USING (consumer_group, topic, partition)
    WHERE a.record_offset < p.next_offset LIMIT 500)";

// A late subscription finds what was announced no longer.
const OLD_FAN_OUTS: &str = "DELETE FROM fan_outs WHERE post IN (
    SELECT post FROM fan_outs WHERE expanded_to IS NULL AND arrived_at < (unixepoch() - ?1) * 1000 LIMIT 500)";

const GONE_SUBSCRIPTIONS: &str = "DELETE FROM subscriptions WHERE (subscriber, since) IN (
    SELECT s.subscriber, s.since FROM contacts c JOIN subscriptions s ON s.subscriber = c.id
    WHERE c.state IN (2, 3) AND s.arrived_at < (unixepoch() - ?1) * 1000 LIMIT 500)";

// What is still to be sent stays wanted.
const OLD_NOTIFICATIONS: &str = "DELETE FROM notifications WHERE (recipient, reason, subject) IN (
    SELECT recipient, reason, subject FROM notifications n WHERE time < (unixepoch() - ?1) * 1000
        AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.event = n.event AND r.kind = 'mail' AND r.state < 6)
    LIMIT 500)";

/// What a statement is told: how long its rows are kept.
#[derive(Clone, Copy, Debug)]
enum Span {
    None,
    Notifications,
    Retention,
}

const STEPS: [(&str, Span); 12] = [
    (OLD_IDS, Span::Retention),
    (OLD_ATTEMPTS, Span::Retention),
    (FINISHED_ATTEMPTS, Span::None),
    (OLD_REQUESTS, Span::Retention),
    (LAPSED_REQUESTS, Span::Retention),
    (OLD_LEDGER, Span::Retention),
    (OLD_TRIES, Span::Retention),
    (OLD_MAIL_SOURCES, Span::None),
    (OLD_WEBHOOKS, Span::Retention),
    (OLD_FAN_OUTS, Span::Retention),
    (GONE_SUBSCRIPTIONS, Span::Retention),
    (OLD_NOTIFICATIONS, Span::Notifications),
];

/// The LIMIT of the statements: how many rows others wait for at most.
pub(super) const STEP: usize = 500;
