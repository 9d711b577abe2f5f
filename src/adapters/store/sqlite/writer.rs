//! One thread a process that writes: it takes whatever waits, runs it in one transaction, a savepoint a piece, and
//! answers when the transaction is durable.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::cleaning;
use super::error::ours;
use crate::ports::StoreError;

/// A piece of work for the writer, with the way back to whoever asked for it.
pub(super) trait Work: Send {
    /// Does the work inside the open transaction. An error means that its changes are to be undone.
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError>;
    /// Answers, once it is known what became of the transaction.
    fn answer(self: Box<Self>, transaction: Result<(), StoreError>);
}

/// Makes work of a function, and the place where its answer will come.
pub(super) fn work<V: Send + 'static>(
    run: impl FnOnce(&Connection) -> Result<V, StoreError> + Send + 'static,
) -> (Box<dyn Work>, oneshot::Receiver<Result<V, StoreError>>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Asked { run: Some(run), result: None, reply }), answer)
}

struct Asked<V, F> {
    run: Option<F>,
    result: Option<Result<V, StoreError>>,
    reply: oneshot::Sender<Result<V, StoreError>>,
}

impl<V: Send, F: FnOnce(&Connection) -> Result<V, StoreError> + Send> Work for Asked<V, F> {
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let Some(run) = self.run.take() else { return Ok(()) };
        let result = run(connection);
        let outcome = result.as_ref().map(|_| ()).map_err(StoreError::clone);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, transaction: Result<(), StoreError>) {
        let result = match (self.result, transaction) {
            // What was refused stays refused, whatever became of its neighbours.
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Ok(_)), Err(error)) => Err(error),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::Away("the work was not begun".to_owned())),
        };
        // Whoever asked may have gone: then nobody wants the answer.
        drop(self.reply.send(result));
    }
}

/// Runs until every sender is gone.
pub(super) fn write(
    connection: &Connection,
    mut waiting: mpsc::Receiver<Box<dyn Work>>,
    retention: Duration,
) {
    let mut cleaned: Option<Instant> = None;
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = VecDeque::from([first]);
        while batch.len() < LARGEST_BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push_back(next);
        }
        while !batch.is_empty() {
            commit_together(connection, &mut batch);
        }
        if cleaned.is_none_or(|at| at.elapsed() >= CLEANING_INTERVAL) {
            cleaned = Some(Instant::now());
            if let Err(error) = cleaning::clean(connection, retention) {
                tracing::warn!(%error, "old rows were not removed");
            }
        }
    }
}

/// Takes work from the front until it is all in one transaction, or until an error has undone the transaction:
/// then what is left is for the next one.
fn commit_together(connection: &Connection, batch: &mut VecDeque<Box<dyn Work>>) {
    if let Err(error) = execute(connection, "BEGIN IMMEDIATE") {
        batch.drain(..).for_each(|piece| piece.answer(Err(error.clone())));
        return;
    }
    let mut done = Vec::with_capacity(batch.len());
    let mut end = Ok(());
    while let Some(mut piece) = batch.pop_front() {
        end = in_savepoint(connection, piece.as_mut());
        done.push(piece);
        if end.is_err() {
            break;
        }
    }
    let end = end.and_then(|()| execute(connection, "COMMIT"));
    if end.is_err() && !connection.is_autocommit() {
        // Nothing more can be done if this fails as well: the next BEGIN will say so.
        drop(execute(connection, "ROLLBACK"));
    }
    done.into_iter().for_each(|piece| piece.answer(end.clone()));
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
        let cause = result.err().map_or_else(String::new, |error| format!(": {error}"));
        return Err(StoreError::Away(format!("the transaction was rolled back{cause}")));
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
