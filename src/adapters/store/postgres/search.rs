//! Finds documents: the index proposes, filters choose, the best are shown.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use super::{PostgresStore, in_snapshot};
use crate::adapters::store::document::tags_of;
use crate::adapters::store::document::{code, of_code};
use crate::adapters::store::query::{Query, Term};
use crate::adapters::store::snippet::{marked, snippet};
use crate::ports::{LARGEST_PAGE, Search, SearchHit, SearchPage, SearchRequest, StoreError, StoreFuture};

impl Search for PostgresStore {
    fn search<'a>(&'a self, request: &'a SearchRequest) -> StoreFuture<'a, SearchPage> {
        Box::pin(async move {
            let query = Query::of(request);
            let (offset, limit) = (request.offset, request.limit.min(LARGEST_PAGE));
            in_snapshot!(self, tx => page(&tx, &query, offset, limit, LOOKED_AT))
        })
    }
}

async fn page(
    tx: &Transaction<'_>,
    query: &Query,
    offset: u32,
    limit: u32,
    bound: i64,
) -> Result<SearchPage, Trouble> {
    if query.is_empty() {
        return Ok(SearchPage { is_whole: true, ..SearchPage::default() });
    }
    let kinds: Vec<i64> = query.kinds.iter().map(|kind| code(*kind)).collect();
    let (limit, offset) = (i64::from(limit), i64::from(offset));
    let (words, phrases) = (all(&query.wanted), phrases(&query.wanted));
    let (unwanted, unwanted_phrases) = (any(&query.unwanted), self::phrases(&query.unwanted));
    // Never prepared for any words: what is rare and what is common are looked up in different ways.
    let rows = tx
        .query(
            &statement(query),
            &[
                &bound,
                &query.authors,
                &query.tags,
                &kinds,
                &query.after,
                &query.before,
                &limit,
                &offset,
                &words,
                &phrases,
                &unwanted,
                &unwanted_phrases,
            ],
        )
        .await?;
    let Some(first) = rows.first() else { return Ok(SearchPage::default()) };
    let (seen, total): (i64, i64) = (first.try_get("seen")?, first.try_get("total")?);
    let mut hits = Vec::with_capacity(rows.len());
    for row in &rows {
        // A page behind the last hit has a line without one.
        if let Some(kind) = row.try_get::<_, Option<i64>>("kind")? {
            hits.push(hit(row, query, kind)?);
        }
    }
    Ok(SearchPage { hits, total: u64::try_from(total).unwrap_or_default(), is_whole: seen < bound })
}

fn hit(row: &Row, query: &Query, kind: i64) -> Result<SearchHit, Trouble> {
    let unfit = || StoreError::Unusable(format!("the tables hold a kind {kind} that is not known"));
    let text = |column| row.try_get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    Ok(SearchHit {
        kind: of_code(kind).ok_or_else(unfit)?,
        id: row.try_get("id")?,
        post: row.try_get("of_post")?,
        post_title: row.try_get("post_title")?,
        post_slug: row.try_get("post_slug")?,
        author: text("author")?,
        title: marked(&text("title")?, &query.wanted),
        slug: row.try_get("slug")?,
        section: row.try_get("section")?,
        tags: tags_of(&text("tags")?),
        time: row.try_get::<_, Option<i64>>("time")?.unwrap_or_default(),
        score: row.try_get("rank")?,
        snippet: snippet(&text("body")?, &query.wanted),
        is_cut: row.try_get("is_cut")?,
    })
}

