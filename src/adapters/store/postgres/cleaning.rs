//! Rows that nobody will ask for again.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Transaction;

use super::error::Trouble;
use super::queue::{self, clock};
use super::{PostgresStore, in_transaction};
use crate::ports::StoreError;

/// Cleans each hour, as long as somebody has a handle. Of several processes that clean at once, each finds less to do.
pub(super) fn keep_clean(store: &PostgresStore) {
    let (inner, kept) = (Arc::downgrade(&store.inner), store.inner.kept);
    tokio::spawn(async move {
        loop {
            let Some(inner) = inner.upgrade() else { return };
            if let Err(error) = clean(&PostgresStore { inner }, kept).await {
                tracing::warn!(%error, "old rows were not removed");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
}

/// How long rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) retention: Duration,
    /// Notifications, by the times of their events; `None` is for ever.
    pub(super) notifications: Option<Duration>,
}

/// Removes ids, attempts, requests, announcements and notifications that are old enough, attempts below their position,
/// and subscriptions of people who are gone; withdraws mails that never got an address. Returns how many rows went. Each step is a
/// transaction of its own, so that nobody waits long, and one that fails does not keep the others from being done.
///
/// # Errors
/// That of the first step that failed, after all.
pub(super) async fn clean(store: &PostgresStore, kept: Kept) -> Result<usize, StoreError> {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX).min(i64::MAX / 2_000);
    let mut removed = 0;
    let mut failed = Ok(());
    loop {
        match in_transaction!(store, tx => withdraw_without_address(&tx)) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                failed = Err(error);
                break;
            }
        }
    }
    let retained = [
        OLD_IDS,
        OLD_ATTEMPTS,
        FINISHED_ATTEMPTS,
        OLD_REQUESTS,
        LAPSED_REQUESTS,
        OLD_LEDGER,
        OLD_TRIES,
        OLD_MAIL_SOURCES,
        OLD_WEBHOOKS,
        OLD_FAN_OUTS,
        GONE_SUBSCRIPTIONS,
    ];
    let retained = retained.map(|sql| (sql, kept.retention));
    for (sql, span) in retained.into_iter().chain(kept.notifications.map(|span| (OLD_NOTIFICATIONS, span))) {
        match all_of(store, sql, seconds(span)).await {
            Ok(gone) => removed += gone,
            Err(trouble) => failed = failed.and_then(|()| Err(trouble.told())),
        }
    }
    failed.map(|()| removed)
}

/// Repeats a statement until it finds no more.
async fn all_of(store: &PostgresStore, sql: &str, seconds: i64) -> Result<usize, Trouble> {
    let mut removed = 0;
    loop {
        let gone = step(store, sql, seconds).await?;
        removed += usize::try_from(gone).unwrap_or(usize::MAX);
        if gone < STEP {
            return Ok(removed);
        }
    }
}

/// Mails that have waited for an address, or behind one that does, for as long as a mail is tried are no longer wanted.
/// Closed, a head makes way for the next, which has no address either and is found in the next round.
async fn withdraw_without_address(tx: &Transaction<'_>) -> Result<u64, Trouble> {
    let withdrawn = queue::execute(tx, WITHOUT_ADDRESS, &[]).await?;
    // Where a relay is at it the rest is found the next time.
    if withdrawn > 0 && queue::may_settle(tx).await? {
        queue::settle(tx).await?;
    }
    Ok(withdrawn)
}

async fn step(store: &PostgresStore, sql: &str, seconds: i64) -> Result<u64, Trouble> {
    let client = store.client().await?;
    let statement = client.prepare_cached(sql).await?;
    let gone = match statement.params() {
        [] => client.execute(&statement, &[]).await?,
        _ => client.execute(&statement, &[&seconds]).await?,
    };
    Ok(gone)
}

// What somebody else holds is left for the next time.
const OLD_IDS: &str = "DELETE FROM dedupe WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM dedupe WHERE applied_at < extract(epoch FROM now())::bigint - $1
    LIMIT 1000 FOR UPDATE SKIP LOCKED))";

const OLD_ATTEMPTS: &str = "DELETE FROM attempts WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM attempts WHERE counted_at < extract(epoch FROM now())::bigint - $1
    LIMIT 1000 FOR UPDATE SKIP LOCKED))";

