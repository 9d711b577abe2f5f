//! A real site's events, read in any order between topics, leave what an independent serial count says.
#![expect(clippy::indexing_slicing, clippy::print_stderr, clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::io::BufReader;
use std::path::PathBuf;

use postroom::adapters::store::{AnyStore, SqliteStore};
use postroom::event::line::{Lines, Subscribed, missing_registrations, write_line};
use postroom::event::{BlogEvent, UserRemoved, UserUpdated};

fn sample() -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/blog-sample.jsonl"));
    if !path.exists() {
        eprintln!("SKIPPED: {} is missing", path.display());
        return None;
    }
    Some(path)
}

fn events(path: &PathBuf) -> Vec<BlogEvent> {
    Lines::new(BufReader::new(std::fs::File::open(path).unwrap())).map(|event| event.unwrap()).collect()
}

/// Plays the events in every engine that is here, and returns the tables, which are the same.
async fn dumped(events: &[BlogEvent], seed: u64) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let mut stores = vec![AnyStore::from(SqliteStore::open(&folder.path().join("postroom.db")).unwrap())];
    if let Some(url) = crate::server::shared() {
        stores.push(crate::server::postgres(url).await.into());
    }
    let mut tables: Option<serde_json::Value> = None;
    for store in stores {
        let mut random = fastrand::Rng::with_seed(seed);
        crate::play::play(&store, &crate::play::logs(events), |below| random.usize(..below), 500).await;
        let dumped = store.dump().await.unwrap();
        if let Some(first) = &tables {
            assert_eq!(crate::play::difference("", &dumped, first), None, "{store:?}");
        }
        tables = Some(dumped);
    }
    tables.unwrap()
}

#[tokio::test]
async fn tables_of_a_real_site_equal_the_serial_count() {
    let Some(path) = sample() else { return };
    let mut all = events(&path);
    let registrations = missing_registrations(&all, Subscribed::Nobody);
    all.splice(0..0, registrations.into_iter().map(BlogEvent::UserRegistered));
    assert_eq!(all.len(), 9_895 + 1_489);

    let ours = dumped(&all, 1).await;

    let counted = crate::play::serial_count(&["--register", "nobody", path.to_str().unwrap()]);
    assert_eq!(crate::play::difference("", &ours, &counted[0]), None);
    assert_eq!(ours["totals"]["authors"], 1_489);
    assert_eq!(ours, counted[0]);
}

#[tokio::test]
async fn tables_of_a_real_site_with_subscribers_that_come_and_go_equal_the_serial_count() {
    let Some(path) = sample() else { return };
    let mut random = fastrand::Rng::with_seed(2);
    let mut all = events(&path);
    let registrations = missing_registrations(&all, Subscribed::Nobody);
    for (number, mut user) in registrations.into_iter().enumerate() {
        user.subscribed = number % 10 == 0;
        user.email = Some(format!("{}@example.org", user.user_id));
        let (user_id, blog, from) = (user.user_id.clone(), user.blog.clone(), user.occurred_at);
        let later = move |random: &mut fastrand::Rng| from + random.i64(0..300_000_000_000);
        all.push(BlogEvent::UserRegistered(user));
        if number % 30 == 0 {
            all.push(BlogEvent::UserUpdated(UserUpdated {
                event_id: format!("updated-{number}"),
                blog: blog.clone(),
                user_id: user_id.clone(),
                subscribed: Some(number % 60 == 0),
                occurred_at: later(&mut random),
                ..UserUpdated::default()
            }));
        }
        if number % 50 == 0 {
            let (event_id, occurred_at) = (format!("removed-{number}"), later(&mut random));
            all.push(BlogEvent::UserRemoved(UserRemoved {
                event_id,
                blog,
                user_id,
                occurred_at,
                recorded_at: None,
            }));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let mut text = String::new();
    all.iter().for_each(|event| writeln!(text, "{}", write_line(event)).unwrap());
    std::fs::write(&file, text).unwrap();

    let ours = dumped(&all, 3).await;

    let counted = crate::play::serial_count(&[file.to_str().unwrap()]);
    assert_eq!(crate::play::difference("", &ours, &counted[0]), None);
    assert!(ours["totals"]["notifications"].as_u64().unwrap() > 100_000, "{}", ours["totals"]);
    assert_eq!(ours, counted[0]);
}
