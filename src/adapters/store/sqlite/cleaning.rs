//! Rows that nobody will ask for again.

use std::time::Duration;

use rusqlite::Connection;

use super::error::ours;
use super::queue;
use crate::ports::{RequestEnding, StoreError};

/// Removes ids, attempts and requests that are older than `retention`, and attempts below their position; withdraws
/// mails that never got an address. Returns how many rows went. Each step is a transaction of its own, so that others can write in between.
pub(super) fn clean(connection: &Connection, retention: Duration) -> Result<usize, StoreError> {
    let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
    let mut removed = 0;
    withdraw_without_address(connection)?;
    for sql in [
        OLD_IDS,
        OLD_ATTEMPTS,
        FINISHED_ATTEMPTS,
        OLD_REQUESTS,
        LAPSED_REQUESTS,
        OLD_LEDGER,
        OLD_TRIES,
        OLD_MAIL_SOURCES,
        OLD_WEBHOOKS,
    ] {
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

/// Mails that have waited for an address, or behind one that does, for as long as a mail is tried are no longer wanted.
fn withdraw_without_address(connection: &Connection) -> Result<(), StoreError> {
    loop {
        connection.execute_batch("SAVEPOINT clean").map_err(ours)?;
        let step = withdraw_some(connection);
        let end = if step.is_ok() { "RELEASE clean" } else { "ROLLBACK TO clean; RELEASE clean" };
        connection.execute_batch(end).map_err(ours)?;
        if step? == 0 {
            return Ok(());
        }
    }
}

fn withdraw_some(connection: &Connection) -> Result<usize, StoreError> {
    let rows: Vec<(i64, i64)> = connection
        .prepare_cached(WITHOUT_ADDRESS)
        .and_then(|mut statement| statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(ours)?;
    for (row, now) in &rows {
        queue::end(connection, *row, RequestEnding::Withdrawn, "no address came", *now)?;
    }
    Ok(rows.len())
}

// Closed, the head makes way for the next, which has no address either and is found in the next round.
const WITHOUT_ADDRESS: &str = "SELECT id, unixepoch() * 1000 FROM requests WHERE state = 4 AND kind = 'mail'
    AND requested_at < (unixepoch() - 2 * 86400) * 1000 LIMIT 1000";

const OLD_REQUESTS: &str = "DELETE FROM requests WHERE id IN (
    SELECT id FROM requests WHERE state = 6 AND kind IN ('mail', 'webhook') AND due < (unixepoch() - ?1) * 1000
    LIMIT 1000)";

const LAPSED_REQUESTS: &str = "DELETE FROM requests WHERE id IN (
    SELECT id FROM requests WHERE state = 5 AND kind IN ('mail', 'webhook') AND due < (unixepoch() - ?1) * 1000
    LIMIT 1000)";

const OLD_LEDGER: &str = "DELETE FROM ledger WHERE request IN (
    SELECT request FROM ledger WHERE changed_at < (unixepoch() - ?1) * 1000
        AND request NOT IN (SELECT request FROM requests) LIMIT 1000)";

const OLD_TRIES: &str = "DELETE FROM request_attempts WHERE (request, attempt) IN (
    SELECT request, attempt FROM request_attempts WHERE began_at < (unixepoch() - ?1) * 1000
        AND request NOT IN (SELECT request FROM requests) LIMIT 1000)";

const OLD_MAIL_SOURCES: &str = "DELETE FROM mail_sources WHERE event IN (
    SELECT event FROM mail_sources m WHERE until < unixepoch() * 1000
        AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.event = m.event AND r.kind = 'mail' AND r.state < 6)
    LIMIT 1000)";

const OLD_WEBHOOKS: &str = "DELETE FROM webhook_fan_outs WHERE arrival IN (
    SELECT arrival FROM webhook_fan_outs f WHERE arrived_at < (unixepoch() - ?1) * 1000 AND expanded_to IS NULL
        AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.event = f.event AND r.kind = 'webhook' AND r.state < 6)
    LIMIT 1000)";

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
