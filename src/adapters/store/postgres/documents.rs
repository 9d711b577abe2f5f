//! The tables of `search`: a row a document, with the words of those that are alive.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use super::held::{Held, life};
use super::people::Expected;
use super::pipe::{Pipe, Value, column};
use crate::adapters::store::document::{Document, code, tags_of, tags_text};
use crate::adapters::store::segment::{key, words};
use crate::ports::{DocumentBody, DocumentChange, DocumentContent, DocumentKind};

/// Something happened to posts and comments.
pub(super) async fn apply(tx: &Transaction<'_>, changes: &[&DocumentChange]) -> Result<(), Trouble> {
    for kind in [DocumentKind::Post, DocumentKind::Comment] {
        let mut held = Held::<Document>::of(of_kind(changes, kind).map(|change| change.id.as_str()));
        if held.is_empty() {
            continue;
        }
        let mut load = Pipe::default();
        load.add(LOAD, vec![Box::new(code(kind)), held.ids()]);
        for rows in load.run(tx).await? {
            held.fill(rows, document)?;
        }
        for change in of_kind(changes, kind) {
            held.change(&change.id, Document::stub, |document| document.after(change));
        }
        save(tx, kind, INSERT, &held.made(), true).await?;
        save(tx, kind, UPDATE, &held.changed(), false).await?;
    }
    Ok(())
}

fn of_kind<'a>(
    changes: &'a [&DocumentChange],
    kind: DocumentKind,
) -> impl Iterator<Item = &'a DocumentChange> {
    changes.iter().copied().filter(move |change| change.kind == kind)
}

/// Writes rows, so many at once as fit into memory twice.
async fn save(
    tx: &Transaction<'_>,
    kind: DocumentKind,
    sql: &'static str,
    rows: &[(&str, &Document)],
    is_new: bool,
) -> Result<(), Trouble> {
    let mut rest = rows;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|(_, document)| {
            let fits = bytes < MOST_BYTES;
            bytes += document.content.body.as_ref().map_or(0, |body| body.text.len()) + ROW_BYTES;
            fits
        });
        let (some, others) = rest.split_at(fitting.count().min(rest.len()));
        let mut pipe = Pipe::default();
        let place = pipe.add(sql, values(kind, some));
        let mut expected = Expected::nothing();
        if is_new {
            expected.add(place, some.len());
        }
        expected.check(&pipe.run(tx).await?)?;
        rest = others;
    }
    Ok(())
}

fn values<'a>(kind: DocumentKind, rows: &[(&'a str, &'a Document)]) -> Vec<Value<'a>> {
    let texts: Vec<_> = rows.iter().map(|(_, document)| Indexed::of(document)).collect();
    let (lexemes, spaced): (Vec<_>, Vec<_>) = texts.into_iter().map(|it| (it.lexemes, it.spaced)).unzip();
    let keys = |tags: &[String]| tags.iter().map(|tag| format!("\n{}", key(tag))).collect::<String>();
    vec![
        Box::new(code(kind)),
        column!(rows, (id, _) => *id),
        column!(rows, (_, row) => row.life.state.code()),
        column!(rows, (_, row) => row.life.since),
        column!(rows, (_, row) => row.life.created_by.as_deref()),
        column!(rows, (_, row) => row.post.as_deref()),
        column!(rows, (_, row) => row.author.as_deref()),
        column!(rows, (_, row) => row.author.as_deref().map(key)),
        column!(rows, (_, row) => row.content.title.as_deref()),
        column!(rows, (_, row) => row.content.slug.as_deref()),
        column!(rows, (_, row) => row.content.section.as_deref()),
        column!(rows, (_, row) => row.content.tags.as_deref().map(tags_text)),
        column!(rows, (_, row) => row.content.tags.as_deref().map(keys)),
        column!(rows, (_, row) => row.format.as_deref()),
        column!(rows, (_, row) => row.content.body.as_ref().map(|body| body.text.as_str())),
        column!(rows, (_, row) => row.content.body.as_ref().is_some_and(|body| body.is_cut)),
        column!(rows, (_, row) => row.time),
        column!(rows, (_, row) => row.content_time),
        Box::new(lexemes),
        Box::new(spaced),
    ]
}

/// What is found of a document.
#[derive(Default)]
struct Indexed {
    lexemes: Option<String>,
    spaced: Option<String>,
}

impl Indexed {
    fn of(document: &Document) -> Self {
        if !document.life.is_alive() {
            return Self::default();
        }
        let DocumentContent { title, tags, body, .. } = &document.content;
        let mut index = Index::default();
        index.add(title.as_deref().unwrap_or_default(), "A");
        for tag in tags.iter().flatten() {
            index.add(tag, "B");
        }
        index.add(body.as_ref().map_or("", |body| body.text.as_str()), "");
        index.finish()
    }
}

