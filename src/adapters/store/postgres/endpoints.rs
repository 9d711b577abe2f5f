//! Webhook subscriptions.

use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use super::queue::execute;
use super::{PostgresStore, in_snapshot, in_transaction};
use crate::adapters::store::fitting::stored;
use crate::ports::{Endpoint, Endpoints, StoreFuture};

impl Endpoints for PostgresStore {
    fn endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Endpoint>> {
        Box::pin(async move { in_snapshot!(self, tx => one(&tx, id)) })
    }

    fn endpoints(&self) -> StoreFuture<'_, Vec<Endpoint>> {
        Box::pin(async move { in_snapshot!(self, tx => all(&tx)) })
    }

    fn disabled_endpoints(&self) -> StoreFuture<'_, u64> {
        Box::pin(async move { in_snapshot!(self, tx => disabled(&tx)) })
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> StoreFuture<'_, ()> {
        Box::pin(async move { in_transaction!(self, tx => put(&tx, &endpoint)) })
    }

    fn remove_endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let gone =
                in_transaction!(self, tx => execute(&tx, "DELETE FROM webhooks WHERE id = $1", &[&id]));
            Ok(gone? > 0)
        })
    }

    fn disable_endpoint<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            in_transaction!(self, tx => execute(&tx, DISABLE, &[&id, &now, &stored(why)])).map(drop)
        })
    }

    fn endpoint_failed<'a>(&'a self, id: &'a str, now: i64, pause: Duration) -> StoreFuture<'a, i64> {
        let from = now.saturating_sub(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        Box::pin(async move { in_transaction!(self, tx => failed(&tx, id, now, from)) })
    }

    fn endpoint_answered<'a>(&'a self, id: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async move { in_transaction!(self, tx => execute(&tx, ANSWERED, &[&id])).map(drop) })
    }
}

async fn one(tx: &Transaction<'_>, id: &str) -> Result<Option<Endpoint>, Trouble> {
    let statement = tx.prepare_cached(ONE).await?;
    Ok(tx.query_opt(&statement, &[&id]).await?.as_ref().map(endpoint).transpose()?)
}

async fn all(tx: &Transaction<'_>) -> Result<Vec<Endpoint>, Trouble> {
    let statement = tx.prepare_cached(ALL).await?;
    Ok(tx.query(&statement, &[]).await?.iter().map(endpoint).collect::<Result<_, _>>()?)
}

async fn disabled(tx: &Transaction<'_>) -> Result<u64, Trouble> {
    let statement = tx.prepare_cached(DISABLED).await?;
    let count: i64 = tx.query_one(&statement, &[]).await?.try_get(0)?;
    Ok(u64::try_from(count).unwrap_or_default())
}

async fn failed(tx: &Transaction<'_>, id: &str, now: i64, from: i64) -> Result<i64, Trouble> {
    let statement = tx.prepare_cached(FAILED).await?;
    let since = tx.query_opt(&statement, &[&id, &now, &from]).await?.map(|row| row.try_get(0)).transpose()?;
    Ok(since.unwrap_or(now))
}

async fn put(tx: &Transaction<'_>, endpoint: &Endpoint) -> Result<(), Trouble> {
    let Endpoint { id, url, secrets, types, created_at, disabled, failing_since } = endpoint;
    let (since, why) = disabled.clone().unzip();
    let (secrets, types) = (secrets.join("\n"), types.join("\n"));
    execute(tx, PUT, &[id, url, &secrets, &types, created_at, &since, &why, failing_since]).await.map(drop)
}

fn endpoint(row: &Row) -> Result<Endpoint, tokio_postgres::Error> {
    let lines = |text: String| text.lines().map(str::to_owned).collect();
    Ok(Endpoint {
        id: row.try_get(0)?,
        url: row.try_get(1)?,
        secrets: lines(row.try_get(2)?),
        types: lines(row.try_get(3)?),
        created_at: row.try_get(4)?,
        disabled: row.try_get::<_, Option<i64>>(5)?.zip(row.try_get(6)?),
        failing_since: row.try_get(7)?,
    })
}

macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT id, url, secrets, types, created_at, disabled_at, disabled_why, failing_since FROM webhooks ",
            $rest
        )
    };
}
const ONE: &str = columns!("WHERE id = $1");
const ALL: &str = columns!("ORDER BY id");

const DISABLED: &str = "SELECT count(*) FROM webhooks WHERE disabled_at IS NOT NULL";

const PUT: &str =
    "INSERT INTO webhooks (id, url, secrets, types, created_at, disabled_at, disabled_why, failing_since)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (id) DO UPDATE SET url = excluded.url, secrets = excluded.secrets, types = excluded.types,
        created_at = excluded.created_at, disabled_at = excluded.disabled_at,
        disabled_why = excluded.disabled_why, failing_since = excluded.failing_since,
        failed_at = CASE WHEN excluded.failing_since IS NOT NULL THEN webhooks.failed_at END";

const DISABLE: &str =
    "UPDATE webhooks SET disabled_at = $2, disabled_why = $3 WHERE id = $1 AND disabled_at IS NULL";

const FAILED: &str = "UPDATE webhooks SET failed_at = greatest(failed_at, $2::bigint),
        failing_since = CASE WHEN failed_at >= $3::bigint THEN coalesce(failing_since, $2) ELSE $2 END
    WHERE id = $1 RETURNING failing_since";

const ANSWERED: &str = "UPDATE webhooks SET failing_since = NULL, failed_at = NULL WHERE id = $1";
