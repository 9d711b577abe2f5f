//! The SQLite store keeps the contract: in memory, on a file, and with several handles on one file at once.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use postroom::adapters::store::SqliteStore;
use postroom::ports::{Param, Store, StoreError};
use postroom::testkit::search_contract;
use postroom::testkit::store_contract::{self, Bench};

struct OnFile(PathBuf);

impl Bench for OnFile {
    type Store = SqliteStore;

    async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.0).unwrap()
    }

    async fn rows(&self, store: &SqliteStore, sql: &str) -> Vec<Vec<Param>> {
        store.query(sql, Vec::new()).await.unwrap()
    }
}

struct InMemory(SqliteStore);

impl Bench for InMemory {
    type Store = SqliteStore;

    async fn open(&self) -> SqliteStore {
        self.0.clone()
    }

    async fn rows(&self, store: &SqliteStore, sql: &str) -> Vec<Vec<Param>> {
        store.query(sql, Vec::new()).await.unwrap()
    }
}

#[tokio::test]
async fn store_in_memory_keeps_the_contract() {
    store_contract::everything(&InMemory(SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test]
async fn outbox_in_memory_keeps_the_contract() {
    store_contract::outbox::everything(&InMemory(SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test]
async fn outbox_on_a_file_keeps_the_contract_over_several_handles() {
    let folder = tempfile::tempdir().unwrap();

    store_contract::outbox::everything(&OnFile(folder.path().join("postroom.db"))).await;
}

#[tokio::test]
async fn store_on_a_file_keeps_the_contract_over_several_handles() {
    let folder = tempfile::tempdir().unwrap();

    store_contract::everything(&OnFile(folder.path().join("postroom.db"))).await;
}

#[tokio::test]
async fn search_in_memory_keeps_the_contract() {
    search_contract::everything(&InMemory(SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test]
async fn search_on_a_file_keeps_the_contract_over_several_handles() {
    let folder = tempfile::tempdir().unwrap();

    search_contract::everything(&OnFile(folder.path().join("postroom.db"))).await;
}

#[tokio::test]
async fn store_on_a_file_keeps_everything_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();

    store_contract::restart_keeps_everything(&OnFile(folder.path().join("postroom.db"))).await;
}

#[test]
fn stores_that_are_opened_at_the_same_moment_agree_on_one_identity() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");

    let openers: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || SqliteStore::open(&path).unwrap().id().clone())
        })
        .collect();
    let ids: Vec<_> = openers.into_iter().map(|opener| opener.join().unwrap()).collect();

    assert!(ids.iter().all(|id| Some(id) == ids.first()), "{ids:?}");
}

#[test]
fn file_of_a_newer_version_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    drop(SqliteStore::open(&path).unwrap());
    let direct = rusqlite::Connection::open(&path).unwrap();
    direct.pragma_update(None, "user_version", 1_000).unwrap();

    let refused = SqliteStore::open(&path);

    assert!(
        matches!(&refused, Err(StoreError::Unusable(why)) if why.contains("version 1000")),
        "{refused:?}"
    );
    let version: i64 = direct.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1_000);
}

#[test]
fn database_of_something_else_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let direct = rusqlite::Connection::open(&path).unwrap();
    direct.execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();

    let refused = SqliteStore::open(&path);

    assert!(
        matches!(&refused, Err(StoreError::Unusable(why)) if why.contains("something else")),
        "{refused:?}"
    );
    let tables: i64 = direct.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn file_that_is_no_database_and_folder_that_is_missing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "buy milk, ".repeat(500)).unwrap();

    assert!(matches!(SqliteStore::open(&text), Err(StoreError::Unusable(_))));
    assert!(matches!(SqliteStore::open(&folder.path().join("no/such.db")), Err(StoreError::Unusable(_))));
}
