//! What one event caused in the tables.

use rusqlite::Connection;

use super::error::ours;
use crate::adapters::store::NotificationRow;
use crate::ports::StoreError;

/// Returns up to `limit` notifications of an event, and how many there are.
pub(super) fn notifications(
    connection: &Connection,
    event: &str,
    limit: u32,
) -> Result<(Vec<NotificationRow>, u64), StoreError> {
    let read = || {
        let rows = connection
            .prepare_cached(
                "SELECT recipient, reason, subject, time FROM notifications WHERE event = ?1
                 ORDER BY recipient, reason LIMIT ?2",
            )?
            .query_map((event, limit), |row| {
                Ok(NotificationRow {
                    recipient: row.get(0)?,
                    reason: row.get(1)?,
                    subject: row.get(2)?,
                    time: row.get(3)?,
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        if rows.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            return Ok((rows, count));
        }
        let count = connection
            .prepare_cached("SELECT count(*) FROM notifications WHERE event = ?1")?
            .query_row([event], |row| row.get::<_, i64>(0))?;
        Ok((rows, u64::try_from(count).unwrap_or_default()))
    };
    read().map_err(ours)
}
