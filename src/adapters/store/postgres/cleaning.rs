//! Rows that nobody will ask for again.

use std::sync::Arc;
use std::time::Duration;

use super::PostgresStore;
use super::error::Trouble;
use crate::ports::StoreError;

/// Cleans each hour, as long as somebody has a handle. Of several processes that clean at once, each finds less to do.
pub(super) fn keep_clean(store: &PostgresStore) {
    let (inner, retention) = (Arc::downgrade(&store.inner), store.inner.retention);
    tokio::spawn(async move {
        loop {
            let Some(inner) = inner.upgrade() else { return };
            if let Err(error) = clean(&PostgresStore { inner }, retention).await {
                tracing::warn!(%error, "old rows were not removed");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
}

/// Removes ids and attempts that are older than `retention`, and attempts below their position. Returns how many rows
/// went. Each step is a transaction of its own, so that nobody waits long.
pub(super) async fn clean(store: &PostgresStore, retention: Duration) -> Result<usize, StoreError> {
    let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX / 2_000);
    let mut removed = 0;
    for sql in [OLD_IDS, OLD_ATTEMPTS, FINISHED_ATTEMPTS] {
        loop {
            let gone = step(store, sql, seconds).await.map_err(Trouble::told)?;
            removed += usize::try_from(gone).unwrap_or(usize::MAX);
            if gone < STEP {
                break;
            }
        }
    }
    Ok(removed)
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

/// The LIMIT of the statements.
const STEP: u64 = 1_000;

const INTERVAL: Duration = Duration::from_secs(3_600);