/// Words with their places, and their weights.
struct Index {
    places: BTreeMap<String, String>,
    spaced: String,
    place: u32,
    bytes: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { places: BTreeMap::new(), spaced: " ".to_owned(), place: 0, bytes: 0 }
    }
}

impl Index {
    /// Adds a text; no phrase runs over its end.
    fn add(&mut self, text: &str, weight: &str) {
        for word in words(text) {
            self.place = self.place.saturating_add(1);
            let places = self.places.get(&word.text);
            // As PostgreSQL counts: a word's letters, two bytes for their number, two for each place.
            let more = places.map_or(word.text.len() + 5, |_| 2);
            if self.bytes + more > LARGEST_INDEX {
                break;
            }
            self.spaced.push_str(&word.text);
            self.spaced.push(' ');
            let is_full = places.is_some_and(|places| places.len() > MOST_PLACES);
            if !is_full {
                self.bytes += more;
                let places = self.places.entry(word.text).or_default();
                let comma = if places.is_empty() { "" } else { "," };
                places.push_str(&format!("{comma}{}{weight}", self.place.min(LAST_PLACE)));
            }
        }
        self.spaced.push_str(BETWEEN);
    }

    fn finish(self) -> Indexed {
        let mut lexemes = String::with_capacity(self.spaced.len() * 2);
        for (word, places) in &self.places {
            // Words are letters, digits and marks alone: nothing need be escaped.
            lexemes.push_str(&format!("'{word}':{places} "));
        }
        Indexed { lexemes: Some(lexemes), spaced: Some(self.spaced) }
    }
}

fn document(row: &Row) -> Result<Document, Trouble> {
    let is_cut = row.try_get(12)?;
    let content = DocumentContent {
        title: row.try_get(7)?,
        slug: row.try_get(8)?,
        section: row.try_get(9)?,
        tags: row.try_get::<_, Option<String>>(10)?.as_deref().map(tags_of),
        body: row.try_get::<_, Option<String>>(11)?.map(|text| DocumentBody { text, is_cut }),
    };
    Ok(Document {
        life: life(row)?,
        post: row.try_get(4)?,
        author: row.try_get(5)?,
        format: row.try_get(6)?,
        content,
        time: row.try_get(13)?,
        content_time: row.try_get(14)?,
    })
}

const LOAD: &str =
    "SELECT id, state, since, created_by, post, author, format, title, slug, section, tags, body, is_cut,
        time, content_time
    FROM documents WHERE kind = $1 AND id = ANY($2) ORDER BY id FOR NO KEY UPDATE";

macro_rules! rows {
    () => {
        "unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bool[], $17::bigint[],
            $18::bigint[], $19::text[], $20::text[])
            AS n(id, state, since, created_by, post, author, author_key, title, slug, section, tags, tag_keys, format,
                body, is_cut, time, content_time, lexemes, spaced)"
    };
}

// Each key has a line break before it, so that a single empty one is told from none.
macro_rules! array {
    ($keys:literal) => {
        concat!("(string_to_array(", $keys, ", E'\\n'))[2:]")
    };
}

const INSERT: &str = concat!(
    "WITH made AS (INSERT INTO documents (kind, id, state, since, created_by, post, author, author_key, title, slug,
        section, tags, tag_keys, format, body, is_cut, time, content_time, lexemes, spaced)
    SELECT $1::bigint, id, state, since, created_by, post, author, author_key, title, slug, section, tags,
        ",
    array!("tag_keys"),
    ", format, body, is_cut, time, content_time, lexemes::tsvector, spaced
    FROM ",
    rows!(),
    " ON CONFLICT DO NOTHING RETURNING 1) SELECT count(*) FROM made"
);

const UPDATE: &str = concat!(
    "UPDATE documents d SET state = n.state, since = n.since, created_by = n.created_by, post = n.post,
        author = n.author, author_key = n.author_key, title = n.title, slug = n.slug, section = n.section,
        tags = n.tags, tag_keys = ",
    array!("n.tag_keys"),
    ", format = n.format, body = n.body,
        is_cut = n.is_cut, time = n.time, content_time = n.content_time, lexemes = n.lexemes::tsvector,
        spaced = n.spaced
    FROM ",
    rows!(),
    " WHERE d.kind = $1::bigint AND d.id = n.id"
);

/// A word that nobody can ask for.
const BETWEEN: &str = "¶ ";

/// A place beyond this one counts as this one.
const LAST_PLACE: u32 = 16_383;

/// How long the list of a word's places grows, in letters: PostgreSQL takes no more than 255.
const MOST_PLACES: usize = 1_800;

/// What the words of a document may hold, in bytes: PostgreSQL takes no more than 1,048,575.
const LARGEST_INDEX: usize = 1_000_000;

/// What is written at once, roughly.
const MOST_BYTES: usize = 4 * 1_024 * 1_024;

/// What a row holds beside its text.
const ROW_BYTES: usize = 512;
