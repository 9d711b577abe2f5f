//! The store that the configuration chooses: the rest of the program does not know which it is.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use postroom_core::{Attempt, Offset, TopicPartition};

use crate::adapters::store::{
    NotificationRow, PositionRow, PostgresSettings, PostgresStore, RequestStory, SqliteSettings, SqliteStore,
    Summary, ThumbnailLine, WaitingDeliveries,
};
use crate::config::{Config, StoreUrl};
use crate::ports::{
    Applied, Claim, DueRow, Endpoint, Endpoints, Expansion, FanOut, IfUnknown, Ledger, Outbox, OutboxBacklog,
    Param, Reservation, Search, SearchPage, SearchRequest, Store, StoreError, StoreFuture, StoreId, Unit,
};

/// One of the engines. Handles are cheap to clone.
#[derive(Clone, Debug)]
pub enum AnyStore {
    /// In an SQLite file.
    Sqlite(SqliteStore),
    /// In a PostgreSQL database.
    Postgres(PostgresStore),
}

impl From<SqliteStore> for AnyStore {
    fn from(store: SqliteStore) -> Self {
        Self::Sqlite(store)
    }
}

impl From<PostgresStore> for AnyStore {
    fn from(store: PostgresStore) -> Self {
        Self::Postgres(store)
    }
}

/// Asks whichever it is.
macro_rules! ask {
    ($self:expr, $store:ident => $ask:expr) => {
        match $self {
            AnyStore::Sqlite($store) => $ask,
            AnyStore::Postgres($store) => $ask,
        }
    };
}

impl AnyStore {
    /// Opens the configured store, makes it where it is missing, and brings its tables up to date.
    ///
    /// # Errors
    /// `Unusable` where it is not ours, was written by a newer version, or does not let us in; `Away` where it does
    /// not answer.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        match &config.store.url {
            StoreUrl::Sqlite(path) => {
                let path = path.clone();
                let notifications = Some(config.store.notifications).filter(|span| !span.is_zero());
                let settings = SqliteSettings { notifications, ..SqliteSettings::default() };
                let opened = tokio::task::spawn_blocking(move || SqliteStore::open_with(&path, settings));
                opened.await.map_err(|error| StoreError::Away(error.to_string()))?.map(Self::from)
            }
            StoreUrl::Postgres(url) => {
                PostgresStore::connect(url.expose(), settings(config)).await.map(Self::from)
            }
        }
    }

    /// Says whether the configured store may be there: a file that is missing is not, a server is asked by opening it.
    pub fn may_be_there(url: &StoreUrl) -> bool {
        match url {
            StoreUrl::Sqlite(path) => path.exists(),
            StoreUrl::Postgres(_) => true,
        }
    }

    /// Says whether the configured address can be read, without asking anybody.
    ///
    /// # Errors
    /// `Unusable`, with the reason.
    pub fn check(config: &Config) -> Result<(), StoreError> {
        match &config.store.url {
            StoreUrl::Sqlite(_) => Ok(()),
            StoreUrl::Postgres(url) => PostgresStore::check(url.expose(), &settings(config)),
        }
    }

    /// Reads the positions of all groups, by group, topic and partition.
    ///
    /// # Errors
    /// As the store's.
    pub async fn positions(&self) -> Result<Vec<PositionRow>, StoreError> {
        ask!(self, store => store.positions().await)
    }

    /// Writes a position by an operator's wish. Whoever owns the partition is fenced.
    ///
    /// # Errors
    /// As the store's.
    pub async fn set_position(
        &self,
        group: &str,
        partition: &TopicPartition,
        next: Offset,
    ) -> Result<(), StoreError> {
        ask!(self, store => store.set_position(group, partition, next).await)
    }

    /// Counts what the tables hold, with up to `top` lines of posts and of authors.
    ///
    /// # Errors
    /// As the store's.
    pub async fn summary(&self, top: u32) -> Result<Summary, StoreError> {
        ask!(self, store => store.summary(top).await)
    }

    /// Reads what became of the mails and deliveries that an event caused, up to `limit`, the oldest first.
    ///
    /// # Errors
    /// As the store's.
    pub async fn requests_of_event(&self, event: &str, limit: u32) -> Result<Vec<RequestStory>, StoreError> {
        ask!(self, store => store.requests_of_event(event, limit).await)
    }

    /// Reads what waits for each endpoint, by endpoint.
    ///
    /// # Errors
    /// As the store's.
    pub async fn waiting_deliveries(&self) -> Result<Vec<WaitingDeliveries>, StoreError> {
        ask!(self, store => store.waiting_deliveries().await)
    }

    /// Returns up to `limit` notifications that an event caused, and how many there are.
    ///
    /// # Errors
    /// As the store's.
    pub async fn notifications_of_event(
        &self,
        event: &str,
        limit: u32,
    ) -> Result<(Vec<NotificationRow>, u64), StoreError> {
        ask!(self, store => store.notifications_of_event(event, limit).await)
    }

    /// Reads the thumbnails that were made last, the newest first, up to `limit` pictures.
    ///
    /// # Errors
    /// As the store's.
    pub async fn recent_thumbnails(&self, limit: u32) -> Result<Vec<ThumbnailLine>, StoreError> {
        ask!(self, store => store.recent_thumbnails(limit).await)
    }

    /// Reads the thumbnails that were made for an event; `None` where there are none (yet).
    ///
    /// # Errors
    /// As the store's.
    pub async fn thumbnails_of_event(&self, event: &str) -> Result<Option<ThumbnailLine>, StoreError> {
        ask!(self, store => store.thumbnails_of_event(event).await)
    }

    /// Reads all tables of `project` and `notify`, for comparison with an independent count. Large.
    ///
    /// # Errors
    /// As the store's.
    pub async fn dump(&self) -> Result<serde_json::Value, StoreError> {
        ask!(self, store => store.dump().await)
    }

    /// Runs a question of one's own, for tests and reports: a row is a list of columns.
    ///
    /// # Errors
    /// `Refused` where it does not compile or would write, else as the store's.
    pub async fn query(&self, sql: &str, params: Vec<Param>) -> Result<Vec<Vec<Param>>, StoreError> {
        ask!(self, store => store.query(sql, params).await)
    }

    /// Removes what nobody will ask for again; the store does so by itself each hour. Returns how many rows went.
    ///
    /// # Errors
    /// That of the first step that failed; the others were done all the same.
    pub async fn clean(&self) -> Result<usize, StoreError> {
        ask!(self, store => store.clean().await)
    }
}

