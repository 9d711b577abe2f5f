//! The tables of the file: made, brought up to date, and refused where they are not ours.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::error::ours;
use crate::adapters::store::StoreLook;
use crate::ports::{StoreError, StoreId};

/// Opens the file, made where it is missing, without touching its tables.
pub(super) fn open(path: &Path, busy: Duration) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| StoreError::Unusable(format!("{}: {error}", path.display())))?;
    prepare(&connection, busy)?;
    Ok(connection)
}

/// Opens tables that live in memory and end with the connection.
pub(super) fn open_in_memory(busy: Duration) -> Result<Connection, StoreError> {
    let connection = Connection::open_in_memory().map_err(ours)?;
    prepare(&connection, busy)?;
    Ok(connection)
}

/// Reads the version of the tables, without changing anything.
pub(super) fn look(path: &Path, busy: Duration) -> Result<StoreLook, StoreError> {
    if !path.exists() {
        return Ok(StoreLook::Empty);
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|error| StoreError::Unusable(format!("{}: {error}", path.display())))?;
    connection.busy_timeout(busy).map_err(ours)?;
    let number =
        |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(ours);
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(ours)?;
    if application != i64::from(APPLICATION) {
        if tables == 0 && version == 0 {
            return Ok(StoreLook::Empty);
        }
        return Err(StoreError::Unusable("the file is a database of something else".to_owned()));
    }
    Ok(StoreLook::There {
        version: u32::try_from(version).unwrap_or_default(),
        known: u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX),
    })
}

fn prepare(connection: &Connection, busy: Duration) -> Result<(), StoreError> {
    connection.busy_timeout(busy).map_err(ours)?;
    connection.set_prepared_statement_cache_capacity(128);
    write_ahead(connection)?;
    // The position must be as durable as Kafka's commit that follows it: a commit waits for the disk.
    connection.pragma_update(None, "synchronous", "FULL").map_err(ours)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024).map_err(ours)?;
    Ok(())
}

/// The switch to the write-ahead log does not wait for other processes that open the file: ask again.
#[expect(clippy::disallowed_methods, reason = "SQLite has no wait of its own here, and opening may block")]
fn write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Ok(()) => return Ok(()),
            Err(error) => {
                tries += 1;
                let busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
                if !busy || tries > SWITCH_TRIES {
                    return Err(ours(error));
                }
                std::thread::sleep(SWITCH_PAUSE);
            }
        }
    }
}

/// Brings the tables up to date in one transaction and reads the store's identity.
///
/// # Errors
/// Refuses tables of a newer version, and a database that is not ours.
pub(super) fn migrate(connection: &mut Connection) -> Result<StoreId, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(ours)?;
    let application: i32 =
        transaction.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(ours)?;
    let version: u32 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(ours)?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(ours)?;
    if application != APPLICATION && (tables > 0 || version > 0) {
        return Err(StoreError::Unusable("the file is a database of something else".to_owned()));
    }
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if version > known {
        return Err(StoreError::Unusable(format!(
            "its tables have version {version} and this program knows versions up to {known}: use a newer program"
        )));
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
        transaction.execute_batch(migration).map_err(ours)?;
    }
    if version < known {
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(ours)?;
        transaction.pragma_update(None, "user_version", known).map_err(ours)?;
    }
    let id = transaction.query_row("SELECT id FROM identity", [], |row| row.get(0)).map_err(ours)?;
    transaction.commit().map_err(ours)?;
    Ok(StoreId(id))
}

/// In their order: the version of a file is how many of them it has seen. Never change one that was released.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_webhooks.sql"),
    include_str!("migrations/0003_outbox.sql"),
    include_str!("migrations/0004_search.sql"),
    include_str!("migrations/0005_thumbnails.sql"),
    include_str!("migrations/0006_upkeep.sql"),
];

/// Marks a SQLite file as ours: "Post".
const APPLICATION: i32 = 0x506f_7374;

const SWITCH_TRIES: u32 = 500;
const SWITCH_PAUSE: Duration = Duration::from_millis(10);
