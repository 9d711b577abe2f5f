//! What one event caused in the tables.

use deadpool_postgres::Transaction;

use super::error::Trouble;
use crate::adapters::store::NotificationRow;

/// Returns up to `limit` notifications of an event, and how many there are.
pub(super) async fn notifications(
    tx: &Transaction<'_>,
    event: &str,
    limit: u32,
) -> Result<(Vec<NotificationRow>, u64), Trouble> {
    let (some, count) = tokio::try_join!(
        tx.prepare_cached(
            "SELECT recipient, reason, subject, time FROM notifications WHERE event = $1
             ORDER BY recipient, reason, subject LIMIT $2",
        ),
        tx.prepare_cached("SELECT count(*) FROM notifications WHERE event = $1"),
    )?;
    let limit = i64::from(limit);
    let some_of: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&event, &limit];
    let count_of: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&event];
    let (rows, count) = tokio::try_join!(tx.query(&some, &some_of), tx.query_one(&count, &count_of))?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.push(NotificationRow {
            recipient: row.try_get(0)?,
            reason: row.try_get(1)?,
            subject: row.try_get(2)?,
            time: row.try_get(3)?,
        });
    }
    Ok((found, u64::try_from(count.try_get::<_, i64>(0)?).unwrap_or_default()))
}
