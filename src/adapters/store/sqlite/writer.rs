//! One thread a process that writes: it takes whatever waits, runs it in one transaction, a savepoint a piece, and
//! answers when the transaction is durable.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::cleaning;
use super::error::ours;
use crate::ports::StoreError;

/// A piece of work for the writer, with the way back to whoever asked for it.
pub(super) trait Work: Send {
    /// Does the work inside the open transaction; again where the transaction was lost. An error means that its
    /// changes are to be undone.
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError>;
    /// Answers, once it is known what became of the transaction.
    fn answer(self: Box<Self>, transaction: Result<(), StoreError>);
}

/// Makes work of a function, and the place where its answer will come.
pub(super) fn work<V: Send + 'static>(
    run: impl Fn(&Connection) -> Result<V, StoreError> + Send + 'static,
) -> (Box<dyn Work>, oneshot::Receiver<Result<V, StoreError>>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Asked { run, result: None, reply }), answer)
}

struct Asked<V, F> {
    run: F,
    result: Option<Result<V, StoreError>>,
    reply: oneshot::Sender<Result<V, StoreError>>,
}

impl<V: Send, F: Fn(&Connection) -> Result<V, StoreError> + Send> Work for Asked<V, F> {
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.reply.is_closed() {
            // Whoever asked was cancelled, and counts on nothing having happened.
            return Err(StoreError::Away("nobody waits for the answer".to_owned()));
        }
        let result = (self.run)(connection);
        let outcome = result.as_ref().map(|_| ()).map_err(StoreError::clone);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, transaction: Result<(), StoreError>) {
        let result = match (self.result, transaction) {
            // What was refused stays refused, whatever became of its neighbours.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(StoreError::Away("the work was not begun".to_owned())),
        };
        // Whoever asked may have gone: then nobody wants the answer.
        drop(self.reply.send(result));
    }
}

/// Runs until every sender is gone.
#[expect(
    clippy::disallowed_methods,
    reason = "old rows are removed by the clock: nothing else depends on it"
)]
pub(super) fn write(
    connection: &Connection,
    mut waiting: mpsc::Receiver<Box<dyn Work>>,
    retention: Duration,
) {
    let mut cleaned: Option<Instant> = None;
    while let Some(first) = waiting.blocking_recv() {
        // Where all processors are busy, those who are about to ask come first and share the commit.
        std::thread::yield_now();
        let mut batch = vec![first];
        while batch.len() < LARGEST_BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        commit_together(connection, batch);
        if cleaned.is_none_or(|at| at.elapsed() >= CLEANING_INTERVAL) {
            cleaned = Some(Instant::now());
            if let Err(error) = cleaning::clean(connection, retention) {
                tracing::warn!(%error, "old rows were not removed");
            }
        }
    }
}

/// Commits a batch and answers each piece. Where one of them took the transaction down, each gets one of its own.
fn commit_together(connection: &Connection, mut batch: Vec<Box<dyn Work>>) {
    let end = transaction(connection, &mut batch);
    if end.is_err() && !connection.is_autocommit() {
        // Nothing more can be done if this fails as well: the next BEGIN will say so.
        drop(execute(connection, "ROLLBACK"));
    }
    match end {
        Ok(()) => batch.into_iter().for_each(|piece| piece.answer(Ok(()))),
        Err(StoreError::Refused(_)) if batch.len() > 1 => {
            batch.into_iter().for_each(|piece| commit_together(connection, vec![piece]));
        }
        Err(error) => batch.into_iter().for_each(|piece| piece.answer(Err(error.clone()))),
    }
}

/// Runs all pieces in one transaction.
///
/// # Errors
/// Nothing is durable: `Refused` where a piece is at fault, else why the store cannot.
fn transaction(connection: &Connection, batch: &mut [Box<dyn Work>]) -> Result<(), StoreError> {
    execute(connection, "BEGIN IMMEDIATE")?;
    for piece in batch {
        in_savepoint(connection, piece.as_mut())?;
    }
    execute(connection, "COMMIT")
}

/// Runs one piece so that its failure undoes it alone.
///
/// # Errors
/// The whole transaction is lost.
fn in_savepoint(connection: &Connection, piece: &mut dyn Work) -> Result<(), StoreError> {
    execute(connection, "SAVEPOINT piece")?;
    let result = piece.run(connection);
    if connection.is_autocommit() {
        // A full disk, or a statement with ON CONFLICT ROLLBACK.
        let unknown = || StoreError::Away("the transaction was rolled back".to_owned());
        return Err(result.err().unwrap_or_else(unknown));
    }
    if result.is_err() {
        execute(connection, "ROLLBACK TO piece")?;
    }
    execute(connection, "RELEASE piece")
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(ours)
}

/// Bounds how long the first in a batch waits for the last.
const LARGEST_BATCH: usize = 64;

const CLEANING_INTERVAL: Duration = Duration::from_secs(3_600);
