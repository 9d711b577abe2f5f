//! The store in PostgreSQL: any number of hosts.
//!
//! A unit is one transaction on a connection of its own. Statements of a unit go out together where they do not depend on
//! each other's answers, so that a batch of five hundred events costs a handful of round trips.

mod cleaning;
mod connection;
mod documents;
mod dump;
mod endpoints;
mod error;
mod fan_out;
mod held;
mod ledger;
mod mails;
mod notices;
mod outbox;
mod people;
mod pipe;
mod position;
mod project;
mod queue;
mod reads;
mod schema;
mod search;
mod statement;
mod stories;
mod story;
mod threads;
mod thumbnails;
mod unit;
mod webhooks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use postroom_core::{Attempt, Offset, TopicPartition};
use tokio::sync::Notify;
use tokio::time::error::Elapsed;

use self::cleaning::Kept;
use self::error::Trouble;
use crate::adapters::store::fitting::{fitting, stored};
use crate::adapters::store::{
    NotificationRow, PositionRow, RequestStory, StoreLook, Summary, WaitingDeliveries,
};
use crate::ports::{
    Applied, Change, Claim, Expansion, FanOut, Guard, Param, Store, StoreError, StoreFuture, StoreId, Unit,
};

/// The store in a PostgreSQL database. Handles are cheap to clone and share a pool of connections.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

/// How the database is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    /// The schema that our tables are in: letters, digits and underscores.
    pub schema: String,
    /// The password, where the address has none.
    pub password: Option<String>,
    /// The most connections of this process.
    pub connections: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a statement may take, and how long one waits for a free connection.
    pub statement_timeout: Duration,
    /// How long a statement waits for a row that another transaction holds.
    pub lock_timeout: Duration,
    /// How long a transaction of ours may do nothing before the server ends it. Shorter than the session of a group's
    /// member, so that one that froze does not keep its partitions' rows from the next owner.
    pub idle_timeout: Duration,
    /// How long ids are kept against repeats: longer than any topic keeps its records and any replay reaches back.
    pub retention: Duration,
    /// How long notifications are kept, by the times of their events; `None` keeps them for ever.
    pub notifications: Option<Duration>,
}

impl Default for PostgresSettings {
    /// For a session of 45 seconds; schema `postroom`, 16 connections, 35 days.
    fn default() -> Self {
        Self {
            schema: "postroom".to_owned(),
            password: None,
            connections: 16,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(20),
            lock_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            retention: Duration::from_secs(35 * 24 * 3_600),
            notifications: None,
        }
    }
}

impl PostgresSettings {
    /// Bounds what a transaction may take, so that it ends before members that were silent for `session` have lost
    /// their partitions.
    #[must_use]
    pub fn within(mut self, session: Duration) -> Self {
        let part =
            |of: u32, most: u64| (session / of).clamp(Duration::from_millis(500), Duration::from_secs(most));
        self.statement_timeout = part(2, 20);
        self.lock_timeout = part(4, 10);
        self.idle_timeout = part(3, 15);
        self
    }
}

struct Inner {
    id: StoreId,
    kept: Kept,
    /// Told when a row of the outbox was closed: the next of its addressee may be due.
    made_way: Notify,
    patience: Duration,
    pool: Pool,
}

