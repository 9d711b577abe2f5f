//! Whoever asks finds it, whatever it is.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use postroom::adapters::store::{AnyStore, SqliteStore};
use postroom::effects::Search as SearchEffect;
use postroom::event::{BlogEvent, PostPublished, PostRemoved};
use postroom::ports::{Applied, DocumentKind, Param, Search, SearchRequest};

use crate::play::{Reader, logs};
use crate::server::{everywhere, postgres, shared as server};

/// New tables.
pub(crate) struct Tables {
    pub(crate) store: AnyStore,
    /// Of those in a file.
    pub(crate) path: Option<PathBuf>,
}

/// Returns new tables in every engine that is here, those in files in a folder.
pub(crate) async fn tables(folder: &Path) -> Vec<Tables> {
    let mut tables = vec![in_file(folder)];
    if let Some(url) = server() {
        tables.push(Tables { store: postgres(url).await.into(), path: None });
    }
    tables
}

pub(crate) fn in_file(folder: &Path) -> Tables {
    let path = folder.join(format!("{}.db", fastrand::u64(..)));
    Tables { store: SqliteStore::open(&path).unwrap().into(), path: Some(path) }
}

/// Plays events in batches, the partitions in any order.
pub(crate) async fn shuffle(store: &AnyStore, events: &[BlogEvent], seed: u64, largest: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let logs = logs(events);
    let mut reader = Reader::new(SearchEffect, store, &logs).await;
    while let open = reader.open(&logs)
        && !open.is_empty()
    {
        let place = &open[random.usize(..open.len())];
        let most = random.usize(..largest) + 1;
        assert_eq!(reader.read(store, &logs, place, most).await, Applied::Committed);
    }
}

/// Reads the index: for each word the documents that hold it.
pub(crate) async fn index(tables: &Tables) -> BTreeMap<String, BTreeSet<String>> {
    match &tables.path {
        Some(path) => index_of_file(path),
        None => index_of_lexemes(&tables.store).await,
    }
}

/// What is looked up and where phrases are looked for hold the same words.
async fn index_of_lexemes(store: &AnyStore) -> BTreeMap<String, BTreeSet<String>> {
    let documents = "SELECT w, CASE kind WHEN 0 THEN 'post:' ELSE 'comment:' END || id";
    let lexemes = format!("{documents} FROM documents, unnest(tsvector_to_array(lexemes)) w WHERE state = 1");
    let spaced = format!(
        "{documents} FROM documents, unnest(string_to_array(spaced, ' ')) w WHERE state = 1 AND w NOT IN ('', '¶')"
    );
    let mut indexes = Vec::new();
    for sql in [lexemes, spaced] {
        let mut index: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in store.query(&sql, Vec::new()).await.unwrap() {
            let [Param::Text(word), Param::Text(document)] = row.as_slice() else { panic!("{row:?}") };
            index.entry(word.clone()).or_default().insert(document.clone());
        }
        indexes.push(index);
    }
    let dead =
        "SELECT count(*) FROM documents WHERE state <> 1 AND (lexemes IS NOT NULL OR spaced IS NOT NULL)";
    assert_eq!(store.query(dead, Vec::new()).await.unwrap(), [[Param::Integer(0)]]);
    assert_eq!(indexes[0], indexes[1]);
    indexes.remove(0)
}

fn index_of_file(path: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let direct = rusqlite::Connection::open(path).unwrap();
    direct
        .execute_batch("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, document_words, instance)")
        .unwrap();
    let sql = "SELECT DISTINCT term, iif(kind = 0, 'post:', 'comment:') || id
        FROM temp.words LEFT JOIN documents ON number = doc WHERE term <> '¶'";
    let mut statement = direct.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut index: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let (word, document) = row.unwrap();
        index.entry(word).or_default().insert(document);
    }
    index
}

pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let data = std::env::var_os("POSTROOM_SHARED_DATA").map(PathBuf::from);
    let path =
        data.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data")).join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is missing", path.display());
        return None;
    }
    Some(path)
}

