//! The store in one SQLite file: one host, any number of processes.

mod cleaning;
mod documents;
mod dump;
mod endpoints;
mod error;
mod fan_out;
mod ledger;
mod mails;
mod outbox;
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
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use postroom_core::{Attempt, Offset, TopicPartition};
use rusqlite::Connection;
use tokio::sync::{Notify, mpsc};

use self::cleaning::Kept;
use self::writer::{Work, work, write};
use crate::adapters::store::fitting::fitting;
use crate::adapters::store::{
    NotificationRow, PositionRow, RequestStory, StoreLook, Summary, WaitingDeliveries,
};
use crate::ports::{
    Applied, Change, Claim, Expansion, FanOut, Guard, Param, Store, StoreError, StoreFuture, StoreId, Unit,
};

/// The store in one SQLite file. Handles are cheap to clone; when the last one is dropped the file is closed,
/// after what was asked for is done.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

/// How the file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqliteSettings {
    /// How long a transaction waits for another process to end its own, before the store counts as away.
    pub busy_timeout: Duration,
    /// How long ids are kept against repeats: longer than any topic keeps its records and any replay reaches back.
    pub retention: Duration,
    /// How long notifications are kept, by the times of their events; `None` keeps them for ever.
    pub notifications: Option<Duration>,
    /// How many pieces of work may wait; whoever comes later waits for a place.
    pub queue: usize,
}

impl Default for SqliteSettings {
    /// 10 seconds, 35 days, for ever, 1,024 pieces.
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(10),
            retention: Duration::from_secs(35 * 24 * 3_600),
            notifications: None,
            queue: 1_024,
        }
    }
}

#[derive(Debug)]
struct Inner {
    id: StoreId,
    kept: Kept,
    /// Told when a row of the outbox was closed: the next of its addressee may be due.
    made_way: Notify,
    writer: Thread,
    /// Reads go to a connection of their own; tables in memory have only one.
    reader: Option<Thread>,
}

impl SqliteStore {
    /// Opens the file, makes it where it is missing, and brings its tables up to date. Blocks.
    ///
    /// # Errors
    /// `Unusable` where the file is not ours, is damaged, cannot be opened or was written by a newer version;
    /// `Away` where another process keeps it locked.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, SqliteSettings::default())
    }

    /// Opens the file as [`open`](Self::open) does, with settings.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, settings: SqliteSettings) -> Result<Self, StoreError> {
        let mut connection = schema::open(path, settings.busy_timeout)?;
        let id = schema::migrate(&mut connection)?;
        let reads = schema::open(path, settings.busy_timeout)?;
        reads.pragma_update(None, "query_only", true).map_err(error::ours)?;
        let SqliteSettings { queue, retention, notifications, .. } = settings;
        let kept = Kept { retention, notifications };
        let reader = Thread::start("store-reader", queue, move |asked| reads::serve(&reads, asked))?;
        let writer = Thread::start("store-writer", queue, move |asked| write(&connection, asked, kept))?;
        Ok(Self {
            inner: Arc::new(Inner { id, kept, made_way: Notify::new(), writer, reader: Some(reader) }),
        })
    }

    /// Looks at the file without changing it. Blocks.
    ///
    /// # Errors
    /// `Unusable` where the file is not ours, is damaged, or cannot be read; `Away` where another process keeps it locked.
    pub fn look(path: &Path) -> Result<StoreLook, StoreError> {
        schema::look(path, SqliteSettings::default().busy_timeout)
    }

    /// Makes tables in memory, which end with the last handle.
    ///
    /// # Errors
    /// `Unusable` where SQLite does not work at all.
    pub fn in_memory() -> Result<Self, StoreError> {
        let SqliteSettings { busy_timeout, queue, retention, notifications } = SqliteSettings::default();
        let kept = Kept { retention, notifications };
        let mut connection = schema::open_in_memory(busy_timeout)?;
        let id = schema::migrate(&mut connection)?;
        let writer = Thread::start("store-writer", queue, move |asked| write(&connection, asked, kept))?;
        Ok(Self { inner: Arc::new(Inner { id, kept, made_way: Notify::new(), writer, reader: None }) })
    }

    /// Reads the positions of all groups, by group, topic and partition.
    ///
    /// # Errors
    /// As the store's.
    pub async fn positions(&self) -> Result<Vec<PositionRow>, StoreError> {
        self.read(position::all).await
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
        let (group, partition) = (group.to_owned(), partition.clone());
        self.write(move |connection| position::set(connection, &group, &partition, next)).await
    }

    /// Counts what the tables hold, with up to `top` lines of posts and of authors.
    ///
    /// # Errors
    /// As the store's.
    pub async fn summary(&self, top: u32) -> Result<Summary, StoreError> {
        self.read(move |connection| reads::summary(connection, top)).await
    }

    /// Reads what became of the mails and deliveries that an event caused, up to `limit`, the oldest first.
    ///
    /// # Errors
    /// As the store's.
    pub async fn requests_of_event(&self, event: &str, limit: u32) -> Result<Vec<RequestStory>, StoreError> {
        let event = event.to_owned();
        self.read(move |connection| stories::requests_of_event(connection, &event, limit)).await
    }

    /// Reads what waits for each endpoint, by endpoint.
    ///
    /// # Errors
    /// As the store's.
    pub async fn waiting_deliveries(&self) -> Result<Vec<WaitingDeliveries>, StoreError> {
        self.read(stories::waiting_deliveries).await
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
        let event = event.to_owned();
        self.read(move |connection| story::notifications(connection, &event, limit)).await
    }

    /// Reads all tables of `project` and `notify`, for comparison with an independent count. Large.
    ///
    /// # Errors
    /// As the store's.
    pub async fn dump(&self) -> Result<serde_json::Value, StoreError> {
        self.read(dump::dump).await
    }

    /// Runs a question of one's own, for tests and reports: a row is a list of columns.
    ///
    /// # Errors
    /// `Refused` where it does not compile or would write, else as the store's.
    pub async fn query(&self, sql: &str, params: Vec<Param>) -> Result<Vec<Vec<Param>>, StoreError> {
        let sql = sql.to_owned();
        self.read(move |connection| reads::query(connection, &sql, &params)).await
    }

    /// Removes rows that nobody will ask for again, a few at a time; the writer does so by itself each hour. Returns how
    /// many were removed or closed.
    ///
    /// # Errors
    /// As the store's.
    pub async fn clean(&self) -> Result<usize, StoreError> {
        let kept = self.inner.kept;
        let (mut removed, mut next) = (0_usize, Some(0));
        while let Some(at) = next {
            let piece = self.write(move |connection| cleaning::piece(connection, kept, at)).await?;
            removed = removed.saturating_add(piece.removed);
            next = piece.next;
        }
        Ok(removed)
    }

    async fn write<V: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> Result<V, StoreError> + Send + 'static,
    ) -> Result<V, StoreError> {
        self.inner.writer.ask(run).await
    }

    async fn read<V: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> Result<V, StoreError> + Send + 'static,
    ) -> Result<V, StoreError> {
        self.inner.reader.as_ref().unwrap_or(&self.inner.writer).ask(run).await
    }
}

