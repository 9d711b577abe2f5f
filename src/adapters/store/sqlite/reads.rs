//! What is read for status pages and reports, on a connection of its own.

use rusqlite::{Connection, Row, params_from_iter};
use tokio::sync::mpsc;

use super::error::{Whose, classify, ours};
use super::writer::Work;
use crate::adapters::store::{AuthorLine, PostLine, ReasonCount, Summary};
use crate::ports::{Param, StoreError};

/// Answers questions until every sender is gone, each from one moment of the tables.
pub(super) fn serve(connection: &Connection, mut asked: mpsc::Receiver<Box<dyn Work>>) {
    while let Some(mut question) = asked.blocking_recv() {
        let begun = connection.execute_batch("BEGIN").map_err(ours);
        let result = begun.and_then(|()| {
            // What it says is in its answer.
            drop(question.run(connection));
            connection.execute_batch("COMMIT").map_err(ours)
        });
        question.answer(result);
    }
}

/// Counts what the tables hold.
pub(super) fn summary(connection: &Connection, top: u32) -> Result<Summary, StoreError> {
    let count = |sql: &str| connection.query_row(sql, [], |row| unsigned(row, 0));
    let read = || {
        Ok(Summary {
            posts: count("SELECT coalesce(sum(posts), 0) FROM author_stats")?,
            comments: count("SELECT coalesce(sum(comments), 0) FROM post_stats")?,
            people: count("SELECT count(*) FROM people WHERE state = 1")?,
            authors: count("SELECT count(*) FROM author_stats")?,
            notifications: reasons(connection)?,
            fan_outs_open: count(
                "SELECT (SELECT count(*) FROM fan_outs WHERE expanded_to IS NOT NULL) + (SELECT count(*) FROM catch_ups)
                     + (SELECT count(*) FROM webhook_fan_outs WHERE expanded_to IS NOT NULL)",
            )?,
            requests_under_way: count(UNDER_WAY)?,
            top_posts: top_posts(connection, top)?,
            top_authors: top_authors(connection, top)?,
        })
    };
    read().map_err(ours)
}

/// What is due by the store's clock, with a relay, or out.
const UNDER_WAY: &str = "SELECT count(*) FROM requests WHERE state IN (2, 3)
    OR (state = 1 AND due <= CAST(unixepoch('subsec') * 1000 AS INTEGER))";

fn reasons(connection: &Connection) -> rusqlite::Result<Vec<ReasonCount>> {
    connection
        .prepare_cached("SELECT reason, count(*) FROM notifications GROUP BY reason ORDER BY reason")?
        .query_map([], |row| Ok(ReasonCount { reason: row.get(0)?, count: unsigned(row, 1)? }))?
        .collect()
}

fn top_posts(connection: &Connection, top: u32) -> rusqlite::Result<Vec<PostLine>> {
    connection
        .prepare_cached(
            "SELECT s.post, p.title, s.comments FROM post_stats s LEFT JOIN posts p ON p.id = s.post
             ORDER BY s.comments DESC, s.post LIMIT ?1",
        )?
        .query_map([top], |row| {
            Ok(PostLine { post: row.get(0)?, title: row.get(1)?, comments: unsigned(row, 2)? })
        })?
        .collect()
}

fn top_authors(connection: &Connection, top: u32) -> rusqlite::Result<Vec<AuthorLine>> {
    connection
        .prepare_cached(
            "SELECT author, posts, comments, last_activity FROM author_stats
             ORDER BY posts + comments DESC, author LIMIT ?1",
        )?
        .query_map([top], |row| {
            Ok(AuthorLine {
                author: row.get(0)?,
                posts: unsigned(row, 1)?,
                comments: unsigned(row, 2)?,
                last_activity: row.get(3)?,
            })
        })?
        .collect()
}

/// Reads a count: the tables hold none below zero.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count = row.get::<_, i64>(column)?;
    u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, count))
}

/// Runs a user's question.
pub(super) fn query(
    connection: &Connection,
    sql: &str,
    params: &[Param],
) -> Result<Vec<Vec<Param>>, StoreError> {
    let read = || {
        let mut statement = connection.prepare(sql)?;
        if !statement.readonly() || statement.column_count() == 0 {
            return Ok(None);
        }
        let columns = statement.column_count();
        let mut rows = statement.query(params_from_iter(params))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(
                (0..columns).map(|column| row.get_ref(column).map(Param::from)).collect::<Result<_, _>>()?,
            );
        }
        Ok(Some(found))
    };
    read()
        .map_err(|error| classify(&error, Whose::Theirs))?
        .ok_or_else(|| StoreError::Refused("a question only reads".to_owned()))
}
