//! Announcements, written in chunks: whoever was subscribed at the time of a post hears of it, once.

use rusqlite::{Connection, OptionalExtension, params};

use super::error::ours;
use super::{mails, webhooks};
use crate::ports::{Expansion, Rest, StoreError};

/// Looks at up to `limit` recipients: of late subscriptions first, then of the oldest announcements. Endpoints have half
/// of a step for themselves, so that neither waits for the whole of the other.
pub(super) fn expand(connection: &Connection, limit: u32) -> Result<Expansion, StoreError> {
    let told = webhooks::expand(connection, (limit / 2).max(1))?;
    let announced = expand_announcements(connection, limit)?;
    Ok(match told.rest {
        Rest::More => Expansion { rest: Rest::More, ..announced },
        Rest::Nothing => announced,
    })
}

fn expand_announcements(connection: &Connection, limit: u32) -> Result<Expansion, StoreError> {
    let mut left = limit.max(1);
    let mut written = 0;
    while left > 0 {
        let step = match late_subscription(connection)? {
            Some(late) => catch_up(connection, &late, left)?,
            None => match open_fan_out(connection)? {
                Some((post, cursor)) => announce(connection, &post, &cursor, left)?,
                None => return Ok(Expansion { written, rest: Rest::Nothing }),
            },
        };
        written += u64::try_from(step.written).unwrap_or(u64::MAX);
        // Also a step that finds nobody costs something.
        left = left.saturating_sub(step.looked_at.max(1));
    }
    Ok(Expansion { written, rest: Rest::More })
}

/// What one statement's worth of expansion did.
struct Step {
    looked_at: u32,
    written: usize,
}

fn open_fan_out(connection: &Connection) -> Result<Option<(String, String)>, StoreError> {
    connection
        .prepare_cached(
            "SELECT post, expanded_to FROM fan_outs WHERE expanded_to IS NOT NULL ORDER BY time, post LIMIT 1",
        )
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(ours)
}

fn announce(connection: &Connection, post: &str, cursor: &str, limit: u32) -> Result<Step, StoreError> {
    // The last of the subscribers after the cursor, at most so many: up to there this step goes.
    let (looked_at, to): (u32, Option<String>) = connection
        .prepare_cached(
            "SELECT count(*), max(subscriber) FROM (SELECT DISTINCT subscriber FROM subscriptions
                 WHERE subscribed AND subscriber > ?1 ORDER BY subscriber LIMIT ?2)",
        )
        .and_then(|mut statement| {
            statement.query_row(params![cursor, limit], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .map_err(ours)?;
    let mut written = 0;
    if let Some(to) = &to {
        written = mails::notify(connection, ANNOUNCE, params![post, cursor, to])?;
    }
    let cursor = to.filter(|_| looked_at == limit);
    connection
        .prepare_cached("UPDATE fan_outs SET expanded_to = ?2 WHERE post = ?1")
        .and_then(|mut statement| statement.execute(params![post, cursor]))
        .map_err(ours)?;
    Ok(Step { looked_at, written })
}

/// A subscription that arrived after posts of its stretch.
struct Late {
    arrival: i64,
    subscriber: String,
    time: i64,
    post: String,
    end: Option<i64>,
}

fn late_subscription(connection: &Connection) -> Result<Option<Late>, StoreError> {
    connection
        .prepare_cached(
            "SELECT arrival, subscriber, next_time, next_post, end_time FROM catch_ups ORDER BY arrival LIMIT 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([], |row| {
                    Ok(Late {
                        arrival: row.get(0)?,
                        subscriber: row.get(1)?,
                        time: row.get(2)?,
                        post: row.get(3)?,
                        end: row.get(4)?,
                    })
                })
                .optional()
        })
        .map_err(ours)
}

fn catch_up(connection: &Connection, late: &Late, limit: u32) -> Result<Step, StoreError> {
    let Late { arrival, subscriber, time, post, end } = late;
    let posts: Vec<(i64, String)> = connection
        .prepare_cached(
            "SELECT time, post FROM fan_outs WHERE (time, post) > (?1, ?2) AND (?3 IS NULL OR time < ?3)
             ORDER BY time, post LIMIT ?4",
        )
        .and_then(|mut statement| {
            statement
                .query_map(params![time, post, end, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .map_err(ours)?;
    let looked_at = u32::try_from(posts.len()).unwrap_or(u32::MAX);
    let mut written = 0;
    if let Some((to_time, to_post)) = posts.last() {
        let values = params![subscriber, time, post, to_time, to_post];
        written = mails::notify(connection, CATCH_UP, values)?;
        connection
            .prepare_cached("UPDATE catch_ups SET next_time = ?2, next_post = ?3 WHERE arrival = ?1")
            .and_then(|mut statement| statement.execute(params![arrival, to_time, to_post]))
            .map_err(ours)?;
    }
    if looked_at < limit {
        connection
            .prepare_cached("DELETE FROM catch_ups WHERE arrival = ?1")
            .and_then(|mut statement| statement.execute([arrival]))
            .map_err(ours)?;
    }
    Ok(Step { looked_at, written })
}

const ANNOUNCE: &str = "INSERT INTO notifications (recipient, reason, subject, event, time)
    SELECT s.subscriber, 'post', f.post, f.event, f.time
    FROM fan_outs f JOIN (SELECT DISTINCT subscriber FROM subscriptions
                          WHERE subscribed AND subscriber > ?2 AND subscriber <= ?3) s
    WHERE f.post = ?1 AND s.subscriber <> f.author
      AND (SELECT subscribed FROM subscriptions t WHERE t.subscriber = s.subscriber AND t.since <= f.time
           ORDER BY t.since DESC LIMIT 1)
    ON CONFLICT DO NOTHING RETURNING recipient, reason, subject, event";

const CATCH_UP: &str = "INSERT INTO notifications (recipient, reason, subject, event, time)
    SELECT ?1, 'post', f.post, f.event, f.time
    FROM fan_outs f
    WHERE (f.time, f.post) > (?2, ?3) AND (f.time, f.post) <= (?4, ?5) AND f.author <> ?1
      AND (SELECT subscribed FROM subscriptions t WHERE t.subscriber = ?1 AND t.since <= f.time
           ORDER BY t.since DESC LIMIT 1)
    ON CONFLICT DO NOTHING RETURNING recipient, reason, subject, event";
