//! However events come, the index holds what an independent count says.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Command;

use postroom::adapters::store::AnyStore;
use postroom::effects::Search as SearchEffect;
use postroom::event::line::{Lines, write_line};
use postroom::event::{
    BlogEvent, CommentCreated, CommentRemoved, CommentUpdated, PostPublished, PostRemoved, PostUpdated,
};
use postroom::ports::{Applied, Search, SearchRequest};
use proptest::prelude::*;

use crate::play::{Reader, logs};
use crate::search::{Tables, in_file, index, shared, shuffle, tables};
use crate::server::{postgres, shared as server};

/// A history of few objects, few words and a short time, so that everything collides.
fn history(steps: &[(u8, u8, i64, u8)]) -> Vec<BlogEvent> {
    let mut events: Vec<BlogEvent> = Vec::new();
    for (number, (kind, object, time, text)) in steps.iter().enumerate() {
        let (event_id, blog, editor) = (format!("e{number}"), "b".to_owned(), "u".to_owned());
        let (post_id, comment_id) = (format!("p{}", object % 3), format!("c{object}"));
        let occurred_at = 1_600_000_000_000 + time * 1_000;
        let title = (text % 3 == 0).then(|| WORDS[usize::from(*text) % WORDS.len()].to_owned());
        let body = (text % 4 != 0).then(|| {
            let word = |step: usize| WORDS[(usize::from(*text) + step) % WORDS.len()];
            format!("{} {}", word(1), word(3))
        });
        let author = format!("u{}", object % 2);
        events.push(match kind {
            0 | 1 => BlogEvent::PostPublished(PostPublished {
                event_id,
                blog,
                post_id,
                author,
                title,
                body,
                tags: vec![WORDS[usize::from(*text) % 5].to_owned()],
                occurred_at,
                ..PostPublished::default()
            }),
            2 | 3 => BlogEvent::PostUpdated(PostUpdated {
                event_id,
                post_id,
                editor,
                title,
                body,
                occurred_at,
                ..PostUpdated::default()
            }),
            4 => BlogEvent::PostRemoved(PostRemoved {
                event_id,
                blog,
                post_id,
                editor,
                occurred_at,
                recorded_at: None,
            }),
            5 | 6 => BlogEvent::CommentCreated(CommentCreated {
                event_id,
                post_id,
                comment_id,
                author,
                title,
                body,
                occurred_at,
                ..CommentCreated::default()
            }),
            7 | 8 => BlogEvent::CommentUpdated(CommentUpdated {
                event_id,
                post_id,
                comment_id,
                editor,
                title,
                body,
                occurred_at,
                ..CommentUpdated::default()
            }),
            9 => BlogEvent::CommentRemoved(CommentRemoved {
                event_id,
                blog,
                comment_id,
                post_id,
                editor,
                occurred_at,
                recorded_at: None,
            }),
            _ if number > 0 => events[usize::from(*object) * 7 % number].clone(),
            _ => BlogEvent::PostRemoved(PostRemoved {
                event_id,
                post_id,
                editor,
                occurred_at,
                ..PostRemoved::default()
            }),
        });
    }
    events
}

const WORDS: [&str; 7] = ["Ferry", "brûlée", "東京都", "low tide", "서울에서", "GROSS", "groß"];

fn steps(most: usize) -> impl Strategy<Value = Vec<(u8, u8, i64, u8)>> {
    proptest::collection::vec((0..11_u8, 0..6_u8, 0..12_i64, any::<u8>()), 0..most)
}

async fn found(store: &AnyStore, text: &str) -> Vec<(String, String)> {
    let request = SearchRequest { text: text.to_owned(), limit: 100, ..SearchRequest::default() };
    let page = store.search(&request).await.unwrap();
    assert!(page.is_whole);
    page.hits
        .into_iter()
        .map(|hit| (format!("{}:{}", hit.kind.name(), hit.id), format!("{:.9} {:?}", hit.score, hit.snippet)))
        .collect()
}

async fn everything(tables: &Tables) -> (Vec<Vec<String>>, Vec<Vec<(String, String)>>) {
    let store = &tables.store;
    let sql =
        "SELECT kind, id, state, since, created_by, post, author_key, title, tags, CAST(tag_keys AS TEXT), body,
            is_cut, time, content_time FROM documents ORDER BY kind, id";
    let mut rows = Vec::new();
    for row in store.query(sql, Vec::new()).await.unwrap() {
        rows.push(row.iter().map(|column| format!("{column:?}")).collect());
    }
    rows.push(vec![format!("{:?}", index(tables).await)]);
    let mut pages = Vec::new();
    for text in ["ferry", "brulee", "東京", "tide -ferry", "author:u1", "gross OR", "서울", "type:comment"]
    {
        pages.push(found(store, text).await);
    }
    (rows, pages)
}

