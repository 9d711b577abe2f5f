//! Statements that go out together: one round trip for all.

use deadpool_postgres::Transaction;
use futures_util::future::try_join_all;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::Trouble;

/// A parameter, such as a column of values for `unnest`.
pub(super) type Value<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// Statements that are carried out in the order in which they were added, each seeing what was committed when it begins.
#[derive(Default)]
pub(super) struct Pipe<'a> {
    statements: Vec<(&'static str, Vec<Value<'a>>)>,
}

impl<'a> Pipe<'a> {
    /// Adds a statement, and returns the place of its rows in the answer.
    pub(super) fn add(&mut self, sql: &'static str, values: Vec<Value<'a>>) -> usize {
        self.statements.push((sql, values));
        self.statements.len() - 1
    }

    /// Carries them out and returns the rows of each.
    ///
    /// # Errors
    /// That of the first one that failed.
    pub(super) async fn run(self, tx: &Transaction<'_>) -> Result<Vec<Vec<Row>>, Trouble> {
        let mut prepared = Vec::with_capacity(self.statements.len());
        for (sql, values) in &self.statements {
            // Known to the connection after the first time.
            let statement = tx.prepare_cached(sql).await?;
            let values: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|value| -> &(dyn ToSql + Sync) { value.as_ref() }).collect();
            prepared.push((statement, values));
        }
        Ok(try_join_all(prepared.iter().map(|(statement, values)| tx.query(statement, values))).await?)
    }
}

/// Makes a column of values for `unnest`.
pub(super) fn boxed<'a, V: ToSql + Sync + Send + 'a>(values: impl Iterator<Item = V>) -> Value<'a>
where
    Vec<V>: ToSql,
{
    Box::new(values.collect::<Vec<V>>())
}

/// Collects a column for `unnest`.
macro_rules! column {
    ($rows:expr, $row:pat => $value:expr) => {
        $crate::adapters::store::postgres::pipe::boxed($rows.iter().map(|$row| $value))
    };
}
pub(super) use column;
