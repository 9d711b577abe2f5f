//! The tables of the database: made, brought up to date while older members work on, and refused where they are newer
//! than this program and not compatible with it.

use std::time::Duration;

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::error::SqlState;

use super::error::Trouble;
use crate::adapters::store::StoreLook;
use crate::ports::{StoreError, StoreId};

/// A change of the tables.
struct Migration {
    name: &'static str,
    sql: &'static str,
    /// The oldest version of the tables that a program may have been made for and still work with them after this
    /// change. A change that only adds leaves it where it was.
    works_with: i32,
}

/// In their order; the first is version 1. Never change one that was released.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "spine", sql: include_str!("migrations/0001_spine.sql"), works_with: 1 },
    Migration { name: "effects", sql: include_str!("migrations/0002_effects.sql"), works_with: 1 },
];

/// Brings the tables up to date, a transaction a change, one member at a time, and reads the store's identity.
///
/// # Errors
/// `Unusable` where a newer program made tables that this one cannot use, or the server is too old; `Away` where
/// others keep the tables locked.
pub(super) async fn migrate(client: &mut Client, schema: &str) -> Result<StoreId, Trouble> {
    recent(client).await?;
    for tries in 0.. {
        match up_to(client, schema, MIGRATIONS).await {
            Err(Trouble::Store(StoreError::Away(_)) | Trouble::Conflict(_)) if tries < LOCK_TRIES => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            other => return other,
        }
    }
    Err(StoreError::Away("the tables are locked".to_owned()).into())
}

/// Reads the version of the tables, without changing anything.
pub(super) async fn look(client: &Client, schema: &str) -> Result<StoreLook, Trouble> {
    recent(client).await?;
    let table = format!("{schema}.postroom_migrations");
    let there = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?;
    if !there.try_get::<_, bool>(0)? {
        return Ok(StoreLook::Empty);
    }
    let row = client.query_one(&format!("SELECT coalesce(max(version), 0) FROM {table}"), &[]).await?;
    let version = row.try_get::<_, i32>(0)?;
    Ok(StoreLook::There {
        version: u32::try_from(version).unwrap_or_default(),
        known: u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX),
    })
}

/// Refuses servers that lack what we use.
async fn recent(client: &Client) -> Result<(), Trouble> {
    let row = client.query_one("SELECT current_setting('server_version_num')::int", &[]).await?;
    let number: i32 = row.try_get(0)?;
    if number < OLDEST_SERVER {
        let version = number / 10_000;
        return Err(
            StoreError::Unusable(format!("PostgreSQL {version} is too old: 13 or newer is needed")).into()
        );
    }
    Ok(())
}

async fn up_to(client: &mut Client, schema: &str, migrations: &[Migration]) -> Result<StoreId, Trouble> {
    let mut version = begin(client, schema).await?;
    while let Some(next) = usize::try_from(version).ok().and_then(|at| migrations.get(at)) {
        let tx = client.transaction().await?;
        lock(&tx, schema).await?;
        // Somebody else may have done it in the meantime.
        if applied(&tx, schema).await?.0 == version {
            tx.batch_execute(next.sql).await?;
            tx.execute(
                "INSERT INTO postroom_migrations (version, name, works_with) VALUES ($1, $2, $3)",
                &[&(version + 1), &next.name, &next.works_with],
            )
            .await?;
        }
        tx.commit().await?;
        version += 1;
    }
    let row = client.query_one("SELECT id FROM identity", &[]).await?;
    Ok(StoreId(row.try_get(0)?))
}

/// Makes the schema and the list of changes where they are missing, and returns the version of the tables.
async fn begin(client: &mut Client, schema: &str) -> Result<i32, Trouble> {
    let tx = client.transaction().await?;
    lock(&tx, schema).await?;
    let is_there = tx.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&schema]).await?.is_some();
    // Asked for first: who may not make one may use one.
    if !is_there {
        tx.batch_execute(&format!("CREATE SCHEMA {schema}")).await.map_err(|error| rights(error, schema))?;
    }
    tx.batch_execute(&format!(
        "CREATE TABLE IF NOT EXISTS {schema}.postroom_migrations (
            version INT PRIMARY KEY, name TEXT NOT NULL, works_with INT NOT NULL,
            applied_at TIMESTAMPTZ NOT NULL DEFAULT now())"
    ))
    .await
    .map_err(|error| rights(error, schema))?;
    let (version, works_with) = applied(&tx, schema).await?;
    tx.commit().await?;
    let known = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if works_with > known {
        return Err(StoreError::Unusable(format!(
            "its tables have version {version}, which needs a program for version {works_with} at least, and this one \
             is for version {known}: use a newer program"
        ))
        .into());
    }
    Ok(version)
}

/// Returns the version of the tables, and what a program must have been made for at least.
async fn applied(tx: &Transaction<'_>, schema: &str) -> Result<(i32, i32), Trouble> {
    let sql = format!(
        "SELECT coalesce(max(version), 0), coalesce(max(works_with), 0) FROM {schema}.postroom_migrations"
    );
    let row = tx.query_one(&sql, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// One member at a time, until the transaction ends. Whoever changes a table waits only shortly for its lock: behind
/// one that waits, everybody who works would wait too.
async fn lock(tx: &Transaction<'_>, schema: &str) -> Result<(), Trouble> {
    tx.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'").await?;
    tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 1886352244))", &[&schema]).await?;
    // The path was looked up before: whoever waited here may have made the schema meanwhile, and tables without it would be
    // looked for, and made, in the next one of the path.
    tx.batch_execute(&format!("SET LOCAL lock_timeout = '2s'; SET LOCAL search_path = {schema}, public"))
        .await?;
    Ok(())
}

fn rights(error: tokio_postgres::Error, schema: &str) -> Trouble {
    if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return StoreError::Unusable(format!(
            "the user may not make tables in the schema {schema}: CREATE SCHEMA {schema} AUTHORIZATION user"
        ))
        .into();
    }
    error.into()
}

const OLDEST_SERVER: i32 = 130_000;
const LOCK_TRIES: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_millis(500);