impl fmt::Debug for PostgresStore {
    /// Leaves the address out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

/// Runs what `$run` says in one transaction, `$tx`, and again where it met another one: `$run` is evaluated anew each
/// time. The value is `Result<_, StoreError>`.
macro_rules! in_transaction {
    ($store:expr, $tx:ident => $run:expr) => {{
        let mut tries = 0;
        loop {
            let tried: Result<_, $crate::adapters::store::postgres::error::Trouble> = async {
                let mut client = $store.client().await?;
                let worked = tokio::time::timeout($store.patience(), async {
                    let $tx = client.transaction().await?;
                    // Dropped, it is rolled back.
                    let value = $run.await?;
                    $tx.commit().await?;
                    Ok(value)
                });
                let worked = worked.await;
                $crate::adapters::store::postgres::ended(client, worked)
            }
            .await;
            tries += 1;
            match tried {
                Ok(value) => break Ok(value),
                Err($crate::adapters::store::postgres::error::Trouble::Conflict(why))
                    if tries < $crate::adapters::store::postgres::CONFLICT_TRIES =>
                {
                    tracing::debug!(why, tries, "a transaction met another one and is repeated");
                    tokio::time::sleep($crate::adapters::store::postgres::pause(tries)).await;
                }
                Err(trouble) => break Err(trouble.told()),
            }
        }
    }};
}

/// Reads what `$run` says from one moment of the tables, `$tx`. The value is `Result<_, StoreError>`.
macro_rules! in_snapshot {
    ($store:expr, $tx:ident => $run:expr) => {{
        let read: Result<_, $crate::adapters::store::postgres::error::Trouble> = async {
            let mut client = $store.client().await?;
            let worked = tokio::time::timeout($store.patience(), async {
                let $tx = client
                    .build_transaction()
                    .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
                    .read_only(true)
                    .start()
                    .await?;
                let value = $run.await?;
                $tx.commit().await?;
                Ok(value)
            });
            let worked = worked.await;
            $crate::adapters::store::postgres::ended(client, worked)
        }
        .await;
        read.map_err(|trouble| trouble.told())
    }};
}
// What other modules of this folder `use super::…`.
use {in_snapshot, in_transaction};

/// Gives a connection back, or closes it where the server no longer answers: `statement_timeout` is the server's, and one that
/// is frozen keeps no time. What became of the transaction is then unknown, as after a lost reply.
fn ended<V>(client: Client, worked: Result<Result<V, Trouble>, Elapsed>) -> Result<V, Trouble> {
    match worked {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(trouble)) => {
            // A statement may have been prepared before somebody changed its table.
            client.statement_cache.clear();
            Err(trouble)
        }
        Err(_elapsed) => {
            drop(Client::take(client));
            Err(StoreError::Away("the database did not answer in time".to_owned()).into())
        }
    }
}

impl PostgresStore {
    /// Connects, makes the tables where they are missing, and brings them up to date.
    ///
    /// # Errors
    /// `Unusable` where the address cannot be read, the server refuses the login, there is no such database, or the
    /// tables were made by a newer version; `Away` where the server is not there.
    pub async fn connect(url: &str, settings: PostgresSettings) -> Result<Self, StoreError> {
        let pool = connection::pool(url, &settings)?;
        let id = async {
            let mut client = pool.get().await?;
            schema::migrate(&mut client, &settings.schema).await
        };
        let id = id.await.map_err(Trouble::told)?;
        let kept = Kept { retention: settings.retention, notifications: settings.notifications };
        let patience = settings.statement_timeout.saturating_mul(2);
        let store = Self { inner: Arc::new(Inner { id, kept, made_way: Notify::new(), patience, pool }) };
        cleaning::keep_clean(&store);
        Ok(store)
    }

    /// Looks at the database without changing it.
    ///
    /// # Errors
    /// `Unusable` where the address cannot be read, the server refuses the login, or there is no such database; `Away`
    /// where the server is not there.
    pub async fn look(url: &str, settings: &PostgresSettings) -> Result<StoreLook, StoreError> {
        let pool = connection::pool(url, settings)?;
        let looked = async { schema::look(&pool.get().await?, &settings.schema).await };
        looked.await.map_err(Trouble::told)
    }

    /// Says whether an address and what belongs to it can be read, without asking anybody.
    ///
    /// # Errors
    /// `Unusable`, with the reason.
    pub fn check(url: &str, settings: &PostgresSettings) -> Result<(), StoreError> {
        connection::pool(url, settings).map(drop)
    }

    /// Reads the positions of all groups, by group, topic and partition.
    ///
    /// # Errors
    /// As the store's.
    pub async fn positions(&self) -> Result<Vec<PositionRow>, StoreError> {
        in_snapshot!(self, tx => position::all(&tx))
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
        in_transaction!(self, tx => position::set(&tx, group, partition, next))
    }

    /// Counts what the tables hold, with up to `top` lines of posts and of authors.
    ///
    /// # Errors
    /// As the store's.
    pub async fn summary(&self, top: u32) -> Result<Summary, StoreError> {
        in_snapshot!(self, tx => reads::summary(&tx, top))
    }

    /// Reads what became of the mails and deliveries that an event caused, up to `limit`, the oldest first.
    ///
    /// # Errors
    /// As the store's.
    pub async fn requests_of_event(&self, event: &str, limit: u32) -> Result<Vec<RequestStory>, StoreError> {
        in_snapshot!(self, tx => stories::requests_of_event(&tx, &stored(event), limit))
    }

