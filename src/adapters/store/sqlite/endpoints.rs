//! Webhook subscriptions.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::error::ours;
use crate::adapters::store::fitting::stored;
use crate::ports::{Endpoint, Endpoints, StoreError, StoreFuture};

impl Endpoints for SqliteStore {
    fn endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Endpoint>> {
        let id = id.to_owned();
        Box::pin(self.read(move |connection| one(connection, &id)))
    }

    fn endpoints(&self) -> StoreFuture<'_, Vec<Endpoint>> {
        Box::pin(self.read(all))
    }

    fn disabled_endpoints(&self) -> StoreFuture<'_, u64> {
        Box::pin(self.read(disabled))
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> StoreFuture<'_, ()> {
        Box::pin(self.write(move |connection| put(connection, &endpoint)))
    }

    fn remove_endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, bool> {
        let id = id.to_owned();
        Box::pin(self.write(move |connection| {
            let gone = execute(connection, "DELETE FROM webhooks WHERE id = ?1", params![id])?;
            Ok(gone > 0)
        }))
    }

    fn disable_endpoint<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()> {
        let (id, why) = (id.to_owned(), stored(why).into_owned());
        Box::pin(self.write(move |connection| {
            let sql = "UPDATE webhooks SET disabled_at = ?2, disabled_why = ?3 WHERE id = ?1 AND disabled_at IS NULL";
            execute(connection, sql, params![id, now, why]).map(drop)
        }))
    }

    fn endpoint_failed<'a>(&'a self, id: &'a str, now: i64, pause: Duration) -> StoreFuture<'a, i64> {
        let id = id.to_owned();
        let from = now.saturating_sub(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        Box::pin(self.write(move |connection| failed(connection, &id, now, from)))
    }

    fn endpoint_answered<'a>(&'a self, id: &'a str) -> StoreFuture<'a, ()> {
        let id = id.to_owned();
        Box::pin(self.write(move |connection| {
            let sql = "UPDATE webhooks SET failing_since = NULL, failed_at = NULL WHERE id = ?1";
            execute(connection, sql, params![id]).map(drop)
        }))
    }
}

fn one(connection: &Connection, id: &str) -> Result<Option<Endpoint>, StoreError> {
    connection
        .prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))
        .and_then(|mut statement| statement.query_row([id], endpoint).optional())
        .map_err(ours)
}

fn all(connection: &Connection) -> Result<Vec<Endpoint>, StoreError> {
    connection
        .prepare_cached(&format!("{COLUMNS} ORDER BY id"))
        .and_then(|mut statement| statement.query_map([], endpoint)?.collect())
        .map_err(ours)
}

fn disabled(connection: &Connection) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM webhooks WHERE disabled_at IS NOT NULL")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(ours)?;
    Ok(u64::try_from(count).unwrap_or_default())
}

fn failed(connection: &Connection, id: &str, now: i64, from: i64) -> Result<i64, StoreError> {
    let sql = "UPDATE webhooks SET failed_at = max(coalesce(failed_at, ?2), ?2),
            failing_since = CASE WHEN failed_at >= ?3 THEN coalesce(failing_since, ?2) ELSE ?2 END
        WHERE id = ?1 RETURNING failing_since";
    let since = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params![id, now, from], |row| row.get(0)).optional())
        .map_err(ours)?;
    Ok(since.unwrap_or(now))
}

fn put(connection: &Connection, endpoint: &Endpoint) -> Result<(), StoreError> {
    let Endpoint { id, url, secrets, types, created_at, disabled, failing_since } = endpoint;
    let (since, why) = disabled.clone().unzip();
    execute(
        connection,
        "INSERT OR REPLACE INTO webhooks (id, url, secrets, types, created_at, disabled_at, disabled_why,
             failing_since, failed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
             iif(?8 IS NULL, NULL, (SELECT failed_at FROM webhooks WHERE id = ?1)))",
        params![id, url, secrets.join("\n"), types.join("\n"), created_at, since, why, failing_since],
    )
    .map(drop)
}

fn endpoint(row: &Row<'_>) -> rusqlite::Result<Endpoint> {
    let lines = |text: String| text.lines().map(str::to_owned).collect();
    Ok(Endpoint {
        id: row.get(0)?,
        url: row.get(1)?,
        secrets: lines(row.get(2)?),
        types: lines(row.get(3)?),
        created_at: row.get(4)?,
        disabled: row.get::<_, Option<i64>>(5)?.zip(row.get(6)?),
        failing_since: row.get(7)?,
    })
}

fn execute(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(ours)
}

const COLUMNS: &str =
    "SELECT id, url, secrets, types, created_at, disabled_at, disabled_why, failing_since FROM webhooks";
