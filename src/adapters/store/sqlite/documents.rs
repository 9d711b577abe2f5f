//! The tables of `search`: a row a document, and the words of those that are alive.

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::error::ours;
use crate::adapters::store::document::{Document, code, tags_of, tags_text};
use crate::adapters::store::life::{Life, State};
use crate::adapters::store::segment::{key, spaced};
use crate::ports::{DocumentBody, DocumentChange, DocumentContent, StoreError};

/// Something happened to a post or a comment.
pub(super) fn apply(connection: &Connection, change: &DocumentChange) -> Result<(), StoreError> {
    let (number, old) = load(connection, change)?.unzip();
    let old = old.unwrap_or_else(Document::stub);
    let Some(new) = old.after(change) else { return Ok(()) };
    let number = save(connection, change, number, &new)?;
    if old.life.is_alive() {
        execute(connection, "DELETE FROM document_words WHERE rowid = ?1", [number])?;
    }
    if new.life.is_alive() {
        index(connection, number, &new.content)?;
    }
    Ok(())
}

/// Puts the words of a document into the index.
fn index(connection: &Connection, number: i64, content: &DocumentContent) -> Result<(), StoreError> {
    let title = spaced(content.title.as_deref().unwrap_or_default());
    let body = content.body.as_ref().map(|body| spaced(&body.text)).unwrap_or_default();
    // A word that nobody can ask for stands between tags: no phrase runs over their ends.
    let tags: Vec<_> = content.tags.iter().flatten().map(|tag| spaced(tag)).collect();
    let tags = tags.join(BETWEEN_TAGS);
    let sql = "INSERT INTO document_words (rowid, title, tags, body) VALUES (?1, ?2, ?3, ?4)";
    execute(connection, sql, params![number, title, tags, body])
}

fn load(connection: &Connection, change: &DocumentChange) -> Result<Option<(i64, Document)>, StoreError> {
    let sql =
        "SELECT state, since, created_by, post, author, format, title, slug, section, tags, body, is_cut,
            time, content_time, number
        FROM documents WHERE kind = ?1 AND id = ?2";
    let read = |row: &rusqlite::Row<'_>| {
        let code = row.get(0)?;
        let state = State::of_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, code))?;
        let is_cut = row.get(11)?;
        let content = DocumentContent {
            title: row.get(6)?,
            slug: row.get(7)?,
            section: row.get(8)?,
            tags: row.get::<_, Option<String>>(9)?.as_deref().map(tags_of),
            body: row.get::<_, Option<String>>(10)?.map(|text| DocumentBody { text, is_cut }),
        };
        let document = Document {
            life: Life { state, since: row.get(1)?, created_by: row.get(2)? },
            post: row.get(3)?,
            author: row.get(4)?,
            format: row.get(5)?,
            content,
            time: row.get(12)?,
            content_time: row.get(13)?,
        };
        Ok((row.get(14)?, document))
    };
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params![code(change.kind), change.id], read).optional())
        .map_err(ours)
}

/// Writes the row and returns its number.
fn save(
    connection: &Connection,
    change: &DocumentChange,
    number: Option<i64>,
    document: &Document,
) -> Result<i64, StoreError> {
    let Document { life, content, .. } = document;
    let tags = content.tags.as_deref().map(tags_text);
    let keys = content.tags.as_deref().map(tag_keys);
    let body = content.body.as_ref();
    let sql =
        "INSERT INTO documents (number, kind, id, state, since, created_by, post, author, author_key, title,
            slug, section, tags, tag_keys, format, body, is_cut, time, content_time)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
        ON CONFLICT (number) DO UPDATE SET state = excluded.state, since = excluded.since,
            created_by = excluded.created_by, post = excluded.post, author = excluded.author,
            author_key = excluded.author_key, title = excluded.title, slug = excluded.slug,
            section = excluded.section, tags = excluded.tags, tag_keys = excluded.tag_keys,
            format = excluded.format, body = excluded.body, is_cut = excluded.is_cut, time = excluded.time,
            content_time = excluded.content_time
        RETURNING number";
    let values = params![
        number,
        code(change.kind),
        change.id,
        life.state.code(),
        life.since,
        life.created_by,
        document.post,
        document.author,
        document.author.as_deref().map(key),
        content.title,
        content.slug,
        content.section,
        tags,
        keys,
        document.format,
        body.map(|body| body.text.as_str()),
        body.is_some_and(|body| body.is_cut),
        document.time,
        document.content_time
    ];
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(values, |row| row.get(0)))
        .map_err(ours)
}

fn tag_keys(tags: &[String]) -> String {
    tags.iter().map(|tag| key(tag)).fold("\n".to_owned(), |keys, key| keys + &key + "\n")
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map(drop).map_err(ours)
}

const BETWEEN_TAGS: &str = " ¶ ";
