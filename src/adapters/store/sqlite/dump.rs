//! All tables of `project` and `notify` as one JSON value, the same whatever the order in which they were written.

use rusqlite::{Connection, Row};
use serde_json::{Map, Value, json};

use super::error::ours;
use crate::adapters::store::life::State;
use crate::ports::StoreError;

/// Reads `posts`, `comments`, `authors`, `people`, `notifications` and `totals`.
pub(super) fn dump(connection: &Connection) -> Result<Value, StoreError> {
    let read = || {
        Ok(json!({
            "posts": posts(connection)?,
            "comments": comments(connection)?,
            "authors": authors(connection)?,
            "people": people(connection)?,
            "notifications": notifications(connection)?,
            "totals": totals(connection)?,
        }))
    };
    read().map_err(ours)
}

fn posts(connection: &Connection) -> rusqlite::Result<Map<String, Value>> {
    let sql = "SELECT id, state, author, title, slug, section, comments FROM posts
        LEFT JOIN post_stats ON post = id
        UNION ALL SELECT post, 0, NULL, NULL, NULL, NULL, comments FROM post_stats
        WHERE comments > 0 AND post NOT IN (SELECT id FROM posts)";
    by_id(connection, sql, |row| {
        Ok(json!({
            "state": state(row)?,
            "author": row.get::<_, Option<String>>(2)?,
            "title": row.get::<_, Option<String>>(3)?,
            "slug": row.get::<_, Option<String>>(4)?,
            "section": row.get::<_, Option<String>>(5)?,
            "comments": row.get::<_, Option<i64>>(6)?.unwrap_or(0),
        }))
    })
}

fn comments(connection: &Connection) -> rusqlite::Result<Map<String, Value>> {
    by_id(connection, "SELECT id, state, post, author FROM comments", |row| {
        let (post, author) = (row.get::<_, Option<String>>(2)?, row.get::<_, Option<String>>(3)?);
        Ok(json!({ "state": state(row)?, "post": post, "author": author }))
    })
}

fn authors(connection: &Connection) -> rusqlite::Result<Map<String, Value>> {
    by_id(connection, "SELECT author, posts, comments, last_activity FROM author_stats", |row| {
        Ok(json!({
            "posts": row.get::<_, i64>(1)?,
            "comments": row.get::<_, i64>(2)?,
            "last_activity": row.get::<_, Option<i64>>(3)?,
        }))
    })
}

fn people(connection: &Connection) -> rusqlite::Result<Map<String, Value>> {
    by_id(connection, "SELECT id, state, name, email, subscribed, locale FROM people", |row| {
        Ok(json!({
            "state": state(row)?,
            "name": row.get::<_, Option<String>>(2)?,
            "email": row.get::<_, Option<String>>(3)?,
            "subscribed": row.get::<_, Option<bool>>(4)?.unwrap_or(false),
            "locale": row.get::<_, Option<String>>(5)?,
        }))
    })
}

/// Recipient → reason → subject → `[event, time]`.
fn notifications(connection: &Connection) -> rusqlite::Result<Value> {
    let mut all = json!({});
    let mut statement =
        connection.prepare("SELECT recipient, reason, subject, event, time FROM notifications")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (recipient, reason, subject): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let said = json!([row.get::<_, String>(3)?, row.get::<_, i64>(4)?]);
        put(&mut all, &[&recipient, &reason, &subject], said);
    }
    Ok(all)
}

fn put(value: &mut Value, path: &[&str], leaf: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = leaf;
        return;
    };
    if let Value::Object(map) = value {
        put(map.entry(*first).or_insert_with(|| json!({})), rest, leaf);
    }
}

fn totals(connection: &Connection) -> rusqlite::Result<Value> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok(json!({
        "posts": count("SELECT count(*) FROM posts WHERE state = 1")?,
        "comments": count("SELECT count(*) FROM comments WHERE state = 1")?,
        "people": count("SELECT count(*) FROM people WHERE state = 1")?,
        "authors": count("SELECT count(*) FROM author_stats")?,
        "notifications": count("SELECT count(*) FROM notifications")?,
    }))
}

/// Reads the column `state`, which comes second.
fn state(row: &Row<'_>) -> rusqlite::Result<&'static str> {
    let code = row.get(1)?;
    State::of_code(code).map(State::word).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, code))
}

fn by_id(
    connection: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<Value>,
) -> rusqlite::Result<Map<String, Value>> {
    connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, read(row)?)))?.collect()
}
