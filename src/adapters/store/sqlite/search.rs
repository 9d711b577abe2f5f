//! Finds documents: the index proposes, filters choose, the best are shown.

use std::cmp::Ordering;

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::SqliteStore;
use super::error::ours;
use crate::adapters::store::document::tags_of;
use crate::adapters::store::document::{code, of_code};
use crate::adapters::store::query::{Query, Term};
use crate::adapters::store::snippet::{marked, snippet};
use crate::ports::{
    DocumentKind, LARGEST_PAGE, Search, SearchHit, SearchPage, SearchRequest, StoreError, StoreFuture,
};

impl Search for SqliteStore {
    fn search<'a>(&'a self, request: &'a SearchRequest) -> StoreFuture<'a, SearchPage> {
        let query = Query::of(request);
        let (offset, limit) = (request.offset, request.limit.min(LARGEST_PAGE));
        Box::pin(self.read(move |connection| page(connection, &query, offset, limit, LOOKED_AT)))
    }
}

fn page(
    connection: &Connection,
    query: &Query,
    offset: u32,
    limit: u32,
    bound: i64,
) -> Result<SearchPage, StoreError> {
    if query.is_empty() {
        return Ok(SearchPage { is_whole: true, ..SearchPage::default() });
    }
    let (mut found, is_whole) = found(connection, query, bound).map_err(ours)?;
    found.sort_unstable_by(Found::compare);
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    let take = usize::try_from(limit).unwrap_or(usize::MAX);
    let hits = found.iter().skip(skip).take(take).map(|found| hit(connection, query, found));
    let hits = hits.collect::<Result<_, _>>().map_err(ours)?;
    Ok(SearchPage { hits, total: u64::try_from(found.len()).unwrap_or(u64::MAX), is_whole })
}

/// A document that answers, before it is shown.
struct Found {
    number: i64,
    rank: f64,
    time: i64,
    kind: DocumentKind,
    id: String,
}

impl Found {
    /// The best first, then the newer; ids only make the order certain.
    fn compare(&self, other: &Self) -> Ordering {
        self.rank
            .total_cmp(&other.rank)
            .then_with(|| other.time.cmp(&self.time))
            .then_with(|| (self.kind, &self.id).cmp(&(other.kind, &other.id)))
    }
}

/// Looks at up to `bound` candidates: returns all that answer, and whether everything was looked at.
fn found(connection: &Connection, query: &Query, bound: i64) -> rusqlite::Result<(Vec<Found>, bool)> {
    let (sql, values) = statement(query, bound);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        seen += 1;
        if row.get(0)? {
            let kind = row.get(4)?;
            let kind = of_code(kind).ok_or(rusqlite::Error::IntegralValueOutOfRange(4, kind))?;
            let (number, rank, time) = (row.get(1)?, row.get(2)?, row.get(3)?);
            found.push(Found { number, rank, time, kind, id: row.get(5)? });
        }
    }
    Ok((found, seen < bound))
}

/// Makes the statement of a query; whatever was asked for is a parameter.
fn statement(query: &Query, bound: i64) -> (String, Vec<Value>) {
    let mut values = vec![
        Value::from(bound),
        Value::from(json(&query.authors)),
        Value::from(json(&query.tags)),
        Value::from(serde_json::Value::from_iter(query.kinds.iter().map(|kind| code(*kind))).to_string()),
        Value::from(query.after),
        Value::from(query.before),
    ];
    // Where no word is wanted all documents are looked at, or all of an author.
    let candidates = match (query.wanted.is_empty(), query.authors.first()) {
        (false, _) => {
            values.push(Value::from(expression(&query.wanted, &query.unwanted)));
            "SELECT rowid AS number, bm25(document_words, 10.0, 5.0, 1.0) AS rank FROM document_words
             WHERE document_words MATCH ?7 ORDER BY rowid DESC LIMIT ?1"
        }
        (true, None) => {
            "SELECT number, 0.0 AS rank FROM documents WHERE state = 1 ORDER BY time DESC LIMIT ?1"
        }
        (true, Some(author)) => {
            values.push(Value::from(author.clone()));
            "SELECT number, 0.0 AS rank FROM documents WHERE state = 1 AND author_key = ?7
             ORDER BY time DESC LIMIT ?1"
        }
    };
    let mut chosen = CHOSEN.to_owned();
    if query.wanted.is_empty() && !query.unwanted.is_empty() {
        values.resize(7, Value::Null);
        values.push(Value::from(any(&query.unwanted)));
        chosen.push_str(
            " AND d.number NOT IN (SELECT rowid FROM document_words WHERE document_words MATCH ?8)",
        );
    }
    let sql = format!(
        "SELECT {chosen}, d.number, c.rank, d.time, d.kind, d.id
         FROM ({candidates}) c JOIN documents d ON d.number = c.number"
    );
    (sql, values)
}