pub(super) fn settings(config: &Config) -> PostgresSettings {
    let store = &config.store;
    PostgresSettings {
        schema: store.schema.clone(),
        password: store.password.as_ref().map(|password| password.expose().to_owned()),
        connections: store.connections.get(),
        notifications: Some(store.notifications).filter(|span| !span.is_zero()),
        ..PostgresSettings::default()
    }
    .within(config.kafka.session_timeout)
}

impl Store for AnyStore {
    fn id(&self) -> &StoreId {
        ask!(self, store => store.id())
    }

    fn claim<'a>(&'a self, group: &'a str, partition: &'a TopicPartition) -> StoreFuture<'a, Claim> {
        ask!(self, store => store.claim(group, partition))
    }

    fn apply<'a>(&'a self, claim: &'a mut Claim, unit: Unit) -> StoreFuture<'a, Applied> {
        ask!(self, store => store.apply(claim, unit))
    }

    fn count_attempt<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        offset: Offset,
        attempt: Attempt,
    ) -> StoreFuture<'a, ()> {
        ask!(self, store => store.count_attempt(group, partition, offset, attempt))
    }

    fn forget_attempts<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        below: Offset,
    ) -> StoreFuture<'a, ()> {
        ask!(self, store => store.forget_attempts(group, partition, below))
    }
}

impl FanOut for AnyStore {
    fn expand_fan_out(&self, limit: u32) -> StoreFuture<'_, Expansion> {
        ask!(self, store => store.expand_fan_out(limit))
    }
}

impl Outbox for AnyStore {
    fn made_way(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        ask!(self, store => store.made_way())
    }

    fn take_due(&self, now: i64, limit: u32, lease: Duration) -> StoreFuture<'_, Vec<DueRow>> {
        ask!(self, store => store.take_due(now, limit, lease))
    }

    fn published(&self, rows: Vec<i64>, now: i64, patience: Duration) -> StoreFuture<'_, ()> {
        ask!(self, store => store.published(rows, now, patience))
    }

    fn given_back(&self, rows: Vec<i64>, not_before: i64) -> StoreFuture<'_, ()> {
        ask!(self, store => store.given_back(rows, not_before))
    }

    fn given_up(&self, row: i64, now: i64, why: &str) -> StoreFuture<'_, ()> {
        ask!(self, store => store.given_up(row, now, why))
    }

    fn backlog(&self, now: i64) -> StoreFuture<'_, OutboxBacklog> {
        ask!(self, store => store.backlog(now))
    }
}

impl Ledger for AnyStore {
    fn reserve_with<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        lease: Duration,
        if_unknown: IfUnknown,
    ) -> StoreFuture<'a, Reservation> {
        ask!(self, store => store.reserve_with(id, owner, now, lease, if_unknown))
    }

    fn defer<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        not_before: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        ask!(self, store => store.defer(id, owner, now, not_before, reply))
    }

    fn attempt_failed<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        ask!(self, store => store.attempt_failed(id, owner, now, reply))
    }

    fn done<'a>(&'a self, id: &'a str, now: i64, reply: &'a str) -> StoreFuture<'a, ()> {
        ask!(self, store => store.done(id, now, reply))
    }

    fn died<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()> {
        ask!(self, store => store.died(id, now, why))
    }
}

impl Endpoints for AnyStore {
    fn endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Endpoint>> {
        ask!(self, store => store.endpoint(id))
    }

    fn endpoints(&self) -> StoreFuture<'_, Vec<Endpoint>> {
        ask!(self, store => store.endpoints())
    }

    fn disabled_endpoints(&self) -> StoreFuture<'_, u64> {
        ask!(self, store => store.disabled_endpoints())
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> StoreFuture<'_, ()> {
        ask!(self, store => store.put_endpoint(endpoint))
    }

    fn remove_endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, bool> {
        ask!(self, store => store.remove_endpoint(id))
    }

    fn disable_endpoint<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()> {
        ask!(self, store => store.disable_endpoint(id, now, why))
    }

    fn endpoint_failed<'a>(&'a self, id: &'a str, now: i64, pause: Duration) -> StoreFuture<'a, i64> {
        ask!(self, store => store.endpoint_failed(id, now, pause))
    }

    fn endpoint_answered<'a>(&'a self, id: &'a str) -> StoreFuture<'a, ()> {
        ask!(self, store => store.endpoint_answered(id))
    }
}

impl Search for AnyStore {
    fn search<'a>(&'a self, request: &'a SearchRequest) -> StoreFuture<'a, SearchPage> {
        ask!(self, store => store.search(request))
    }
}
