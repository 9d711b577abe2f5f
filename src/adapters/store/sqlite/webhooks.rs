//! Which endpoints are told of an event: one row an event, expanded into one request an endpoint.

use rusqlite::{Connection, OptionalExtension, params};

use super::error::ours;
use super::queue;
use crate::ports::{Rest, StoreError, WebhookEvent};

/// Keeps an event for the endpoints that want it; nothing where no active one does, or the event is too old.
pub(super) fn event(connection: &Connection, event: &WebhookEvent) -> Result<(), StoreError> {
    let WebhookEvent { origin, event_type, blog, body, max_age } = event;
    let until = origin.time.saturating_add(*max_age);
    connection
        .prepare_cached(EVENT)
        .and_then(|mut statement| {
            statement.execute(params![origin.event.as_str(), event_type, blog, body, origin.time, until])
        })
        .map(drop)
        .map_err(ours)
}

/// What one step of expansion did.
pub(super) struct Told {
    pub(super) rest: Rest,
}

/// Looks at up to `limit` endpoints, of the oldest events first.
pub(super) fn expand(connection: &Connection, limit: u32) -> Result<Told, StoreError> {
    let mut left = limit;
    while left > 0 {
        let Some(open) = open(connection)? else { return Ok(Told { rest: Rest::Nothing }) };
        let endpoints = wanting(connection, &open, left)?;
        for endpoint in &endpoints {
            queue::add_webhook(connection, endpoint, &open.event)?;
        }
        let found = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let cursor = endpoints.last().filter(|_| found == left);
        connection
            .prepare_cached("UPDATE webhook_fan_outs SET expanded_to = ?2 WHERE arrival = ?1")
            .and_then(|mut statement| statement.execute(params![open.arrival, cursor]))
            .map_err(ours)?;
        // Also an event that nobody wants costs something.
        left = left.saturating_sub(found.max(1));
    }
    Ok(Told { rest: Rest::More })
}

/// An event of which not all endpoints were looked at.
struct Open {
    arrival: i64,
    event: String,
    event_type: String,
    cursor: String,
}

fn open(connection: &Connection) -> Result<Option<Open>, StoreError> {
    connection
        .prepare_cached(
            "SELECT arrival, event, type, expanded_to FROM webhook_fan_outs
             WHERE expanded_to IS NOT NULL ORDER BY arrival LIMIT 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([], |row| {
                    Ok(Open {
                        arrival: row.get(0)?,
                        event: row.get(1)?,
                        event_type: row.get(2)?,
                        cursor: row.get(3)?,
                    })
                })
                .optional()
        })
        .map_err(ours)
}

fn wanting(connection: &Connection, open: &Open, limit: u32) -> Result<Vec<String>, StoreError> {
    connection
        .prepare_cached(WANTING)
        .and_then(|mut statement| {
            statement.query_map(params![open.cursor, open.event_type, limit], |row| row.get(0))?.collect()
        })
        .map_err(ours)
}

// Types stand one a line; none means all.
const EVENT: &str = "INSERT INTO webhook_fan_outs (event, type, blog, body, time, arrived_at, expanded_to)
    SELECT ?1, ?2, ?3, ?4, ?5, CAST(unixepoch('subsec') * 1000 AS INTEGER), ''
    WHERE ?6 >= unixepoch() * 1000 AND EXISTS (SELECT 1 FROM webhooks WHERE disabled_at IS NULL
        AND (types = '' OR instr(char(10) || types || char(10), char(10) || ?2 || char(10)) > 0))
    ON CONFLICT (event) DO NOTHING";

const WANTING: &str = "SELECT id FROM webhooks WHERE id > ?1 AND disabled_at IS NULL
        AND (types = '' OR instr(char(10) || types || char(10), char(10) || ?2 || char(10)) > 0)
    ORDER BY id LIMIT ?3";
