//! One thread a process that writes: it takes whatever waits, runs it in one transaction, a savepoint a piece, and
//! answers when the transaction is durable.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::cleaning::{self, Kept};
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
pub(super) fn write(connection: &Connection, mut waiting: mpsc::Receiver<Box<dyn Work>>, kept: Kept) {
    let mut cleaned: Option<Instant> = None;
    // Where the cleaning goes on: a piece at a time, so that nobody waits for all of it.
    let mut unclean: Option<usize> = None;
    loop {
        let first = match unclean {
            None => waiting.blocking_recv().ok_or(TryRecvError::Disconnected),
            Some(_) => waiting.try_recv(),
        };
        match first {
            Ok(first) => take(connection, first, &mut waiting),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
        if cleaned.is_none_or(|at| at.elapsed() >= CLEANING_INTERVAL) {
            cleaned = Some(Instant::now());
            unclean = Some(0);
        }
        if let Some(at) = unclean {
            unclean = match cleaning::piece(connection, kept, at) {
                Ok(piece) => piece.next,
                Err(error) => {
                    tracing::warn!(%error, "old rows were not removed");
                    cleaning::after(at)
                }
            };
        }
    }
}

/// Commits what waits, up to a batch.
fn take(connection: &Connection, first: Box<dyn Work>, waiting: &mut mpsc::Receiver<Box<dyn Work>>) {
    // Where all processors are busy, those who are about to ask come first and share the commit.
    std::thread::yield_now();
    let mut batch = vec![first];
    while batch.len() < LARGEST_BATCH
        && let Ok(next) = waiting.try_recv()
    {
        batch.push(next);
    }
    commit_together(connection, batch);
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Mutex;

    use super::*;
    use crate::adapters::store::sqlite::schema;

    /// Looks at how many old ids are left.
    fn look() -> (Box<dyn Work>, oneshot::Receiver<Result<u32, StoreError>>) {
        work(|connection| {
            connection.query_row("SELECT count(*) FROM dedupe", [], |row| row.get(0)).map_err(ours)
        })
    }

    #[test]
    fn whoever_asks_while_old_rows_go_waits_for_one_piece_alone() {
        let mut connection = schema::open_in_memory(Duration::ZERO).unwrap();
        schema::migrate(&mut connection).unwrap();
        let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
            INSERT INTO dedupe SELECT 'group', 'id-' || i, 0 FROM n";
        connection.execute_batch(fill).unwrap();
        let (asked, waiting) = mpsc::channel(8);
        let (second, answer) = look();
        // The first one's transaction begins the cleaning; the second is asked for within it.
        let (more, second) = (asked.clone(), Mutex::new(Some(second)));
        let (first, _wanted) = work(move |_| {
            let second = second.lock().unwrap().take();
            second.into_iter().for_each(|second| drop(more.blocking_send(second)));
            Ok(())
        });
        asked.try_send(first).map_err(drop).unwrap();
        let kept = Kept { retention: Duration::from_secs(60), notifications: None };

        let writer = std::thread::spawn(move || write(&connection, waiting, kept));
        let left = answer.blocking_recv().unwrap().unwrap();
        drop(asked);
        writer.join().unwrap();

        assert!(usize::try_from(left).unwrap() >= 5_000 - cleaning::STEP, "{left}");
    }
}
