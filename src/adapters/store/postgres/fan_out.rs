//! Announcements, written in chunks: whoever was subscribed at the time of a post hears of it, once.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::Trouble;
use super::{mails, webhooks};
use crate::ports::{Expansion, Rest};

/// Looks at up to `limit` recipients: of late subscriptions first, then of the oldest announcements. Endpoints have half
/// of a step for themselves, so that neither waits for the whole of the other. What another caller is at is left to it.
pub(super) async fn expand(tx: &Transaction<'_>, limit: u32) -> Result<Expansion, Trouble> {
    let told = webhooks::expand(tx, (limit / 2).max(1)).await?;
    let announced = expand_announcements(tx, limit).await?;
    Ok(match told.rest {
        Rest::More => Expansion { rest: Rest::More, ..announced },
        Rest::Nothing => announced,
    })
}

async fn expand_announcements(tx: &Transaction<'_>, limit: u32) -> Result<Expansion, Trouble> {
    // Nobody who subscribes waits for one who has nothing to announce.
    if one(tx, WAITS, &[]).await?.is_none() {
        return Ok(Expansion { written: 0, rest: Rest::Nothing });
    }
    // Subscriptions that change now are waited for, and those to come wait: else neither would see the other.
    tx.batch_execute("LOCK TABLE fan_out_gate IN SHARE MODE").await?;
    let mut left = limit.max(1);
    let mut written = 0;
    while left > 0 {
        let step = if let Some(late) = one(tx, LATE, &[]).await? {
            catch_up(tx, &Late::of(&late)?, left).await?
        } else if let Some(open) = one(tx, OPEN, &[]).await? {
            announce(tx, open.try_get(0)?, open.try_get(1)?, left).await?
        } else {
            return Ok(Expansion { written, rest: Rest::Nothing });
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

async fn announce(tx: &Transaction<'_>, post: &str, cursor: &str, limit: u32) -> Result<Step, Trouble> {
    // The last of the subscribers after the cursor, at most so many: up to there this step goes.
    let reach = one(tx, REACH, &[&cursor, &i64::from(limit)]).await?;
    let (looked_at, to): (i64, Option<String>) = match reach {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (0, None),
    };
    let looked_at = u32::try_from(looked_at).unwrap_or(u32::MAX);
    let mut written = 0;
    if let Some(to) = &to {
        written = notify(tx, ANNOUNCE, &[&post, &cursor, to]).await?;
    }
    let cursor = to.filter(|_| looked_at == limit);
    one(tx, "UPDATE fan_outs SET expanded_to = $2 WHERE post = $1", &[&post, &cursor]).await?;
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

impl Late {
    fn of(row: &Row) -> Result<Self, Trouble> {
        Ok(Self {
            arrival: row.try_get(0)?,
            subscriber: row.try_get(1)?,
            time: row.try_get(2)?,
            post: row.try_get(3)?,
            end: row.try_get(4)?,
        })
    }
}

async fn catch_up(tx: &Transaction<'_>, late: &Late, limit: u32) -> Result<Step, Trouble> {
    let Late { arrival, subscriber, time, post, end } = late;
    let statement = tx.prepare_cached(COVERED).await?;
    let posts = tx.query(&statement, &[time, post, end, &i64::from(limit)]).await?;
    let looked_at = u32::try_from(posts.len()).unwrap_or(u32::MAX);
    let mut written = 0;
    if let Some(last) = posts.last() {
        let (to_time, to_post): (i64, String) = (last.try_get(0)?, last.try_get(1)?);
        written = notify(tx, CATCH_UP, &[subscriber, time, post, &to_time, &to_post]).await?;
        let sql = "UPDATE catch_ups SET next_time = $2, next_post = $3 WHERE arrival = $1";
        one(tx, sql, &[arrival, &to_time, &to_post]).await?;
    }
    if looked_at < limit {
        one(tx, "DELETE FROM catch_ups WHERE arrival = $1", &[arrival]).await?;
    }
    Ok(Step { looked_at, written })
}

/// Writes notifications and leaves a mail for each that is new. Returns how many were written.
async fn notify(tx: &Transaction<'_>, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<usize, Trouble> {
    let statement = tx.prepare_cached(sql).await?;
    let mut told: Vec<[String; 4]> = Vec::new();
    for row in tx.query(&statement, values).await? {
        told.push([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?]);
    }
    mails::leave(tx, &told).await?;
    Ok(told.len())
}

async fn one(
    tx: &Transaction<'_>,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Option<Row>, Trouble> {
    let statement = tx.prepare_cached(sql).await?;
    Ok(tx.query_opt(&statement, values).await?)
}

const WAITS: &str = "SELECT 1 WHERE EXISTS (SELECT 1 FROM catch_ups)
    OR EXISTS (SELECT 1 FROM fan_outs WHERE expanded_to IS NOT NULL)";

const LATE: &str = "SELECT arrival, subscriber, next_time, next_post, end_time FROM catch_ups
    ORDER BY arrival LIMIT 1 FOR UPDATE SKIP LOCKED";

const OPEN: &str = "SELECT post, expanded_to FROM fan_outs WHERE expanded_to IS NOT NULL
    ORDER BY time, post LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED";

const REACH: &str = "SELECT count(*), max(subscriber) FROM (SELECT DISTINCT subscriber FROM subscriptions
    WHERE subscribed AND subscriber > $1 ORDER BY subscriber LIMIT $2) s";

const COVERED: &str = "SELECT time, post FROM fan_outs
    WHERE (time, post) > ($1, $2) AND ($3::bigint IS NULL OR time < $3) ORDER BY time, post LIMIT $4";

const ANNOUNCE: &str = "INSERT INTO notifications (recipient, reason, subject, event, time)
    SELECT s.subscriber, 'post', f.post, f.event, f.time
    FROM fan_outs f CROSS JOIN (SELECT DISTINCT subscriber FROM subscriptions
                                WHERE subscribed AND subscriber > $2 AND subscriber <= $3) s
    WHERE f.post = $1 AND s.subscriber <> f.author
      AND (SELECT subscribed FROM subscriptions t WHERE t.subscriber = s.subscriber AND t.since <= f.time
           ORDER BY t.since DESC LIMIT 1)
    ORDER BY s.subscriber
    ON CONFLICT DO NOTHING RETURNING recipient, reason, subject, event";

const CATCH_UP: &str = "INSERT INTO notifications (recipient, reason, subject, event, time)
    SELECT $1, 'post', f.post, f.event, f.time
    FROM fan_outs f
    WHERE (f.time, f.post) > ($2, $3) AND (f.time, f.post) <= ($4, $5) AND f.author <> $1
      AND (SELECT subscribed FROM subscriptions t WHERE t.subscriber = $1 AND t.since <= f.time
           ORDER BY t.since DESC LIMIT 1)
    ORDER BY f.post
    ON CONFLICT DO NOTHING RETURNING recipient, reason, subject, event";
