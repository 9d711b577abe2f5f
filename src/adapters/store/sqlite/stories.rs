//! What became of the requests that an event caused.

use rusqlite::{Connection, Row};

use super::error::ours;
use crate::adapters::store::requests::{State, ending_of};
use crate::adapters::store::{RequestAttempt, RequestStory, WaitingDeliveries};
use crate::ports::StoreError;

/// Reads the requests of an event with their attempts, the oldest first.
pub(super) fn requests_of_event(
    connection: &Connection,
    event: &str,
    limit: u32,
) -> Result<Vec<RequestStory>, StoreError> {
    let read = || {
        let mut stories: Vec<RequestStory> = connection
            .prepare_cached(
                "SELECT request, kind, addressee, reason, state, due, not_before, requested_at, ending, reply
                 FROM requests WHERE event = ?1 ORDER BY id LIMIT ?2",
            )?
            .query_map(rusqlite::params![event, limit], story)?
            .collect::<Result<_, _>>()?;
        let mut statement = connection.prepare_cached(
            "SELECT attempt, began_at, ended_at, reply FROM request_attempts WHERE request = ?1 ORDER BY attempt",
        )?;
        for story in &mut stories {
            story.attempts = statement.query_map([&story.id], attempt)?.collect::<Result<_, _>>()?;
        }
        Ok(stories)
    };
    read().map_err(ours)
}

/// Reads what waits for each endpoint, by endpoint.
pub(super) fn waiting_deliveries(connection: &Connection) -> Result<Vec<WaitingDeliveries>, StoreError> {
    let read = || {
        connection
            .prepare_cached(
                "SELECT addressee, count(*) AS waiting, min(requested_at) AS since,
                    max(CASE WHEN state = 1 THEN due END) AS next_at,
                    max(CASE WHEN state BETWEEN 1 AND 4 THEN reply END) AS reply
                 FROM requests WHERE kind = 'webhook' AND state < 6 GROUP BY addressee ORDER BY addressee",
            )?
            .query_map([], |row| {
                Ok(WaitingDeliveries {
                    endpoint: row.get(0)?,
                    waiting: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                    since: row.get(2)?,
                    next_at: row.get(3)?,
                    reply: row.get(4)?,
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(ours)
}

fn story(row: &Row<'_>) -> rusqlite::Result<RequestStory> {
    let (code, due): (i64, i64) = (row.get("state")?, row.get("due")?);
    let unfit = rusqlite::Error::IntegralValueOutOfRange(4, code);
    let ending = row.get::<_, Option<i64>>("ending")?.and_then(ending_of);
    let state = State::of_code(code).ok_or(unfit)?.told(due, ending);
    Ok(RequestStory {
        id: row.get("request")?,
        kind: row.get("kind")?,
        key: row.get("addressee")?,
        reason: row.get("reason")?,
        state,
        not_before: row.get("not_before")?,
        requested_at: row.get("requested_at")?,
        reply: row.get("reply")?,
        attempts: Vec::new(),
    })
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<RequestAttempt> {
    Ok(RequestAttempt {
        attempt: row.get(0)?,
        began_at: row.get(1)?,
        ended_at: row.get(2)?,
        reply: row.get(3)?,
    })
}
