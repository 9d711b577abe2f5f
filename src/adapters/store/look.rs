//! Looks at the configured store without changing it.

use crate::adapters::store::{PostgresStore, SqliteStore};
use crate::config::{Config, StoreUrl};
use crate::ports::StoreError;

/// What a store is, at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreLook {
    /// It is not there, or holds no tables of ours: the first start makes them.
    Empty,
    /// It is there.
    There {
        /// The version of its tables.
        version: u32,
        /// The version that this program makes of them.
        known: u32,
    },
}

/// Looks at the configured store.
///
/// # Errors
/// `Unusable` where it is not ours, is damaged, or does not let us in; `Away` where it does not answer.
pub async fn look(config: &Config) -> Result<StoreLook, StoreError> {
    match &config.store.url {
        StoreUrl::Sqlite(path) => {
            let path = path.clone();
            let looked = tokio::task::spawn_blocking(move || SqliteStore::look(&path));
            looked.await.map_err(|error| StoreError::Away(error.to_string()))?
        }
        StoreUrl::Postgres(url) => PostgresStore::look(url.expose(), &super::any::settings(config)).await,
    }
}
