//! However topics interleave and batches fall, the tables end the same, and as an independent count says.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;

use postroom::adapters::store::{AnyStore, SqliteStore};
use postroom::effects::{Notify, Project};
use postroom::event::line::write_line;
use postroom::event::{
    BlogEvent, CommentCreated, CommentRemoved, CommentUpdated, PostPublished, PostRemoved, PostUpdated,
    UserRegistered, UserRemoved, UserUpdated,
};
use postroom::ports::{Applied, FanOut, Rest};
use proptest::prelude::*;

/// What happens next, as small numbers: so few objects and so short a time that everything collides.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    object: u8,
    user: u8,
    time: i64,
    flag: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (0..16_u8, 0..6_u8, 0..4_u8, 0..12_i64, any::<bool>()).prop_map(|(kind, object, user, time, flag)| Step {
        kind,
        object,
        user,
        time,
        flag,
    })
}

fn history(steps: &[Step]) -> Vec<BlogEvent> {
    let mut events: Vec<BlogEvent> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if step.kind == 15 && number > 0 {
            // A producer repeats itself.
            let repeated = usize::from(step.object) * 7 % events.len();
            events.push(events[repeated].clone());
        } else {
            events.push(event(number, *step));
        }
    }
    events
}

fn event(number: usize, step: Step) -> BlogEvent {
    let event_id = format!("e{number}");
    let post_id = format!("p{}", step.object % 3);
    let comment_id = format!("c{}", step.object);
    let user_id = format!("u{}", step.object % 4);
    let person = format!("u{}", step.user);
    let occurred_at = 1_600_000_000_000 + step.time * 1_000;
    let text = step.flag.then(|| format!("t{number}"));
    let blog = "b".to_owned();
    let recorded_at = None;
    match step.kind {
        0 | 1 => BlogEvent::PostPublished(PostPublished {
            event_id,
            blog,
            post_id,
            author: person,
            title: text,
            slug: format!("s{}", step.time),
            occurred_at,
            ..PostPublished::default()
        }),
        2 => BlogEvent::PostUpdated(PostUpdated {
            event_id,
            post_id,
            editor: person,
            title: text,
            section: Some("s".to_owned()),
            occurred_at,
            ..PostUpdated::default()
        }),
        3 => BlogEvent::PostRemoved(PostRemoved {
            event_id,
            blog,
            post_id,
            editor: person,
            occurred_at,
            recorded_at,
        }),
        4..=7 => BlogEvent::CommentCreated(CommentCreated {
            event_id,
            post_id,
            comment_id,
            author: person,
            occurred_at,
            ..CommentCreated::default()
        }),
        8 => BlogEvent::CommentRemoved(CommentRemoved {
            event_id,
            blog,
            comment_id,
            post_id,
            editor: person,
            occurred_at,
            recorded_at,
        }),
        9 => BlogEvent::CommentUpdated(CommentUpdated {
            event_id,
            comment_id,
            post_id,
            editor: person,
            occurred_at,
            ..CommentUpdated::default()
        }),
        10 | 11 | 15 => BlogEvent::UserRegistered(UserRegistered {
            event_id,
            user_id,
            email: text,
            subscribed: step.user != 0,
            occurred_at,
            ..UserRegistered::default()
        }),
        12 | 13 => BlogEvent::UserUpdated(UserUpdated {
            event_id,
            user_id,
            name: text,
            email: Some(format!("{number}@example.org")),
            subscribed: Some(step.flag).filter(|_| step.user != 0),
            occurred_at,
            ..UserUpdated::default()
        }),
        _ => BlogEvent::UserRemoved(UserRemoved { event_id, blog, user_id, occurred_at, recorded_at }),
    }
}

/// Plays the events one by one, in their order over all topics.
async fn one_by_one(store: &AnyStore, logs: &crate::play::Logs, events: &[BlogEvent]) {
    let mut project = crate::play::Reader::new(Project, store, logs).await;
    let mut notify = crate::play::Reader::new(Notify::default(), store, logs).await;
    for event in events {
        let place = crate::play::place(event);
        assert_eq!(project.read(store, logs, &place, 1).await, Applied::Committed);
        assert_eq!(notify.read(store, logs, &place, 1).await, Applied::Committed);
        while store.expand_fan_out(1_000).await.unwrap().rest == Rest::More {}
    }
}

async fn in_order(events: &[BlogEvent]) -> serde_json::Value {
    let store = AnyStore::from(SqliteStore::in_memory().unwrap());
    one_by_one(&store, &crate::play::logs(events), events).await;
    store.dump().await.unwrap()
}

async fn shuffled(events: &[BlogEvent], seed: u64) -> serde_json::Value {
    shuffled_in(&SqliteStore::in_memory().unwrap().into(), events, seed).await
}

async fn shuffled_in(store: &AnyStore, events: &[BlogEvent], seed: u64) -> serde_json::Value {
    let mut random = fastrand::Rng::with_seed(seed);
    crate::play::play(store, &crate::play::logs(events), |below| random.usize(..below), 5).await;
    store.dump().await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_of_the_topics_leaves_the_tables_of_the_serial_order(
        steps in proptest::collection::vec(step(), 0..40),
        seed in any::<u64>(),
    ) {
        let events = history(&steps);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

        let (serial, mixed) = runtime.block_on(async { (in_order(&events).await, shuffled(&events, seed).await) });

        prop_assert_eq!(crate::play::difference("", &mixed, &serial), None);
    }
}

#[tokio::test]
async fn random_histories_leave_what_an_independent_count_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut histories = Vec::new();
    let mut files = Vec::new();
    for number in 0..150 {
        let steps: Vec<_> = (0..random.usize(1..60))
            .map(|_| Step {
                kind: random.u8(0..16),
                object: random.u8(0..6),
                user: random.u8(0..4),
                time: random.i64(0..12),
                flag: random.bool(),
            })
            .collect();
        let events = history(&steps);
        let mut text = String::new();
        events.iter().for_each(|event| writeln!(text, "{}", write_line(event)).unwrap());
        let file = folder.path().join(format!("{number}.jsonl"));
        std::fs::write(&file, text).unwrap();
        histories.push(events);
        files.push(file.to_str().unwrap().to_owned());
    }

    let counted = crate::play::serial_count(&files.iter().map(String::as_str).collect::<Vec<_>>());

    assert_eq!(counted.len(), histories.len());
    let mut notified = 0;
    let postgres = crate::server::shared();
    for (number, (events, counted)) in histories.iter().zip(counted).enumerate() {
        let seed = u64::try_from(number).unwrap();
        let ours = shuffled(events, seed).await;
        let lines = || events.iter().map(write_line).collect::<Vec<_>>().join("\n");
        assert_eq!(crate::play::difference("", &ours, &counted), None, "history {number}:\n{}", lines());
        // Each history needs tables of its own there, which take their time.
        if let Some(url) = postgres.filter(|_| number % 5 == 0) {
            let store = crate::server::postgres(url).await.into();
            let theirs = shuffled_in(&store, events, seed).await;
            assert_eq!(
                crate::play::difference("", &theirs, &counted),
                None,
                "PostgreSQL, history {number}:\n{}",
                lines()
            );
        }
        notified += ours["totals"]["notifications"].as_u64().unwrap();
    }
    assert!(notified > 500, "the histories say something: {notified}");
}
