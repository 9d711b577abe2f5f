//! The queues of the outbox: a large audience, what is looked at to find what is due, and what holds whatever happens.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use std::time::Duration;

use postroom::adapters::store::{AnyStore, SqliteStore};
use postroom::effects::{Notify, NotifySettings};
use postroom::ports::{Change, DueRow, FanOut, Ledger, Outbox, Param, RequestEnding, Reservation};
use postroom::testkit::store_contract::Bench as _;

use crate::server::{OnPostgres, everywhere};
use crate::told::{MINUTE, apply, comment, count, mail, notify, now, post, settle, tell, user};

#[tokio::test]
async fn a_hundred_thousand_subscribers_are_asked_for_in_chunks_and_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    each_of_many_is_asked_for_once(100_000, async || SqliteStore::open(&path).unwrap().into()).await;
    if let Some(bench) = OnPostgres::new() {
        each_of_many_is_asked_for_once(20_000, async || bench.open().await.into()).await;
    }
}

async fn each_of_many_is_asked_for_once(count_of_readers: usize, open: impl AsyncFn() -> AnyStore) {
    let store = open().await;
    let mute = Notify::new(NotifySettings { mail: None, webhooks: None });
    let readers: Vec<_> = (0..count_of_readers).map(|number| user(&format!("u{number:06}"), true)).collect();
    for some in readers.chunks(5_000) {
        tell(&store, &mute, some).await;
    }
    tell(&store, &notify(false), &[post("p", "ann")]).await;

    // The process dies in the middle of the expansion, and in the middle of publishing.
    for _ in 0..15 {
        store.expand_fan_out(1_000).await.unwrap();
    }
    drop(store);
    let store = open().await;
    settle(&store).await;
    let begin = now();
    let lost = store.take_due(begin, 500, MINUTE).await.unwrap();
    let mut asked = std::collections::HashSet::new();
    let mut at = begin;
    while asked.len() < count_of_readers {
        let due = store.take_due(at, 500, MINUTE).await.unwrap();
        if due.is_empty() {
            // As many are out as may be: they are carried out, and what was lost is due when its lease ends.
            let closed = out(&store).await.into_iter().map(|id| Change::RequestClosed {
                id,
                ending: RequestEnding::Done,
                reply: String::new(),
                time: at,
            });
            apply(&store, "mail", closed.collect()).await;
            at += 60_000;
            continue;
        }
        assert!(due.iter().all(|row| mail(row).text.as_ref().unwrap().chars().count() == 2_000));
        assert!(due.iter().all(|row| asked.insert(mail(row).recipient.clone())), "each once");
        let rows = due.iter().map(|row| row.row).collect();
        store.published(rows, at, Duration::from_secs(86_400)).await.unwrap();
    }

    assert_eq!((lost.len(), asked.len()), (500, count_of_readers));
    assert_eq!(
        count(&store, "SELECT count(*) FROM requests").await,
        i64::try_from(count_of_readers).unwrap()
    );
    assert_eq!(store.take_due(at + 60_000, 500, MINUTE).await.unwrap(), []);
}

/// The requests that are out.
async fn out(store: &AnyStore) -> Vec<String> {
    let rows = store.query("SELECT request FROM requests WHERE state = 3", Vec::new()).await.unwrap();
    let text = |param| match param {
        Param::Text(text) => text,
        other => panic!("{other:?}"),
    };
    rows.into_iter().flatten().map(text).collect()
}

#[tokio::test]
async fn what_is_due_is_found_without_looking_at_what_is_not() {
    let store = AnyStore::from(SqliteStore::in_memory().unwrap());
    let questions = [
        (
            "SELECT id FROM requests WHERE state = 1 AND kind = 'mail' AND due <= 9 ORDER BY due, id LIMIT 9",
            "by_state",
        ),
        (
            "SELECT count(*) FROM (SELECT 1 FROM requests WHERE state = 3 AND kind = 'mail' LIMIT 9)",
            "by_state",
        ),
        (
            "SELECT 1 FROM requests WHERE kind = 'mail' AND addressee = 'a' AND state BETWEEN 1 AND 4",
            "requests_heads",
        ),
        (
            "SELECT id FROM requests WHERE kind = 'mail' AND addressee = 'a' AND state = 0 ORDER BY id LIMIT 1",
            "requests_queued",
        ),
        ("SELECT id FROM requests WHERE event = 'e' ORDER BY id LIMIT 9", "by_event"),
        (
            "SELECT arrival, event, type, expanded_to FROM webhook_fan_outs WHERE expanded_to IS NOT NULL
             ORDER BY arrival LIMIT 1",
            "webhook_fan_outs_open",
        ),
    ];

    for (question, index) in questions {
        let plan = store.query(&format!("EXPLAIN QUERY PLAN {question}"), Vec::new()).await.unwrap();

        let plan = format!("{plan:?}");
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{question}: {plan}");
    }
}

