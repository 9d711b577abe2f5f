//! `/api/search`: what a search finds, as JSON.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use minijinja::{Value, context};
use serde::{Deserialize, Serialize};

use crate::adapters::store::AnyStore;
use crate::console::pages;
use crate::console::pages::Desk;
use crate::console::text::masked;
use crate::console::words::rfc3339;
use crate::event::time;
use crate::ports::{DocumentKind, LARGEST_PAGE, Search, SearchHit, SearchPage, SearchRequest, Snippet};

/// Answers a search in the store that the page shows.
pub(crate) async fn search(State(desk): State<Desk>, parameters: Asked) -> Response {
    let Some(store) = desk.parts.store.get() else {
        let error = "the store is not open yet".to_owned();
        return (StatusCode::SERVICE_UNAVAILABLE, Json(Refusal { error })).into_response();
    };
    let late = || {
        let error = "the search took too long: name more words, or filters".to_owned();
        (StatusCode::SERVICE_UNAVAILABLE, Json(Refusal { error })).into_response()
    };
    desk.in_time(answer(store, parameters)).await.unwrap_or_else(late)
}

/// The page of what a search finds.
pub(crate) async fn page(State(desk): State<Desk>, parameters: Asked) -> Response {
    let parameters = parameters.map(|Query(parameters)| parameters).map_err(|error| error.body_text());
    let asked = parameters.as_ref().map(|parameters| parameters.q.clone()).unwrap_or_default();
    let found = match (parameters.and_then(Parameters::read), desk.parts.store.get()) {
        (Err(error), _) => Err(error),
        (Ok(_), None) => Err("the store is not open yet".to_owned()),
        (Ok(request), Some(store)) => match desk.in_time(store.search(&request)).await {
            Some(found) => found.map_err(|error| error.to_string()),
            None => Err("the search took too long: name more words, or filters".to_owned()),
        },
    };
    let context = match found {
        Ok(found) => {
            let hits: Vec<_> = found.hits.iter().map(hit).collect();
            context! { asked, hits, total => found.total }
        }
        Err(error) => context! { asked, error },
    };
    pages::page(&desk, "search.html", context)
}

fn hit(hit: &SearchHit) -> Value {
    let title = if hit.title.text.is_empty() {
        Snippet { text: hit.post_title.clone().unwrap_or_else(|| hit.post.clone()), marks: Vec::new() }
    } else {
        hit.title.clone()
    };
    context! {
        kind => hit.kind.name(), title => pieces(&title), snippet => pieces(&hit.snippet), author => masked(&hit.author),
        slug => hit.slug.as_deref().or(hit.post_slug.as_deref()), at => rfc3339(hit.time),
    }
}

fn pieces(snippet: &Snippet) -> Vec<Value> {
    let piece = |(text, found): (&str, bool)| context! { text => masked(text), found };
    snippet.pieces().into_iter().map(piece).collect()
}

type Asked = Result<Query<Parameters>, QueryRejection>;

async fn answer(store: &AnyStore, parameters: Asked) -> Response {
    let request =
        parameters.map_err(|error| error.body_text()).and_then(|Query(parameters)| parameters.read());
    match request {
        Err(error) => (StatusCode::BAD_REQUEST, Json(Refusal { error })).into_response(),
        Ok(request) => match store.search(&request).await {
            Ok(page) => Json(Answer::of(&page)).into_response(),
            Err(error) => {
                (StatusCode::SERVICE_UNAVAILABLE, Json(Refusal { error: error.to_string() })).into_response()
            }
        },
    }
}

