//! Rows that nobody will ask for again.

use std::time::Duration;

use rusqlite::Connection;

use super::error::ours;
use crate::ports::StoreError;

/// Removes ids and attempts that are older than `retention`, and attempts below their position. Returns how many
/// rows went. Each step is a transaction of its own, so that others can write in between.
pub(super) fn clean(connection: &Connection, retention: Duration) -> Result<usize, StoreError> {
    let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
    let mut removed = 0;
    for sql in [OLD_IDS, OLD_ATTEMPTS, FINISHED_ATTEMPTS] {
        loop {
            let gone = connection
                .prepare_cached(sql)
                .and_then(|mut statement| {
                    if statement.parameter_count() == 0 {
                        statement.execute([])
                    } else {
                        statement.execute([seconds])
                    }
                })
                .map_err(ours)?;
            removed += gone;
            if gone < STEP {
                break;
            }
        }
    }
    Ok(removed)
}

const OLD_IDS: &str = "DELETE FROM dedupe WHERE (consumer_group, id) IN (
    SELECT consumer_group, id FROM dedupe WHERE applied_at < unixepoch() - ?1 LIMIT 1000)";

const OLD_ATTEMPTS: &str = "DELETE FROM attempts WHERE (consumer_group, topic, partition, record_offset) IN (
    SELECT consumer_group, topic, partition, record_offset FROM attempts
    WHERE counted_at < unixepoch() - ?1 LIMIT 1000)";

const FINISHED_ATTEMPTS: &str =
    "DELETE FROM attempts WHERE (consumer_group, topic, partition, record_offset) IN (
    SELECT a.consumer_group, a.topic, a.partition, a.record_offset
    FROM attempts a JOIN positions p USING (consumer_group, topic, partition)
    WHERE a.record_offset < p.next_offset LIMIT 1000)";

/// The LIMIT of the statements.
const STEP: usize = 1_000;