/// What must hold of the queue after every step.
async fn check_queues(store: &AnyStore, seed: u64) {
    let two_heads = "SELECT count(*) FROM (SELECT 1 FROM requests WHERE state BETWEEN 1 AND 4
        GROUP BY kind, addressee HAVING count(*) > 1) two";
    let stuck = "SELECT count(*) FROM requests q WHERE state = 0 AND NOT EXISTS (SELECT 1 FROM requests h
        WHERE h.kind = q.kind AND h.addressee = q.addressee AND h.state BETWEEN 1 AND 4)";
    // In PostgreSQL relays make heads: until one has looked the row says so.
    let unsettled = match store {
        AnyStore::Sqlite(_) => "",
        AnyStore::Postgres(_) => {
            "AND NOT EXISTS (SELECT 1 FROM requests u
            WHERE u.kind = q.kind AND u.addressee = q.addressee AND u.unsettled)"
        }
    };
    let stuck = format!("{stuck} {unsettled}");
    let done_is_closed =
        "SELECT count(*) FROM requests r JOIN ledger l USING (request) WHERE l.done AND r.state <> 6";
    for question in [two_heads, &stuck, done_is_closed] {
        assert_eq!(count(store, question).await, 0, "seed {seed}: {question}");
    }
}

#[tokio::test]
async fn whatever_happens_nothing_is_stuck_and_nothing_is_done_twice() {
    for seed in 0..40 {
        for store in everywhere().await {
            anything_happens(seed, &store).await;
        }
    }
}

async fn anything_happens(seed: u64, store: &AnyStore) {
    let mut random = fastrand::Rng::with_seed(seed);
    let effect = notify(false);
    let people = ["ann", "ben", "cat"];
    tell(store, &effect, &people.map(|name| user(name, true))).await;
    let mut at = now();
    let mut out: Vec<DueRow> = Vec::new();
    let mut done = std::collections::HashSet::new();
    for step in 0..60 {
        match random.u8(0..12) {
            0 | 1 => {
                let (name, who) = (format!("c{step}"), people[random.usize(..3)]);
                tell(store, &effect, &[comment(&name, "p", who)]).await;
            }
            2 => tell(store, &effect, &[post(&format!("p{step}"), people[random.usize(..3)])]).await,
            3 => drop(store.expand_fan_out(2).await.unwrap()),
            4..7 => {
                let taken = store.take_due(at, 3, MINUTE).await.unwrap();
                let rows: Vec<_> = taken.iter().map(|row| row.row).collect();
                match random.u8(0..4) {
                    0 => store.given_back(rows).await.unwrap(),
                    // The relay dies before its mark.
                    1 => out.extend(taken),
                    _ => {
                        store.published(rows, at, MINUTE).await.unwrap();
                        out.extend(taken);
                    }
                }
            }
            7..11 if !out.is_empty() => {
                let id = mail(&out[random.usize(..out.len())]).event_id.clone();
                let owner = ["me", "you"][random.usize(..2)];
                let reserved = store.reserve(&id, owner, at, MINUTE).await.unwrap();
                if !matches!(reserved, Reservation::Ours { .. } | Reservation::Unknown { .. }) {
                    continue;
                }
                assert!(!done.contains(&id), "seed {seed}: {id} is done already");
                match random.u8(0..6) {
                    0 => store.defer(&id, owner, at, at + random.i64(0..200_000), "450 later").await.unwrap(),
                    1 => store.attempt_failed(&id, owner, at, "451 no").await.unwrap(),
                    2 => store.died(&id, at, "550 no").await.unwrap(),
                    // Without a word.
                    3 => {}
                    _ => {
                        done.insert(id.clone());
                        let (ending, reply) = (RequestEnding::Done, "250 ok".to_owned());
                        apply(store, "mail", vec![Change::RequestClosed { id, ending, reply, time: at }])
                            .await;
                    }
                }
            }
            _ => at += random.i64(0..100_000),
        }
        check_queues(store, seed).await;
    }
    // Everything is carried out in the end, in the order of each recipient.
    settle(store).await;
    for _ in 0..200 {
        at += 200_000;
        for row in store.take_due(at, 100, MINUTE).await.unwrap() {
            let id = mail(&row).event_id.clone();
            assert!(done.insert(id.clone()), "seed {seed}");
            let (ending, reply) = (RequestEnding::Done, String::new());
            apply(store, "mail", vec![Change::RequestClosed { id, ending, reply, time: at }]).await;
        }
        check_queues(store, seed).await;
    }
    let open = "SELECT count(*) FROM requests WHERE state NOT IN (5, 6)";
    assert_eq!(count(store, open).await, 0, "seed {seed}");
}