/// Writes terms as the index reads them. Words are letters and digits alone, so that nothing need be escaped.
fn expression(wanted: &[Term], unwanted: &[Term]) -> String {
    let wanted: Vec<_> = wanted.iter().map(phrase).collect();
    let wanted = wanted.join(" AND ");
    if unwanted.is_empty() { wanted } else { format!("({wanted}) NOT ({})", any(unwanted)) }
}

fn any(terms: &[Term]) -> String {
    terms.iter().map(phrase).collect::<Vec<_>>().join(" OR ")
}

fn phrase(term: &Term) -> String {
    let star = if term.is_prefix { " *" } else { "" };
    format!("\"{}\"{star}", term.words.join(" "))
}

fn json(keys: &[String]) -> String {
    serde_json::Value::from(keys).to_string()
}

/// Reads a document that is shown.
fn hit(connection: &Connection, query: &Query, found: &Found) -> rusqlite::Result<SearchHit> {
    let sql = "SELECT coalesce(d.post, d.id), p.title, p.slug, d.author, d.title, d.slug, d.section, d.tags, d.body,
            d.is_cut
        FROM documents d LEFT JOIN documents p ON p.kind = 0 AND p.id = coalesce(d.post, d.id) AND p.state = 1
        WHERE d.number = ?1";
    connection.prepare_cached(sql)?.query_row(params![found.number], |row| {
        let text = |column| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
        Ok(SearchHit {
            kind: found.kind,
            id: found.id.clone(),
            post: row.get(0)?,
            post_title: row.get(1)?,
            post_slug: row.get(2)?,
            author: text(3)?,
            title: marked(&text(4)?, &query.wanted),
            slug: row.get(5)?,
            section: row.get(6)?,
            tags: tags_of(&text(7)?),
            time: found.time,
            score: if found.rank == 0.0 { 0.0 } else { -found.rank },
            snippet: snippet(&text(8)?, &query.wanted),
            is_cut: row.get(9)?,
        })
    })
}

/// Which candidates answer: filters, and comments whose post is not removed.
const CHOSEN: &str = "NOT EXISTS (SELECT 1 FROM json_each(?2) WHERE value <> d.author_key)
    AND NOT EXISTS (SELECT 1 FROM json_each(?3)
        WHERE instr(coalesce(d.tag_keys, ''), char(10) || value || char(10)) = 0)
    AND NOT EXISTS (SELECT 1 FROM json_each(?4) WHERE value <> d.kind)
    AND (?5 IS NULL OR d.time >= ?5) AND (?6 IS NULL OR d.time < ?6)
    AND NOT EXISTS (SELECT 1 FROM documents p
        WHERE d.kind = 1 AND p.kind = 0 AND p.id = d.post AND p.state IN (2, 3))";

/// How many candidates are looked at, those that came last: it bounds the time of a search.
const LOOKED_AT: i64 = 50_000;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::adapters::store::sqlite::{documents, schema};
    use crate::event::EventId;
    use crate::ports::{Arrival, DocumentChange, DocumentContent, DocumentFact, Origin};

    #[test]
    fn a_search_looks_at_so_many_and_says_that_there_may_be_more() {
        let mut connection = schema::open_in_memory(std::time::Duration::ZERO).unwrap();
        schema::migrate(&mut connection).unwrap();
        for number in 0..10 {
            let event = EventId::parse(&format!("e{number}")).unwrap();
            let content = DocumentContent { title: Some("ferry".to_owned()), ..DocumentContent::default() };
            let author = if number < 3 { "ann" } else { "bob" }.to_owned();
            let change = DocumentChange {
                kind: DocumentKind::Post,
                id: format!("p{number}"),
                origin: Origin { event, time: number, arrival: Arrival::InOrder },
                fact: DocumentFact::Created { post: None, author, format: None, content },
            };
            documents::apply(&connection, &change).unwrap();
        }
        let search = |text: &str, bound| {
            let request = SearchRequest { text: text.to_owned(), ..SearchRequest::default() };
            let page = page(&connection, &Query::of(&request), 0, 9, bound).unwrap();
            let newest = page.hits.first().map(|hit| hit.id.clone()).unwrap_or_default();
            (page.total, page.is_whole, newest)
        };

        assert_eq!(search("ferry", 11), (10, true, "p9".to_owned()));
        assert_eq!(search("ferry", 4), (4, false, "p9".to_owned()));
        assert_eq!(search("ferry author:ann", 4), (0, false, String::new()));
        assert_eq!(search("author:ann", 4), (3, true, "p2".to_owned()));
        assert_eq!(search("type:post", 4), (4, false, "p9".to_owned()));
    }
}