#[tokio::test]
async fn strings_that_break_others_are_documents_and_requests_like_any() {
    let mut strings: Vec<String> = Vec::new();
    if let Some(path) = shared("naughty-strings/blns.json") {
        strings.extend(serde_json::from_str::<Vec<String>>(&std::fs::read_to_string(path).unwrap()).unwrap());
    }
    if let Some(path) = shared("xss-payloads/xss-payload-list.txt") {
        let text = std::fs::read_to_string(path).unwrap();
        strings.extend(text.lines().step_by(20).map(str::to_owned));
    }
    strings.push("\0 nul \0".to_owned());
    strings.push("\"".repeat(100_000));
    strings.push("NEAR(".repeat(100_000));
    let events: Vec<_> = strings
        .iter()
        .enumerate()
        .map(|(number, text)| {
            BlogEvent::PostPublished(PostPublished {
                event_id: format!("e{number}"),
                post_id: format!("p{number}"),
                author: text.chars().take(50).chain(['u']).collect(),
                title: Some(text.clone()),
                body: Some(text.clone()),
                tags: vec![text.clone()],
                format: Some(["markdown", "html", "text"][number % 3].to_owned()),
                ..PostPublished::default()
            })
        })
        .collect();
    for store in everywhere().await {
        shuffle(&store, &events, 1, 500).await;
        each_is_found_by_itself(&store, &strings).await;
    }
}

async fn each_is_found_by_itself(store: &AnyStore, strings: &[String]) {
    let all = SearchRequest { kind: Some(DocumentKind::Post), limit: 1, ..SearchRequest::default() };
    assert_eq!(store.search(&all).await.unwrap().total, u64::try_from(strings.len()).unwrap());

    let mut missed = Vec::new();
    for text in strings {
        let quoted = text.replace(['"', '“', '”', '„'], " ");
        let request = |text: String| SearchRequest { text, limit: 3, ..SearchRequest::default() };
        store.search(&request(text.clone())).await.unwrap();
        store.search(&request(format!("-\"{text} author:{text} {text}*"))).await.unwrap();
        let tagged = SearchRequest { tag: Some(text.clone()), ..request(String::new()) };
        if !text.trim().is_empty() && text.len() < 2_048 && store.search(&tagged).await.unwrap().total == 0 {
            missed.push(format!("tag {text:?}"));
        }
        let has_words = quoted.chars().any(char::is_alphanumeric);
        if has_words && text.chars().count() < 900 {
            let page = store.search(&request(format!("\"{quoted}\""))).await.unwrap();
            if page.total == 0 {
                missed.push(text.clone());
            }
            for hit in page.hits {
                for mark in hit.snippet.marks.iter() {
                    assert!(hit.snippet.text.get(mark.clone()).is_some());
                }
            }
        }
    }
    assert_eq!(missed, [""; 0], "each string is found by itself in its title");
}

#[tokio::test]
async fn the_text_of_what_is_removed_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let [post, other] = ["p", "q"].map(|id| {
        BlogEvent::PostPublished(PostPublished {
            event_id: format!("published-{id}"),
            post_id: id.to_owned(),
            author: "u".to_owned(),
            title: Some("secret title".to_owned()),
            body: Some("secret text".to_owned()),
            tags: vec!["secret".to_owned()],
            ..PostPublished::default()
        })
    });
    let (event_id, post_id) = ("removed".to_owned(), "p".to_owned());
    let removed = BlogEvent::PostRemoved(PostRemoved { event_id, post_id, ..PostRemoved::default() });

    let events = [post, other, removed];
    for tables in tables(folder.path()).await {
        shuffle(&tables.store, &events, 1, 1).await;

        let sql =
            "SELECT id FROM documents WHERE coalesce(title, body, nullif(tags, '[]'), slug) IS NOT NULL";
        let kept = tables.store.query(sql, Vec::new()).await.unwrap();
        assert_eq!(kept, [vec![Param::Text("q".to_owned())]]);
        assert_eq!(index(&tables).await["secret"], BTreeSet::from(["post:q".to_owned()]));
    }
}

#[tokio::test]
async fn huge_texts_are_searched_at_their_beginnings_and_say_so() {
    let body = format!("beginning {} ending", "filler ".repeat(100_000));
    let event = BlogEvent::PostPublished(PostPublished {
        event_id: "e".to_owned(),
        post_id: "p".to_owned(),
        author: "u".to_owned(),
        body: Some(body),
        ..PostPublished::default()
    });
    let logs = logs(std::slice::from_ref(&event));
    for store in everywhere().await {
        let mut reader = Reader::new(SearchEffect, &store, &logs).await;
        reader.read(&store, &logs, &crate::play::place(&event), 1).await;

        let request =
            |text: &str| SearchRequest { text: text.to_owned(), limit: 1, ..SearchRequest::default() };
        let beginning = store.search(&request("beginning")).await.unwrap();
        assert_eq!((beginning.total, beginning.hits[0].is_cut), (1, true));
        assert_eq!(store.search(&request("ending")).await.unwrap().total, 0);
    }
}