/// Plays a history in its own order and in another one.
async fn played(events: &[BlogEvent], seed: u64, serial: &Tables, mixed: &Tables) {
    let logs = logs(events);
    let mut reader = Reader::new(SearchEffect, &serial.store, &logs).await;
    for event in events {
        let applied = reader.read(&serial.store, &logs, &crate::play::place(event), 1).await;
        assert_eq!(applied, Applied::Committed);
    }
    shuffle(&mixed.store, events, seed, 5).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_of_the_topics_leaves_the_index_of_the_serial_order(steps in steps(40), seed in any::<u64>()) {
        let events = history(&steps);
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

        let (serial, mixed) = runtime.block_on(async {
            let (serial, mixed) = (in_file(folder.path()), in_file(folder.path()));
            played(&events, seed, &serial, &mixed).await;
            (everything(&serial).await, everything(&mixed).await)
        });

        prop_assert_eq!(mixed, serial);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_leaves_the_same_in_postgres(steps in steps(40), seed in any::<u64>()) {
        let Some(url) = server() else { return Ok(()) };
        let events = history(&steps);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

        let (serial, mixed) = runtime.block_on(async {
            let tables = async || Tables { store: postgres(url).await.into(), path: None };
            let (serial, mixed) = (tables().await, tables().await);
            played(&events, seed, &serial, &mixed).await;
            (everything(&serial).await, everything(&mixed).await)
        });

        prop_assert_eq!(mixed, serial);
    }
}

/// What the independent count says of a file.
struct Counted {
    words: BTreeMap<String, BTreeSet<String>>,
    hidden: BTreeSet<String>,
}

fn counted(files: &[PathBuf]) -> Vec<Counted> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/serial_search.py");
    let output = Command::new("python3").arg(script).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let of = |value: &serde_json::Value| {
        value.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|file| Counted {
            words: file["words"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(word, ids)| (word.clone(), of(ids)))
                .collect(),
            hidden: of(&file["hidden"]),
        })
        .collect()
}

fn written(path: PathBuf, events: &[BlogEvent]) -> PathBuf {
    let mut text = String::new();
    events.iter().for_each(|event| writeln!(text, "{}", write_line(event)).unwrap());
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn random_histories_leave_the_index_that_an_independent_count_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut histories = Vec::new();
    let mut files = Vec::new();
    for number in 0..60 {
        let steps: Vec<_> = (0..random.usize(1..60))
            .map(|_| (random.u8(0..11), random.u8(0..6), random.i64(0..12), random.u8(..)))
            .collect();
        let events = history(&steps);
        files.push(written(folder.path().join(format!("{number}.jsonl")), &events));
        histories.push(events);
    }

    let mut hidden = 0;
    for (number, (events, counted)) in (0..).zip(histories.iter().zip(counted(&files))) {
        for tables in tables(folder.path()).await {
            shuffle(&tables.store, events, number, 5).await;
            assert_eq!(index(&tables).await, counted.words, "history {number}");
            for (word, documents) in &counted.words {
                let shown = found(&tables.store, &format!("\"{word}\"")).await;
                let shown: BTreeSet<_> = shown.into_iter().map(|(id, _)| id).collect();
                // A single character finds the words that it begins as well.
                let expected: BTreeSet<_> = documents.difference(&counted.hidden).cloned().collect();
                assert!(shown.is_superset(&expected), "history {number}: {word}");
                if word.is_ascii() {
                    assert_eq!(shown, expected, "history {number}: {word}");
                }
            }
        }
        hidden += counted.hidden.len();
    }
    assert!(hidden > 5, "some comments are hidden: {hidden}");
}

#[tokio::test]
async fn every_word_of_a_real_site_is_found_where_an_independent_count_says() {
    let Some(sample) = shared("blog-sample.jsonl") else { return };
    let lines = Lines::new(BufReader::new(std::fs::File::open(sample).unwrap()));
    // The count knows nothing of mark-up.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others have no text")]
    let events: Vec<_> = lines
        .map(|event| match event.unwrap() {
            BlogEvent::PostPublished(event) => {
                BlogEvent::PostPublished(PostPublished { format: None, ..event })
            }
            BlogEvent::CommentCreated(event) => {
                BlogEvent::CommentCreated(CommentCreated { format: None, ..event })
            }
            event => event,
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let counted = counted(&[written(folder.path().join("events.jsonl"), &events)]).pop().unwrap();
    for tables in tables(folder.path()).await {
        shuffle(&tables.store, &events, 1, 500).await;
        words_are_where_they_were_counted(&tables, &counted).await;
    }
}

async fn words_are_where_they_were_counted(tables: &Tables, counted: &Counted) {
    let index = index(tables).await;
    let differing: Vec<_> = index
        .keys()
        .chain(counted.words.keys())
        .filter(|word| index.get(*word) != counted.words.get(*word))
        .take(20)
        .collect();
    assert_eq!(differing, [""; 0]);
    assert!(index.len() > 20_000, "{} words", index.len());
    for word in [
        "annex",
        "the",
        "encryption",
        "remote",
        "android",
        "webapp",
        "gcrypt",
        "haskell",
        "debian",
        "sync",
        "bup",
        "windows",
        "ssh",
        "kde",
        "joey",
        "numcopies",
        "rsync",
        "direct",
        "unused",
        "glacier",
    ] {
        let request = SearchRequest { text: word.to_owned(), limit: 1, ..SearchRequest::default() };
        let total = tables.store.search(&request).await.unwrap().total;
        let expected = counted.words[word].difference(&counted.hidden).count();
        assert_eq!(total, u64::try_from(expected).unwrap(), "{word}");
        assert!(total > 0, "{word}");
    }
}