/// Makes the statement of a query; whatever was asked for is a parameter.
fn statement(query: &Query) -> String {
    // Where no word is wanted all documents are looked at, or all of an author.
    let (candidates, rank) = match (query.wanted.is_empty(), query.authors.is_empty()) {
        (false, _) => (
            "d.lexemes @@ $9::text::tsquery
                AND NOT EXISTS (SELECT 1 FROM unnest($10::text[]) p WHERE strpos(d.spaced, p) = 0)
                AND ($11::text = '' OR NOT d.lexemes @@ $11::text::tsquery)
                AND NOT EXISTS (SELECT 1 FROM unnest($12::text[]) p WHERE strpos(d.spaced, p) > 0)
            ORDER BY d.number DESC LIMIT $1",
            "ts_rank('{0.1, 0.1, 0.5, 1.0}', d.lexemes, $9::text::tsquery, 1)::float8",
        ),
        (true, true) => ("true ORDER BY d.time DESC LIMIT $1", "0::float8"),
        (true, false) => ("d.author_key = ($2::text[])[1] ORDER BY d.time DESC LIMIT $1", "0::float8"),
    };
    format!(
        "WITH candidates AS MATERIALIZED (
            SELECT d.number FROM documents d WHERE d.state = 1 AND {candidates}),
        found AS MATERIALIZED (
            SELECT d.number, d.kind, d.id, coalesce(d.time, 0) AS time, {rank} AS rank
            FROM candidates c JOIN documents d USING (number)
            WHERE {CHOSEN}),
        page AS (
            SELECT * FROM found ORDER BY rank DESC, time DESC, kind, id LIMIT $7 OFFSET $8)
        SELECT (SELECT count(*) FROM candidates) AS seen, (SELECT count(*) FROM found) AS total,
            page.kind, page.id, page.rank, page.time, d.author, d.title, d.slug, d.section, d.tags, d.body, d.is_cut,
            coalesce(d.post, d.id) AS of_post, p.title AS post_title, p.slug AS post_slug
        FROM (SELECT) always LEFT JOIN page ON true LEFT JOIN documents d ON d.number = page.number
            LEFT JOIN documents p ON p.kind = 0 AND p.id = coalesce(d.post, d.id) AND p.state = 1
        ORDER BY page.rank DESC, page.time DESC, page.kind, page.id"
    )
}

/// Writes terms as the index reads them, all of them wanted. Words are letters, digits and marks alone, so that nothing
/// need be escaped. Of a phrase all words are looked up, and their order where they stand.
fn all(terms: &[Term]) -> String {
    terms.iter().map(expression).collect::<Vec<_>>().join(" & ")
}

/// Of terms that are single words: any of them.
fn any(terms: &[Term]) -> String {
    let words = terms.iter().filter(|term| term.words.len() == 1);
    words.map(expression).collect::<Vec<_>>().join(" | ")
}

fn expression(term: &Term) -> String {
    let last = term.words.len().saturating_sub(1);
    let word = |(place, word): (usize, &String)| {
        let star = if term.is_prefix && place == last { ":*" } else { "" };
        format!("'{word}'{star}")
    };
    term.words.iter().enumerate().map(word).collect::<Vec<_>>().join(" & ")
}

/// Returns the terms of several words, as they stand among the spaced ones.
fn phrases(terms: &[Term]) -> Vec<String> {
    let several = terms.iter().filter(|term| term.words.len() > 1);
    several
        .map(|term| format!(" {}{}", term.words.join(" "), if term.is_prefix { "" } else { " " }))
        .collect()
}

/// Which candidates answer: filters, words that are not to be there where none is wanted, and comments whose post is not
/// removed. Each parameter is named, whichever of them the candidates have used.
const CHOSEN: &str = "NOT EXISTS (SELECT 1 FROM unnest($2::text[]) a WHERE a <> d.author_key)
    AND coalesce(d.tag_keys, '{}') @> $3::text[]
    AND NOT EXISTS (SELECT 1 FROM unnest($4::bigint[]) k WHERE k <> d.kind)
    AND ($5::bigint IS NULL OR d.time >= $5) AND ($6::bigint IS NULL OR d.time < $6)
    AND $9::text IS NOT NULL AND $10::text[] IS NOT NULL
    AND ($11::text = '' OR NOT d.lexemes @@ $11::text::tsquery)
    AND NOT EXISTS (SELECT 1 FROM unnest($12::text[]) p WHERE strpos(d.spaced, p) > 0)
    AND NOT EXISTS (SELECT 1 FROM documents p
        WHERE d.kind = 1 AND p.kind = 0 AND p.id = d.post AND p.state IN (2, 3))";

/// How many candidates are looked at, those that came last: it bounds the time of a search.
const LOOKED_AT: i64 = 50_000;