    /// Reads what waits for each endpoint, by endpoint.
    ///
    /// # Errors
    /// As the store's.
    pub async fn waiting_deliveries(&self) -> Result<Vec<WaitingDeliveries>, StoreError> {
        in_snapshot!(self, tx => stories::waiting_deliveries(&tx))
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
        in_snapshot!(self, tx => story::notifications(&tx, &stored(event), limit))
    }

    /// Reads all tables of `project` and `notify`, for comparison with an independent count. Large.
    ///
    /// # Errors
    /// As the store's.
    pub async fn dump(&self) -> Result<serde_json::Value, StoreError> {
        in_snapshot!(self, tx => dump::dump(&tx))
    }

    /// Runs a question of one's own, for tests and reports: a row is a list of columns. Numbers come as integers or
    /// as floating-point numbers, truths as 0 and 1.
    ///
    /// # Errors
    /// `Refused` where it does not compile or would write, else as the store's.
    pub async fn query(&self, sql: &str, params: Vec<Param>) -> Result<Vec<Vec<Param>>, StoreError> {
        in_snapshot!(self, tx => statement::query(&tx, sql, &params))
    }

    /// Removes ids and attempts that nobody will ask for again; each hour one process does so by itself. Returns how
    /// many rows went.
    ///
    /// # Errors
    /// As the store's.
    pub async fn clean(&self) -> Result<usize, StoreError> {
        cleaning::clean(self, self.inner.kept).await
    }

    /// How long a transaction may take: a few statements and the waits for rows.
    fn patience(&self) -> Duration {
        self.inner.patience
    }

    async fn client(&self) -> Result<Client, Trouble> {
        Ok(self.inner.pool.get().await?)
    }

    async fn claim_row(&self, group: &str, partition: &TopicPartition) -> Result<Claim, StoreError> {
        in_transaction!(self, tx => position::claim(&tx, group, partition))
    }

    async fn apply_unit(&self, claim: &mut Claim, unit: Unit) -> Result<Applied, StoreError> {
        let unit = fitting(unit)?;
        let applied = in_transaction!(self, tx => unit::apply(&tx, claim, &unit))?;
        let closes = unit.changes.iter().any(|change| matches!(change, Change::RequestClosed { .. }));
        if closes && applied == Applied::Committed {
            self.inner.made_way.notify_one();
        }
        let next = match unit.guard {
            Guard::Position { next } => Some(next),
            Guard::Once { .. } => None,
        };
        match applied {
            Applied::Committed => claim.next = next.or(claim.next),
            Applied::Duplicate | Applied::Fenced => {}
        }
        Ok(applied)
    }

    async fn count(
        &self,
        group: &str,
        partition: &TopicPartition,
        offset: Offset,
        attempt: Attempt,
    ) -> Result<(), StoreError> {
        in_transaction!(self, tx => position::count_attempt(&tx, group, partition, offset, attempt))
    }
}

impl Store for PostgresStore {
    fn id(&self) -> &StoreId {
        &self.inner.id
    }

    fn claim<'a>(&'a self, group: &'a str, partition: &'a TopicPartition) -> StoreFuture<'a, Claim> {
        Box::pin(self.claim_row(group, partition))
    }

    fn apply<'a>(&'a self, claim: &'a mut Claim, unit: Unit) -> StoreFuture<'a, Applied> {
        Box::pin(self.apply_unit(claim, unit))
    }

    fn count_attempt<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        offset: Offset,
        attempt: Attempt,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.count(group, partition, offset, attempt))
    }

    fn forget_attempts<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        below: Offset,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            in_transaction!(self, tx => position::forget_attempts(&tx, group, partition, below))
        })
    }
}

impl FanOut for PostgresStore {
    fn expand_fan_out(&self, limit: u32) -> StoreFuture<'_, Expansion> {
        Box::pin(async move { in_transaction!(self, tx => fan_out::expand(&tx, limit)) })
    }
}

/// How long to wait before a transaction is repeated: those who met must not meet again.
fn pause(tries: u32) -> Duration {
    Duration::from_millis(fastrand::u64(1..=(5 << tries.min(5))))
}

/// How often a transaction is tried that meets others.
const CONFLICT_TRIES: u32 = 10;
