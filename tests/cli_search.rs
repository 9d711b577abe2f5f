//! `postroom search` as a user types it: output, exit codes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

use postroom::adapters::store::SqliteStore;
use postroom::core::{Offset, Partition, Topic, TopicPartition};
use postroom::event::EventId;
use postroom::ports::{
    Arrival, Change, DocumentBody, DocumentChange, DocumentContent, DocumentFact, DocumentKind, Guard,
    Origin, Store, Unit,
};
use serde_json::Value;

fn document(kind: DocumentKind, id: &str, title: Option<&str>, body: &str) -> Change {
    let event = EventId::parse(id).unwrap();
    Change::Document(Box::new(DocumentChange {
        kind,
        id: id.to_owned(),
        origin: Origin { event, time: 1_600_000_000_000, arrival: Arrival::InOrder },
        fact: DocumentFact::Created {
            post: (kind == DocumentKind::Comment).then(|| "p".to_owned()),
            author: "ada".to_owned(),
            format: None,
            content: DocumentContent {
                title: title.map(str::to_owned),
                body: Some(DocumentBody { text: body.to_owned(), is_cut: false }),
                ..DocumentContent::default()
            },
        },
    }))
}

/// Writes a store into a folder and asks the program that is started there.
async fn asked(folder: &Path, arguments: &[&str]) -> Output {
    let store = SqliteStore::open(&folder.join("postroom.db")).unwrap();
    let place = TopicPartition::new(Topic::new("blog.posts"), Partition(0));
    let mut claim = store.claim("postroom.search", &place).await.unwrap();
    let changes = vec![
        document(DocumentKind::Post, "p", Some("Slow \u{1b}[31m ferries\u{202e}"), "They leave at noon."),
        document(DocumentKind::Comment, "c", None, "The ferry was late\u{7}, again."),
    ];
    if claim.next.is_none() {
        store.apply(&mut claim, Unit { guard: Guard::Position { next: Offset(1) }, changes }).await.unwrap();
    }
    run(folder, arguments)
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    command.env_clear().env("HOME", folder).current_dir(folder);
    command.arg("search").args(arguments).output().unwrap()
}

#[tokio::test]
async fn hits_are_shown_with_what_was_found_and_nothing_steers_the_terminal() {
    let folder = tempfile::tempdir().unwrap();

    let plain = asked(folder.path(), &["ferr*"]).await;
    let coloured = asked(folder.path(), &["--color", "always", "late"]).await;

    assert_eq!(plain.status.code(), Some(0), "{}", String::from_utf8_lossy(&plain.stderr));
    let text = String::from_utf8(plain.stdout).unwrap();
    assert!(
        text.contains("Slow \u{fffd}[31m ferries\u{fffd}\n  They leave at noon.\n  ada  2020-09-13  p"),
        "{text:?}"
    );
    assert!(text.contains("comment on Slow \u{fffd}[31m ferries\u{fffd}\n  The ferry was late"), "{text:?}");
    assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    assert!(String::from_utf8(plain.stderr).unwrap().contains("2 found"));
    let text = String::from_utf8(coloured.stdout).unwrap();
    assert!(text.contains("was \u{1b}[1mlate\u{1b}[0m"), "{text:?}");
}

#[tokio::test]
async fn exit_codes_tell_whether_something_was_found() {
    let folder = tempfile::tempdir().unwrap();

    let cases: [(&[&str], i32); 12] = [
        (&["ferry"], 0),
        (&["ferry", "--type", "post"], 1),
        (&["ferry", "--author", "bob"], 1),
        (&["--author", "ADA", "--type", "comment"], 0),
        (&["noon", "--after", "2020-09-13", "--before", "2020-09-14"], 0),
        (&["noon", "--after", "2020-09-14"], 1),
        (&["--", "-late", "ferries"], 0),
        (&["\"; DROP TABLE documents; --"], 1),
        (&[], 1),
        (&["x", "--type", "page"], 64),
        (&["x", "--before", "soon"], 64),
        (&["x", "--set", "store.url=sqlite:nowhere.db"], 66),
    ];
    for (arguments, code) in cases {
        let output = asked(folder.path(), arguments).await;

        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    }
    assert!(!folder.path().join("nowhere.db").exists());
}

#[tokio::test]
async fn programs_get_ranges() {
    let folder = tempfile::tempdir().unwrap();

    let output = asked(folder.path(), &["late", "-o", "json"]).await;

    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&page["total"], &page["hits"][0]["post_title"].is_string()), (&1.into(), &true));
    let snippet = &page["hits"][0]["snippet"];
    assert_eq!(snippet["marks"], serde_json::json!([[14, 18]]));
    assert_eq!(&snippet["text"].as_str().unwrap()[14..18], "late");
}
