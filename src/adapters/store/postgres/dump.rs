//! All tables of `project` and `notify` as one JSON value, the same whatever the order in which they were written.

use deadpool_postgres::Transaction;
use serde_json::{Map, Value, json};
use tokio_postgres::Row;

use super::error::Trouble;
use super::held::state;

/// Reads `posts`, `comments`, `authors`, `people`, `notifications` and `totals`.
pub(super) async fn dump(tx: &Transaction<'_>) -> Result<Value, Trouble> {
    Ok(json!({
        "posts": by_id(tx, POSTS, post).await?,
        "comments": by_id(tx, "SELECT id, state, post, author FROM comments", comment).await?,
        "authors": by_id(tx, "SELECT author, posts, comments, last_activity FROM author_stats", author).await?,
        "people": by_id(tx, "SELECT id, state, name, email, subscribed, locale FROM people", person).await?,
        "notifications": notifications(tx).await?,
        "totals": totals(tx).await?,
    }))
}

async fn by_id(
    tx: &Transaction<'_>,
    sql: &str,
    read: impl Fn(&Row) -> Result<Value, Trouble>,
) -> Result<Map<String, Value>, Trouble> {
    tx.query(sql, &[]).await?.iter().map(|row| Ok((row.try_get(0)?, read(row)?))).collect()
}

fn post(row: &Row) -> Result<Value, Trouble> {
    Ok(json!({
        "state": state(row, 1)?.word(),
        "author": row.try_get::<_, Option<String>>(2)?,
        "title": row.try_get::<_, Option<String>>(3)?,
        "slug": row.try_get::<_, Option<String>>(4)?,
        "section": row.try_get::<_, Option<String>>(5)?,
        "comments": row.try_get::<_, Option<i64>>(6)?.unwrap_or(0),
    }))
}

fn comment(row: &Row) -> Result<Value, Trouble> {
    let (post, author): (Option<String>, Option<String>) = (row.try_get(2)?, row.try_get(3)?);
    Ok(json!({ "state": state(row, 1)?.word(), "post": post, "author": author }))
}

fn author(row: &Row) -> Result<Value, Trouble> {
    Ok(json!({
        "posts": row.try_get::<_, i64>(1)?,
        "comments": row.try_get::<_, i64>(2)?,
        "last_activity": row.try_get::<_, Option<i64>>(3)?,
    }))
}

fn person(row: &Row) -> Result<Value, Trouble> {
    Ok(json!({
        "state": state(row, 1)?.word(),
        "name": row.try_get::<_, Option<String>>(2)?,
        "email": row.try_get::<_, Option<String>>(3)?,
        "subscribed": row.try_get::<_, Option<bool>>(4)?.unwrap_or(false),
        "locale": row.try_get::<_, Option<String>>(5)?,
    }))
}

/// Recipient → reason → subject → `[event, time]`.
async fn notifications(tx: &Transaction<'_>) -> Result<Value, Trouble> {
    let mut all = json!({});
    for row in tx.query("SELECT recipient, reason, subject, event, time FROM notifications", &[]).await? {
        let path: [&str; 3] = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?];
        put(&mut all, &path, json!([row.try_get::<_, &str>(3)?, row.try_get::<_, i64>(4)?]));
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

async fn totals(tx: &Transaction<'_>) -> Result<Value, Trouble> {
    let row = tx.query_one(TOTALS, &[]).await?;
    let count = |column: usize| row.try_get::<_, i64>(column);
    Ok(json!({
        "posts": count(0)?,
        "comments": count(1)?,
        "people": count(2)?,
        "authors": count(3)?,
        "notifications": count(4)?,
    }))
}

const POSTS: &str = "SELECT id, state, author, title, slug, section, comments FROM posts
        LEFT JOIN post_stats ON post = id
    UNION ALL SELECT post, 0, NULL, NULL, NULL, NULL, comments FROM post_stats
        WHERE comments > 0 AND post NOT IN (SELECT id FROM posts)";

const TOTALS: &str = "SELECT
    (SELECT count(*) FROM posts WHERE state = 1),
    (SELECT count(*) FROM comments WHERE state = 1),
    (SELECT count(*) FROM people WHERE state = 1),
    (SELECT count(*) FROM author_stats),
    (SELECT count(*) FROM notifications)";
