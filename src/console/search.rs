//! `/api/search`: what a search finds, as JSON.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::adapters::store::SqliteStore;
use crate::event::time;
use crate::ports::{DocumentKind, LARGEST_PAGE, Search, SearchHit, SearchPage, SearchRequest, Snippet};

/// Returns the route, for whoever may use the API.
pub(crate) fn router(store: SqliteStore) -> Router {
    Router::new().route("/api/search", get(search)).with_state(store)
}

async fn search(
    State(store): State<SqliteStore>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Response {
    let request =
        parameters.map_err(|error| error.body_text()).and_then(|Query(parameters)| parameters.read());
    let (status, answer) = match request {
        Err(error) => (StatusCode::BAD_REQUEST, Json(Refusal { error }).into_response()),
        Ok(request) => match store.search(&request).await {
            Ok(page) => (StatusCode::OK, Json(Answer::of(&page)).into_response()),
            Err(error) => {
                (StatusCode::SERVICE_UNAVAILABLE, Json(Refusal { error: error.to_string() }).into_response())
            }
        },
    };
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, answer).into_response()
}

/// What stands behind the `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    q: String,
    author: Option<String>,
    tag: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    after: Option<String>,
    before: Option<String>,
    limit: Option<String>,
    offset: Option<String>,
}

impl Parameters {
    /// Reads them; a form sends empty ones, which say nothing.
    ///
    /// # Errors
    /// Says which one cannot be read.
    fn read(self) -> Result<SearchRequest, String> {
        Ok(SearchRequest {
            text: self.q,
            author: filled(self.author),
            tag: filled(self.tag),
            kind: filled(self.kind).map(|text| kind(&text)).transpose()?,
            after: filled(self.after).map(|text| day(&text)).transpose()?,
            before: filled(self.before).map(|text| day(&text)).transpose()?,
            limit: filled(self.limit)
                .map(|text| number("limit", &text))
                .transpose()?
                .unwrap_or(20)
                .min(LARGEST_PAGE),
            offset: filled(self.offset).map(|text| number("offset", &text)).transpose()?.unwrap_or(0),
        })
    }
}

fn filled(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

fn number(name: &str, text: &str) -> Result<u32, String> {
    text.parse().map_err(|_unreadable| format!("{name} is a number from 0, not {text:?}"))
}

/// Reads the kind of documents that are wanted.
///
/// # Errors
/// Says which there are.
pub(crate) fn kind(text: &str) -> Result<DocumentKind, String> {
    DocumentKind::named(text).ok_or_else(|| format!("write post or comment, not {text:?}"))
}

/// Reads a day or a moment.
///
/// # Errors
/// Says how they are written.
pub(crate) fn day(text: &str) -> Result<i64, String> {
    time::parse_day(text).ok_or_else(|| {
        format!("write a day such as 2021-03-14, or a time such as 2021-03-14T15:09:26Z, not {text:?}")
    })
}

#[derive(Serialize)]
struct Refusal {
    error: String,
}

/// A page of hits, for programs.
#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    total: u64,
    is_whole: bool,
    hits: Vec<Hit<'a>>,
}

#[derive(Serialize)]
struct Hit<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    post: &'a str,
    post_title: Option<&'a str>,
    post_slug: Option<&'a str>,
    author: &'a str,
    title: Piece<'a>,
    slug: Option<&'a str>,
    section: Option<&'a str>,
    tags: &'a [String],
    time: String,
    score: f64,
    snippet: Piece<'a>,
    is_cut: bool,
}

/// A text and ranges of bytes in it.
#[derive(Serialize)]
struct Piece<'a> {
    text: &'a str,
    marks: Vec<[usize; 2]>,
}

impl<'a> Answer<'a> {
    /// Writes a page.
    pub(crate) fn of(page: &'a SearchPage) -> Self {
        Self { total: page.total, is_whole: page.is_whole, hits: page.hits.iter().map(Hit::of).collect() }
    }
}

impl<'a> Hit<'a> {
    fn of(hit: &'a SearchHit) -> Self {
        Self {
            kind: hit.kind.name(),
            id: &hit.id,
            post: &hit.post,
            post_title: hit.post_title.as_deref(),
            post_slug: hit.post_slug.as_deref(),
            author: &hit.author,
            title: Piece::of(&hit.title),
            slug: hit.slug.as_deref(),
            section: hit.section.as_deref(),
            tags: &hit.tags,
            time: time::write(hit.time),
            score: hit.score,
            snippet: Piece::of(&hit.snippet),
            is_cut: hit.is_cut,
        }
    }
}

impl<'a> Piece<'a> {
    fn of(snippet: &'a Snippet) -> Self {
        let marks = snippet.marks.iter().map(|mark| [mark.start, mark.end]).collect();
        Self { text: &snippet.text, marks }
    }
}