const FINISHED_ATTEMPTS: &str = "DELETE FROM attempts WHERE ctid = ANY(ARRAY(
    SELECT a.ctid FROM attempts a JOIN positions p USING (consumer_group, topic, partition)
    WHERE a.record_offset < p.next_offset LIMIT 1000 FOR UPDATE OF a SKIP LOCKED))";

const WITHOUT_ADDRESS: &str = concat!(
    "UPDATE requests SET state = 6, ending = 1, reply = 'no address came', unsettled = true, due = ",
    clock!(),
    " WHERE id = ANY(ARRAY(
        SELECT id FROM requests WHERE state = 4 AND kind = 'mail' AND requested_at < ",
    clock!(),
    " - 2 * 86400000
        LIMIT 1000 FOR UPDATE SKIP LOCKED))"
);

macro_rules! old_requests {
    ($state:literal) => {
        concat!(
            "DELETE FROM requests WHERE id = ANY(ARRAY(
                SELECT id FROM requests WHERE state = ",
            $state,
            " AND kind IN ('mail', 'webhook') AND NOT unsettled AND due < ",
            clock!(),
            " - $1::bigint * 1000 LIMIT 1000 FOR UPDATE SKIP LOCKED))"
        )
    };
}
const OLD_REQUESTS: &str = old_requests!("6");
const LAPSED_REQUESTS: &str = old_requests!("5");

const OLD_LEDGER: &str = concat!(
    "DELETE FROM ledger WHERE request = ANY(ARRAY(
        SELECT request FROM ledger l WHERE changed_at < ",
    clock!(),
    " - $1::bigint * 1000 AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.request = l.request)
        LIMIT 1000 FOR UPDATE SKIP LOCKED))"
);

const OLD_TRIES: &str = concat!(
    "DELETE FROM request_attempts WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM request_attempts a WHERE began_at < ",
    clock!(),
    " - $1::bigint * 1000 AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.request = a.request)
        LIMIT 1000 FOR UPDATE SKIP LOCKED))"
);

const OLD_MAIL_SOURCES: &str = concat!(
    "DELETE FROM mail_sources WHERE event = ANY(ARRAY(
        SELECT event FROM mail_sources m WHERE until < ",
    clock!(),
    " AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.event = m.event AND r.kind = 'mail' AND r.state < 6)
        LIMIT 1000 FOR UPDATE SKIP LOCKED))"
);

const OLD_WEBHOOKS: &str = concat!(
    "DELETE FROM webhook_fan_outs WHERE arrival = ANY(ARRAY(
        SELECT arrival FROM webhook_fan_outs f WHERE arrived_at < ",
    clock!(),
    " - $1::bigint * 1000 AND expanded_to IS NULL
            AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.event = f.event AND r.kind = 'webhook' AND r.state < 6)
        LIMIT 1000 FOR UPDATE SKIP LOCKED))"
);

// A late subscription finds what was announced no longer.
const OLD_FAN_OUTS: &str = concat!(
    "DELETE FROM fan_outs WHERE post = ANY(ARRAY(
        SELECT post FROM fan_outs WHERE expanded_to IS NULL AND arrived_at < ",
    clock!(),
    " - $1::bigint * 1000 LIMIT 1000 FOR UPDATE SKIP LOCKED))"
);

const GONE_SUBSCRIPTIONS: &str = concat!(
    "DELETE FROM subscriptions WHERE ctid = ANY(ARRAY(
        SELECT s.ctid FROM contacts c JOIN subscriptions s ON s.subscriber = c.id
        WHERE c.state IN (2, 3) AND s.arrived_at < ",
    clock!(),
    " - $1::bigint * 1000 LIMIT 1000 FOR UPDATE OF s SKIP LOCKED))"
);

// What is still to be sent stays wanted.
const OLD_NOTIFICATIONS: &str = concat!(
    "DELETE FROM notifications WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM notifications n WHERE time < ",
    clock!(),
    " - $1::bigint * 1000
            AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.event = n.event AND r.kind = 'mail' AND r.state < 6)
        LIMIT 1000 FOR UPDATE SKIP LOCKED))"
);

/// The LIMIT of the statements.
const STEP: u64 = 1_000;

const INTERVAL: Duration = Duration::from_secs(3_600);
