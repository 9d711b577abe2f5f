//! Webhook subscriptions.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use super::queue::execute;
use super::{PostgresStore, in_snapshot, in_transaction};
use crate::ports::{Endpoint, Endpoints, StoreFuture};

impl Endpoints for PostgresStore {
    fn endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Endpoint>> {
        Box::pin(async move { in_snapshot!(self, tx => one(&tx, id)) })
    }

    fn endpoints(&self) -> StoreFuture<'_, Vec<Endpoint>> {
        Box::pin(async move { in_snapshot!(self, tx => all(&tx)) })
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
        Box::pin(
            async move { in_transaction!(self, tx => execute(&tx, DISABLE, &[&id, &now, &why])).map(drop) },
        )
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

async fn put(tx: &Transaction<'_>, endpoint: &Endpoint) -> Result<(), Trouble> {
    let Endpoint { id, url, secrets, types, created_at, disabled } = endpoint;
    let (since, why) = disabled.clone().unzip();
    let (secrets, types) = (secrets.join("\n"), types.join("\n"));
    execute(tx, PUT, &[id, url, &secrets, &types, created_at, &since, &why]).await.map(drop)
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
    })
}

macro_rules! columns {
    ($rest:literal) => {
        concat!("SELECT id, url, secrets, types, created_at, disabled_at, disabled_why FROM webhooks ", $rest)
    };
}
const ONE: &str = columns!("WHERE id = $1");
const ALL: &str = columns!("ORDER BY id");

const PUT: &str = "INSERT INTO webhooks (id, url, secrets, types, created_at, disabled_at, disabled_why)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (id) DO UPDATE SET url = excluded.url, secrets = excluded.secrets, types = excluded.types,
        created_at = excluded.created_at, disabled_at = excluded.disabled_at,
        disabled_why = excluded.disabled_why";

const DISABLE: &str =
    "UPDATE webhooks SET disabled_at = $2, disabled_why = $3 WHERE id = $1 AND disabled_at IS NULL";