/// What stands behind the `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Parameters {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

    use axum::Router;
    use axum::routing::get;
    use postroom_core::{Offset, Partition, Topic, TopicPartition};
    use serde_json::Value;

    use super::*;
    use crate::adapters::store::SqliteStore;
    use crate::event::EventId;
    use crate::ports::{
        Arrival, Change, DocumentBody, DocumentChange, DocumentContent, DocumentFact, Guard, Origin, Store,
        Unit,
    };

    /// A store with `count` posts about a ferry.
    async fn store(count: i64) -> AnyStore {
        let store = AnyStore::from(SqliteStore::in_memory().unwrap());
        let place = TopicPartition::new(Topic::new("blog.posts"), Partition(0));
        let mut claim = store.claim("search", &place).await.unwrap();
        let change = |number: i64| {
            let event = EventId::parse(&format!("e{number}")).unwrap();
            let text = "The <b>Ferry</b> is late".to_owned();
            Change::Document(Box::new(DocumentChange {
                kind: DocumentKind::Post,
                id: format!("p{number}"),
                origin: Origin { event, time: number * 86_400_000, arrival: Arrival::InOrder },
                fact: DocumentFact::Created {
                    post: None,
                    author: "ada".to_owned(),
                    format: None,
                    content: DocumentContent {
                        title: Some("Crème".to_owned()),
                        tags: Some(vec!["boats".to_owned()]),
                        body: Some(DocumentBody { text, is_cut: false }),
                        ..DocumentContent::default()
                    },
                },
            }))
        };
        let changes = (0..count).map(change).collect();
        store.apply(&mut claim, Unit { guard: Guard::Position { next: Offset(1) }, changes }).await.unwrap();
        store
    }

    /// Asks a real server, and returns its status and what it said.
    async fn asked(store: &AnyStore, query: &str) -> (u16, Value) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/search{query}", listener.local_addr().unwrap());
        let store = store.clone();
        let route = get(async move |parameters: Asked| answer(&store, parameters).await);
        let router = Router::new().route("/api/search", route);
        let server = tokio::spawn(axum::serve(listener, router).into_future());
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        let answer = (answer.status().as_u16(), answer.json().await.unwrap());
        server.abort();
        answer
    }

    #[tokio::test]
    async fn hits_come_with_the_ranges_that_were_found() {
        let store = store(1).await;

        let (status, page) =
            asked(&store, "?q=ferry+creme&author=ada&tag=Boats&type=post&after=1970-01-01").await;

        assert_eq!((status, &page["total"], &page["is_whole"]), (200, &1.into(), &true.into()));
        let hit = &page["hits"][0];
        assert_eq!((&hit["type"], &hit["id"], &hit["post"]), (&"post".into(), &"p0".into(), &"p0".into()));
        assert_eq!(hit["title"], serde_json::json!({ "text": "Crème", "marks": [[0, 6]] }));
        let snippet = serde_json::json!({ "text": "The <b>Ferry</b> is late", "marks": [[7, 12]] });
        assert_eq!(hit["snippet"], snippet);
        assert_eq!(hit["time"], "1970-01-01T00:00:00Z");
    }

    #[tokio::test]
    async fn pages_are_bounded_and_empty_parameters_say_nothing() {
        let store = store(130).await;

        let pages = [
            "?q=ferry",
            "?q=ferry&limit=5&offset=128",
            "?q=ferry&limit=100000",
            "?q=ferry&limit=&type=&author=&after=",
            "?q=",
            "",
        ];
        let mut sizes = Vec::new();
        for query in pages {
            let (status, page) = asked(&store, query).await;
            assert_eq!(status, 200, "{query}");
            sizes.push((page["total"].as_u64().unwrap(), page["hits"].as_array().unwrap().len()));
        }

        assert_eq!(sizes, [(130, 20), (130, 2), (130, 100), (130, 20), (0, 0), (0, 0)]);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_and_said() {
        let store = store(1).await;

        for query in ["?type=page", "?after=soon", "?before=2021-02-30", "?limit=-1", "?offset=x", "?q=a&q=b"]
        {
            let (status, answer) = asked(&store, query).await;

            assert_eq!(status, 400, "{query}");
            assert!(!answer["error"].as_str().unwrap().is_empty(), "{query}");
        }
        let (status, page) = asked(&store, "?q=%22%27%3B--%00%FF*(NEAR").await;
        assert_eq!((status, &page["total"]), (200, &0.into()));
    }
}
