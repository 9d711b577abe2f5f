//! What became of the requests that an event caused.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use crate::adapters::store::requests::{State, ending_of};
use crate::adapters::store::{RequestAttempt, RequestStory, WaitingDeliveries};
use crate::ports::StoreError;

/// Reads the requests of an event with their attempts, the oldest first.
pub(super) async fn requests_of_event(
    tx: &Transaction<'_>,
    event: &str,
    limit: u32,
) -> Result<Vec<RequestStory>, Trouble> {
    let statement = tx.prepare_cached(REQUESTS).await?;
    let rows = tx.query(&statement, &[&event, &i64::from(limit)]).await?;
    let mut stories = rows.iter().map(story).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<_> = stories.iter().map(|story| story.id.clone()).collect();
    let statement = tx.prepare_cached(ATTEMPTS).await?;
    for row in tx.query(&statement, &[&ids]).await? {
        let place: i64 = row.try_get(0)?;
        // Places count from 1.
        let story = usize::try_from(place - 1).ok().and_then(|place| stories.get_mut(place));
        if let Some(story) = story {
            story.attempts.push(attempt(&row)?);
        }
    }
    Ok(stories)
}

/// Reads what waits for each endpoint, by endpoint.
pub(super) async fn waiting_deliveries(tx: &Transaction<'_>) -> Result<Vec<WaitingDeliveries>, Trouble> {
    let statement = tx.prepare_cached(WAITING).await?;
    let read = |row: &Row| {
        Ok(WaitingDeliveries {
            endpoint: row.try_get(0)?,
            waiting: u64::try_from(row.try_get::<_, i64>(1)?).unwrap_or_default(),
            since: row.try_get(2)?,
            next_at: row.try_get(3)?,
            reply: row.try_get(4)?,
        })
    };
    tx.query(&statement, &[]).await?.iter().map(read).collect()
}

const WAITING: &str = "SELECT addressee, count(*), min(requested_at),
        max(due) FILTER (WHERE state = 1), max(reply) FILTER (WHERE state BETWEEN 1 AND 4)
    FROM requests WHERE kind = 'webhook' AND state < 6 GROUP BY addressee ORDER BY addressee";

fn story(row: &Row) -> Result<RequestStory, Trouble> {
    let code: i64 = row.try_get("state")?;
    let ending = row.try_get::<_, Option<i64>>("ending")?.and_then(ending_of);
    let state = State::of_code(code)
        .ok_or_else(|| StoreError::Unusable(format!("no state has the number {code}")))?;
    Ok(RequestStory {
        id: row.try_get("request")?,
        kind: row.try_get("kind")?,
        key: row.try_get("addressee")?,
        reason: row.try_get("reason")?,
        state: state.told(row.try_get("due")?, ending),
        not_before: row.try_get("not_before")?,
        requested_at: row.try_get("requested_at")?,
        reply: row.try_get("reply")?,
        attempts: Vec::new(),
    })
}

fn attempt(row: &Row) -> Result<RequestAttempt, tokio_postgres::Error> {
    Ok(RequestAttempt {
        attempt: u32::try_from(row.try_get::<_, i64>(1)?).unwrap_or(u32::MAX),
        began_at: row.try_get(2)?,
        ended_at: row.try_get(3)?,
        reply: row.try_get(4)?,
    })
}

// One that nobody has settled yet is told as queued for that moment.
const REQUESTS: &str =
    "SELECT request, kind, addressee, reason, state, due, not_before, requested_at, ending, reply
    FROM requests WHERE event = $1 ORDER BY id LIMIT $2";

const ATTEMPTS: &str = "SELECT s.place, a.attempt, a.began_at, a.ended_at, a.reply
    FROM unnest($1::text[]) WITH ORDINALITY AS s(request, place) JOIN request_attempts a USING (request)
    ORDER BY s.place, a.attempt";
