//! Which endpoints are told of an event: one row an event, expanded into one request an endpoint.

use deadpool_postgres::Transaction;

use super::error::Trouble;
use super::queue::{self, clock, execute};
use crate::ports::{Rest, WebhookEvent};

/// Keeps events for the endpoints that want them, in their order; nothing of one that no active endpoint
/// wants, or that is too old.
pub(super) async fn events(tx: &Transaction<'_>, events: &[&WebhookEvent]) -> Result<(), Trouble> {
    let ids: Vec<_> = events.iter().map(|event| event.origin.event.as_str()).collect();
    let types: Vec<_> = events.iter().map(|event| event.event_type.as_str()).collect();
    let blogs: Vec<_> = events.iter().map(|event| event.blog.as_str()).collect();
    let bodies: Vec<_> = events.iter().map(|event| event.body.as_str()).collect();
    let times: Vec<_> = events.iter().map(|event| event.origin.time).collect();
    let until: Vec<_> = events.iter().map(|event| event.origin.time.saturating_add(event.max_age)).collect();
    execute(tx, EVENTS, &[&ids, &types, &blogs, &bodies, &times, &until]).await.map(drop)
}

/// What one step of expansion did.
pub(super) struct Told {
    pub(super) rest: Rest,
}

/// Looks at up to `limit` endpoints, of the oldest events first. One transaction at a time does so, that endpoints hear
/// of events in the order of their arrival.
pub(super) async fn expand(tx: &Transaction<'_>, limit: u32) -> Result<Told, Trouble> {
    if open(tx).await?.is_none() {
        return Ok(Told { rest: Rest::Nothing });
    }
    execute(tx, GATE, &[]).await?;
    let mut left = limit;
    while left > 0 {
        let Some(open) = open(tx).await? else { return Ok(Told { rest: Rest::Nothing }) };
        let endpoints = wanting(tx, &open, left).await?;
        queue::add_webhooks(tx, &endpoints, &open.event).await?;
        let found = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let cursor = endpoints.last().filter(|_| found == left);
        execute(
            tx,
            "UPDATE webhook_fan_outs SET expanded_to = $2 WHERE arrival = $1",
            &[&open.arrival, &cursor],
        )
        .await?;
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

async fn open(tx: &Transaction<'_>) -> Result<Option<Open>, Trouble> {
    let statement = tx
        .prepare_cached(
            "SELECT arrival, event, type, expanded_to FROM webhook_fan_outs
             WHERE expanded_to IS NOT NULL ORDER BY arrival LIMIT 1",
        )
        .await?;
    let Some(row) = tx.query_opt(&statement, &[]).await? else { return Ok(None) };
    Ok(Some(Open {
        arrival: row.try_get(0)?,
        event: row.try_get(1)?,
        event_type: row.try_get(2)?,
        cursor: row.try_get(3)?,
    }))
}

async fn wanting(tx: &Transaction<'_>, open: &Open, limit: u32) -> Result<Vec<String>, Trouble> {
    let statement = tx.prepare_cached(WANTING).await?;
    let rows = tx.query(&statement, &[&open.cursor, &open.event_type, &i64::from(limit)]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

const GATE: &str = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema(), 1886352246))";

// Types stand one a line; none means all.
const EVENTS: &str = concat!(
    "INSERT INTO webhook_fan_outs (event, type, blog, body, time, arrived_at, expanded_to)
    SELECT e.event, e.type, e.blog, e.body, e.time, ",
    clock!(),
    ", ''
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
        WITH ORDINALITY AS e(event, type, blog, body, time, until, place)
    WHERE e.until >= ",
    clock!(),
    " AND EXISTS (SELECT 1 FROM webhooks w WHERE w.disabled_at IS NULL
        AND (w.types = '' OR strpos(E'\\n' || w.types || E'\\n', E'\\n' || e.type || E'\\n') > 0))
    ORDER BY e.place
    ON CONFLICT (event) DO NOTHING"
);

const WANTING: &str = "SELECT id FROM webhooks WHERE id > $1 AND disabled_at IS NULL
        AND (types = '' OR strpos(E'\\n' || types || E'\\n', E'\\n' || $2::text || E'\\n') > 0)
    ORDER BY id LIMIT $3";