impl Store for SqliteStore {
    fn id(&self) -> &StoreId {
        &self.inner.id
    }

    fn claim<'a>(&'a self, group: &'a str, partition: &'a TopicPartition) -> StoreFuture<'a, Claim> {
        Box::pin(async move {
            let (group, partition) = (group.to_owned(), partition.clone());
            self.write(move |connection| position::claim(connection, &group, &partition)).await
        })
    }

    fn apply<'a>(&'a self, claim: &'a mut Claim, unit: Unit) -> StoreFuture<'a, Applied> {
        Box::pin(async move {
            let next = match &unit.guard {
                Guard::Position { next } => Some(*next),
                Guard::Once { .. } => None,
            };
            let unit = fitting(unit)?;
            // The attempts stay here: the writer needs only the owner's copy of the row.
            let own = Claim {
                group: claim.group.clone(),
                partition: claim.partition.clone(),
                epoch: claim.epoch,
                next: claim.next,
                attempts: Vec::new(),
            };
            let closes = unit.changes.iter().any(|change| matches!(change, Change::RequestClosed { .. }));
            let applied = self.write(move |connection| unit::apply(connection, &own, &unit)).await?;
            if closes && applied == Applied::Committed {
                self.inner.made_way.notify_one();
            }
            match applied {
                Applied::Committed => claim.next = next.or(claim.next),
                Applied::Duplicate | Applied::Fenced => {}
            }
            Ok(applied)
        })
    }

    fn count_attempt<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        offset: Offset,
        attempt: Attempt,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let (group, partition) = (group.to_owned(), partition.clone());
            self.write(move |connection| {
                position::count_attempt(connection, &group, &partition, offset, attempt)
            })
            .await
        })
    }

    fn forget_attempts<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        below: Offset,
    ) -> StoreFuture<'a, ()> {
        let (group, partition) = (group.to_owned(), partition.clone());
        Box::pin(
            self.write(move |connection| position::forget_attempts(connection, &group, &partition, below)),
        )
    }
}

impl FanOut for SqliteStore {
    fn expand_fan_out(&self, limit: u32) -> StoreFuture<'_, Expansion> {
        Box::pin(self.write(move |connection| fan_out::expand(connection, limit)))
    }
}

/// A thread that owns a connection and does what it is asked.
#[derive(Debug)]
struct Thread {
    asked: Option<mpsc::Sender<Box<dyn Work>>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(
        name: &str,
        queue: usize,
        serve: impl FnOnce(mpsc::Receiver<Box<dyn Work>>) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (asked, waiting) = mpsc::channel(queue.max(1));
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(waiting))
            .map_err(|error| StoreError::Away(format!("no thread for the store: {error}")))?;
        Ok(Self { asked: Some(asked), handle: Some(handle) })
    }

    async fn ask<V: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> Result<V, StoreError> + Send + 'static,
    ) -> Result<V, StoreError> {
        let stopped = || StoreError::Unusable("the store's thread has stopped".to_owned());
        let (piece, answer) = work(run);
        let asked = self.asked.as_ref().ok_or_else(stopped)?;
        asked.send(piece).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.asked.take());
        if let Some(handle) = self.handle.take() {
            // A panic of the thread has been told to everybody who asked.
            drop(handle.join());
        }
    }
}
