//! The tables of `project`: loads a row, lets the rule decide, saves it, and moves the counts with it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::ours;
use crate::adapters::store::life::{Life, State};
use crate::adapters::store::rows::{CommentRow, PersonRow, PostRow};
use crate::ports::{CommentChange, PersonChange, PersonContent, PostChange, PostContent, StoreError};

/// Something happened to a post.
pub(super) fn post(connection: &Connection, change: &PostChange) -> Result<(), StoreError> {
    let old = load_post(connection, &change.post)?;
    let Some(new) = old.after(change) else { return Ok(()) };
    let statement =
        "INSERT INTO posts (id, state, since, created_by, author, title, slug, section, content_time)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO UPDATE SET state = excluded.state, since = excluded.since,
             created_by = excluded.created_by, author = excluded.author, title = excluded.title,
             slug = excluded.slug, section = excluded.section, content_time = excluded.content_time";
    let values = params![
        change.post,
        new.life.state.code(),
        new.life.since,
        new.life.created_by,
        new.author,
        new.content.title,
        new.content.slug,
        new.content.section,
        new.content_time
    ];
    save(connection, statement, values)?;
    if old.counted() != new.counted() {
        count(connection, POSTS_OF_AUTHOR, old.counted(), -1)?;
        count(connection, POSTS_OF_AUTHOR, new.counted(), 1)?;
    }
    Ok(())
}

fn load_post(connection: &Connection, id: &str) -> Result<PostRow, StoreError> {
    let statement = "SELECT state, since, created_by, author, title, slug, section, content_time FROM posts WHERE id = ?1";
    let row = load(connection, statement, id, |row| {
        let content = PostContent { title: row.get(4)?, slug: row.get(5)?, section: row.get(6)? };
        Ok(PostRow { life: life(row)?, author: row.get(3)?, content, content_time: row.get(7)? })
    })?;
    Ok(row.unwrap_or_else(PostRow::stub))
}

/// Something happened to a comment.
pub(super) fn comment(connection: &Connection, change: &CommentChange) -> Result<(), StoreError> {
    let statement = "SELECT state, since, created_by, post, author FROM comments WHERE id = ?1";
    let old = load(connection, statement, &change.comment, |row| {
        Ok(CommentRow { life: life(row)?, post: row.get(3)?, author: row.get(4)? })
    })?
    .unwrap_or_else(CommentRow::stub);
    let Some(new) = old.after(change) else { return Ok(()) };
    let statement =
        "INSERT INTO comments (id, state, since, created_by, post, author) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET state = excluded.state, since = excluded.since,
             created_by = excluded.created_by, post = excluded.post, author = excluded.author";
    let values = params![
        change.comment,
        new.life.state.code(),
        new.life.since,
        new.life.created_by,
        new.post,
        new.author
    ];
    save(connection, statement, values)?;
    if old.counted() != new.counted() {
        let (from, to) = (old.counted().unzip(), new.counted().unzip());
        count(connection, COMMENTS_OF_POST, from.0, -1)?;
        count(connection, COMMENTS_OF_AUTHOR, from.1, -1)?;
        count(connection, COMMENTS_OF_POST, to.0, 1)?;
        count(connection, COMMENTS_OF_AUTHOR, to.1, 1)?;
    }
    Ok(())
}

/// Something happened to a person's account.
pub(super) fn person(connection: &Connection, change: &PersonChange) -> Result<(), StoreError> {
    person_in(connection, &PEOPLE, change)
}

/// A table of people: `project` and `notify` keep one each, because each has its own position.
pub(super) struct PeopleTable {
    load: &'static str,
    save: &'static str,
}

macro_rules! people_table {
    ($table:literal) => {
        PeopleTable {
            load: concat!(
                "SELECT state, since, created_by, name, email, subscribed, locale, content_time FROM ",
                $table,
                " WHERE id = ?1"
            ),
            save: concat!(
                "INSERT INTO ",
                $table,
                " (id, state, since, created_by, name, email, subscribed, locale, content_time)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT DO UPDATE SET state = excluded.state, since = excluded.since,
                     created_by = excluded.created_by, name = excluded.name, email = excluded.email,
                     subscribed = excluded.subscribed, locale = excluded.locale,
                     content_time = excluded.content_time"
            ),
        }
    };
}

const PEOPLE: PeopleTable = people_table!("people");
pub(super) const CONTACTS: PeopleTable = people_table!("contacts");

/// Something happened to a person's account, in one of the tables.
pub(super) fn person_in(
    connection: &Connection,
    table: &PeopleTable,
    change: &PersonChange,
) -> Result<(), StoreError> {
    let old = load(connection, table.load, &change.user, |row| {
        let content = PersonContent {
            name: row.get(3)?,
            email: row.get(4)?,
            subscribed: row.get(5)?,
            locale: row.get(6)?,
        };
        Ok(PersonRow { life: life(row)?, content, content_time: row.get(7)? })
    })?
    .unwrap_or_else(PersonRow::stub);
    let Some(new) = old.after(change) else { return Ok(()) };
    let values = params![
        change.user,
        new.life.state.code(),
        new.life.since,
        new.life.created_by,
        new.content.name,
        new.content.email,
        new.content.subscribed,
        new.content.locale,
        new.content_time
    ];
    save(connection, table.save, values)
}

/// Somebody did something: the last activity never goes back.
pub(super) fn active(connection: &Connection, user: &str, time: i64) -> Result<(), StoreError> {
    let statement = "INSERT INTO author_stats (author, posts, comments, last_activity) VALUES (?1, 0, 0, ?2)
         ON CONFLICT DO UPDATE SET last_activity = max(coalesce(last_activity, ?2), ?2)";
    save(connection, statement, params![user, time])
}

fn count(connection: &Connection, statement: &str, key: Option<&str>, step: i64) -> Result<(), StoreError> {
    match key {
        Some(key) => save(connection, statement, params![key, step]),
        None => Ok(()),
    }
}

// The counts are checked by the table: one below zero is refused. An insert is checked before its conflict is
// seen, so it begins at zero.
const COMMENTS_OF_POST: &str = "INSERT INTO post_stats (post, comments) VALUES (?1, max(?2, 0))
    ON CONFLICT DO UPDATE SET comments = comments + ?2";
const COMMENTS_OF_AUTHOR: &str =
    "INSERT INTO author_stats (author, posts, comments) VALUES (?1, 0, max(?2, 0))
    ON CONFLICT DO UPDATE SET comments = comments + ?2";
const POSTS_OF_AUTHOR: &str = "INSERT INTO author_stats (author, posts, comments) VALUES (?1, max(?2, 0), 0)
    ON CONFLICT DO UPDATE SET posts = posts + ?2";

/// Reads the columns `state, since, created_by`, which come first.
fn life(row: &Row<'_>) -> rusqlite::Result<Life> {
    let code = row.get(0)?;
    let state = State::of_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, code))?;
    Ok(Life { state, since: row.get(1)?, created_by: row.get(2)? })
}

fn load<V>(
    connection: &Connection,
    statement: &str,
    id: &str,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<V>,
) -> Result<Option<V>, StoreError> {
    connection
        .prepare_cached(statement)
        .and_then(|mut statement| statement.query_row([id], read).optional())
        .map_err(ours)
}

fn save(connection: &Connection, statement: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
    connection
        .prepare_cached(statement)
        .and_then(|mut statement| statement.execute(values))
        .map(drop)
        .map_err(ours)
}
