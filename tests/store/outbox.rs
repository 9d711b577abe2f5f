//! The outbox: a large audience, what is looked at to find what is due, age, and what is told of an event.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use std::time::Duration;

use futures_util::FutureExt;
use postroom::adapters::store::{AnyStore, RequestState, SqliteStore};
use postroom::core::{Offset, Partition, Topic, TopicPartition};
use postroom::effects::{Changes, Notify, NotifySettings, StoreEffect, collect};
use postroom::event::{BlogEvent, CommentCreated, PostPublished, UserRegistered, UserUpdated};
use postroom::ports::{
    Applied, Change, DueRow, Endpoint, Endpoints, FanOut, Guard, Ledger, Outbox, Param, Request,
    RequestEnding, Reservation, Rest, Store, Unit,
};
use postroom::testkit::store_contract::Bench as _;

use crate::server::{OnPostgres, everywhere};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400_000;

fn notify(webhooks: bool) -> Notify {
    let webhooks = webhooks.then_some(Duration::MAX);
    Notify::new(NotifySettings { mail: Some(Duration::MAX), webhooks })
}

async fn tell(store: &AnyStore, effect: &Notify, events: &[BlogEvent]) {
    let place = TopicPartition::new(Topic::new("blog.users"), Partition(0));
    let envelopes: Vec<_> = events.iter().map(|event| crate::play::envelope(&place, 0, event)).collect();
    let mut changes = Changes::default();
    collect(effect, &envelopes, &mut changes).unwrap();
    apply(store, effect.name(), changes.into_inner()).await;
}

async fn apply(store: &AnyStore, group: &str, changes: Vec<Change>) {
    let place = TopicPartition::new(Topic::new("blog.users"), Partition(0));
    let mut claim = store.claim(group, &place).await.unwrap();
    let next = claim.next.map_or(Offset(1), Offset::next);
    let unit = Unit { guard: Guard::Position { next }, changes };
    assert_eq!(store.apply(&mut claim, unit).await, Ok(Applied::Committed));
}

fn user(user_id: &str, subscribed: bool) -> BlogEvent {
    BlogEvent::UserRegistered(UserRegistered {
        event_id: format!("r-{user_id}"),
        user_id: user_id.to_owned(),
        name: Some(user_id.to_uppercase()),
        email: Some(format!("{user_id}@readers.example")),
        subscribed,
        occurred_at: 1,
        ..UserRegistered::default()
    })
}

fn post(post_id: &str, author: &str) -> BlogEvent {
    BlogEvent::PostPublished(PostPublished {
        event_id: format!("e-{post_id}"),
        blog: "harbour".to_owned(),
        post_id: post_id.to_owned(),
        author: author.to_owned(),
        title: Some(format!("About {post_id}")),
        slug: format!("posts/{post_id}"),
        format: Some("markdown".to_owned()),
        body: Some("é".repeat(3_000)),
        occurred_at: 5,
        ..PostPublished::default()
    })
}

fn comment(comment_id: &str, post_id: &str, author: &str) -> BlogEvent {
    BlogEvent::CommentCreated(CommentCreated {
        event_id: format!("e-{comment_id}"),
        post_id: post_id.to_owned(),
        comment_id: comment_id.to_owned(),
        author: author.to_owned(),
        body: Some("Well said.".to_owned()),
        occurred_at: 6,
        ..CommentCreated::default()
    })
}

async fn count(store: &AnyStore, sql: &str) -> i64 {
    match store.query(sql, Vec::new()).await.unwrap().first().and_then(|row| row.first()) {
        Some(Param::Integer(count)) => *count,
        other => panic!("{other:?}"),
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond() + 1_000
}

fn mail(row: &DueRow) -> &postroom::event::MailRequested {
    match &row.request {
        Request::Mail(mail) => mail,
        Request::Webhook(_) => panic!("{row:?}"),
    }
}

async fn settle(store: &AnyStore) {
    while store.expand_fan_out(1_000).await.unwrap().rest == Rest::More {}
}

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

#[tokio::test]
async fn mail_says_what_is_known_of_the_post_and_of_people_when_it_goes_out() {
    for store in everywhere().await {
        let effect = notify(false);
        let renamed = BlogEvent::UserUpdated(UserUpdated {
            event_id: "n".to_owned(),
            user_id: "ben".to_owned(),
            name: Some("Ben the Second".to_owned()),
            locale: Some("de".to_owned()),
            occurred_at: 9,
            ..UserUpdated::default()
        });
        // The comment comes before its post, and its writer's new name after it.
        tell(&store, &effect, &[user("ann", false), user("ben", false), comment("c", "p", "ben")]).await;
        tell(&store, &effect, &[post("p", "ann"), renamed]).await;

        let mut due = store.take_due(now(), 10, MINUTE).await.unwrap();
        due.sort_by_key(|row| mail(row).recipient.clone());
        let ben = due.iter().find(|row| mail(row).recipient == "ben").unwrap();
        let greeted = mail(due.first().unwrap());

        assert_eq!((greeted.recipient.as_str(), greeted.reason.as_str()), ("ann", "welcome"));
        assert_eq!((mail(ben).locale.as_str(), mail(ben).name.as_deref()), ("de", Some("Ben the Second")));
        let id = greeted.event_id.clone();
        let closed = Change::RequestClosed {
            id,
            ending: RequestEnding::Done,
            reply: "250 ok".to_owned(),
            time: now(),
        };
        apply(&store, "mail", vec![closed]).await;
        let next = store.take_due(now(), 10, MINUTE).await.unwrap();
        let told = mail(next.first().unwrap());
        assert_eq!((told.recipient.as_str(), told.reason.as_str()), ("ann", "comment"));
        assert_eq!(
            (told.post_title.as_deref(), told.post_slug.as_deref()),
            (Some("About p"), Some("posts/p"))
        );
        assert_eq!(
            (told.author.as_deref(), told.author_name.as_deref()),
            (Some("ben"), Some("Ben the Second"))
        );
        assert_eq!((told.comment_id.as_deref(), told.text.as_deref()), (Some("c"), Some("Well said.")));
        assert_eq!((told.source_event.as_str(), told.occurred_at), ("e-c", 6));
        assert!((1..=255).contains(&told.event_id.len()) && told.event_id.is_ascii());
    }
}

#[tokio::test]
async fn without_mail_and_endpoints_nothing_waits() {
    for store in everywhere().await {
        let neither = Notify::new(NotifySettings { mail: None, webhooks: Some(Duration::MAX) });

        tell(&store, &neither, &[user("ann", true), post("p", "ben"), comment("c", "p", "ann")]).await;
        settle(&store).await;

        assert_eq!(store.backlog(now()).await.unwrap(), Default::default());
        assert_eq!(count(&store, "SELECT count(*) FROM webhook_fan_outs").await, 0);
        assert_eq!(count(&store, "SELECT count(*) FROM notifications").await, 3);
    }
}

#[tokio::test]
async fn endpoints_are_told_everything_but_addresses() {
    for store in everywhere().await {
        let endpoint = Endpoint {
            id: "hook".to_owned(),
            url: "https://hooks.example/".to_owned(),
            secrets: Vec::new(),
            types: Vec::new(),
            created_at: 0,
            disabled: None,
            failing_since: None,
        };
        store.put_endpoint(endpoint).await.unwrap();

        tell(&store, &notify(true), &[user("ann", false)]).await;
        settle(&store).await;

        let due = store.take_due(now(), 10, MINUTE).await.unwrap();
        let Some(Request::Webhook(hook)) =
            due.iter().map(|row| &row.request).find(|it| matches!(it, Request::Webhook(_)))
        else {
            panic!("{due:?}")
        };
        let body: serde_json::Value = serde_json::from_str(&hook.body).unwrap();
        assert_eq!((&body["id"], &body["type"]), (&"r-ann".into(), &"user.registered".into()));
        assert_eq!(
            (&body["time"], &body["data"]["name"]),
            (&"1970-01-01T00:00:00.001Z".into(), &"ANN".into())
        );
        assert!(!hook.body.contains('@') && body["data"].get("email").is_none(), "{body}");
    }
}

#[tokio::test]
async fn story_of_an_event_tells_attempts_replies_and_what_comes_next() {
    for store in everywhere().await {
        tell(&store, &notify(false), &[user("ann", false)]).await;
        let now = now();
        let due = store.take_due(now, 10, MINUTE).await.unwrap();
        let id = mail(due.first().unwrap()).event_id.clone();
        store.published(vec![due.first().unwrap().row], now, MINUTE).await.unwrap();

        store.reserve(&id, "me", now, MINUTE).await.unwrap();
        store.defer(&id, now + 5, now + DAY, &"4é0 later ".repeat(100)).await.unwrap();
        let waiting = store.requests_of_event("r-ann", 10).await.unwrap();
        store.reserve(&id, "me", now + DAY, MINUTE).await.unwrap();
        let unknown = store.reserve(&id, "me", now + DAY + 1, MINUTE).await.unwrap();
        let closed = Change::RequestClosed {
            id,
            ending: RequestEnding::Done,
            reply: "250 ok".to_owned(),
            time: now + DAY + 9,
        };
        apply(&store, "mail", vec![closed]).await;
        let done = store.requests_of_event("r-ann", 10).await.unwrap();

        let story = waiting.first().unwrap();
        assert_eq!(
            (story.kind.as_str(), story.key.as_str(), story.state),
            ("mail", "ann", RequestState::Waiting)
        );
        assert_eq!((story.not_before, story.attempts.len()), (now + DAY, 1));
        let first = story.attempts.first().unwrap();
        assert_eq!((first.began_at, first.ended_at), (now, Some(now + 5)));
        assert!((290..=300).contains(&first.reply.as_ref().unwrap().len()));
        assert_eq!(unknown, Reservation::Unknown { attempt: 3 });
        let story = done.first().unwrap();
        assert_eq!(
            story.state,
            RequestState::Closed { at: now + DAY + 9, ending: Some(RequestEnding::Done) }
        );
        let ends: Vec<_> = story.attempts.iter().map(|attempt| attempt.ended_at.is_some()).collect();
        assert_eq!(ends, [true, false, true], "the second ended without a word");
    }
}

#[tokio::test]
async fn old_requests_go_and_mails_that_get_no_address_are_withdrawn() {
    for store in everywhere().await {
        let effect = notify(false);
        // Two mails to somebody who is never heard of otherwise, one that is done, one that waits.
        tell(&store, &effect, &[post("p", "ghost"), comment("c1", "p", "x"), comment("c2", "p", "x")]).await;
        tell(&store, &effect, &[user("ann", false), user("ben", false)]).await;
        let now = now();
        let due = store.take_due(now, 10, MINUTE).await.unwrap();
        let ann = due.iter().map(mail).find(|mail| mail.recipient == "ann").unwrap();
        store.reserve(&ann.event_id, "me", now, MINUTE).await.unwrap();
        let (id, reply) = (ann.event_id.clone(), "250 ok".to_owned());
        apply(
            &store,
            "mail",
            vec![Change::RequestClosed { id, ending: RequestEnding::Done, reply, time: now }],
        )
        .await;
        write(&store, &["UPDATE requests SET requested_at = requested_at - 259200000"]).await;
        store.clean().await.unwrap();
        let ghosts = "SELECT count(*) FROM requests WHERE addressee = 'ghost' AND state = 6 AND ending = 1";
        let withdrawn = count(&store, ghosts).await;
        // A relay has looked at what was withdrawn.
        store.take_due(now, 10, MINUTE).await.unwrap();
        let age = [
            "UPDATE requests SET due = due - 3110400000",
            "UPDATE ledger SET changed_at = changed_at - 3110400000",
            "UPDATE request_attempts SET began_at = began_at - 3110400000",
            "UPDATE mail_sources SET until = 0",
        ];
        write(&store, &age).await;

        store.clean().await.unwrap();

        assert_eq!(withdrawn, 2);
        assert_eq!(count(&store, "SELECT count(*) FROM requests").await, 1, "ben's waits");
        assert_eq!(count(&store, "SELECT count(*) FROM ledger").await, 0);
        assert_eq!(count(&store, "SELECT count(*) FROM request_attempts").await, 0);
        assert_eq!(count(&store, "SELECT count(*) FROM mail_sources").await, 1, "what ben's needs");
    }
}

/// Writes by statements of one's own.
async fn write(store: &AnyStore, statements: &[&str]) {
    let changes =
        statements.iter().map(|sql| Change::Statement { sql: (*sql).to_owned(), params: Vec::new() });
    apply(store, "writer", changes.collect()).await;
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
                    0 => store.defer(&id, at, at + random.i64(0..200_000), "450 later").await.unwrap(),
                    1 => store.attempt_failed(&id, at, "451 no").await.unwrap(),
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

#[tokio::test]
async fn closing_a_row_says_at_once_that_the_next_may_be_due() {
    let relay = SqliteStore::in_memory().unwrap();
    let store = AnyStore::from(relay.clone());
    let told = || relay.made_way().now_or_never();
    tell(&store, &notify(false), &[user("ann", false), post("p", "ann")]).await;
    let due = store.take_due(now(), 10, MINUTE).await.unwrap();
    let id = mail(&due[0]).event_id.clone();
    let before = told();

    let (ending, reply) = (RequestEnding::Done, String::new());
    apply(&store, "mail", vec![Change::RequestClosed { id: id.clone(), ending, reply, time: now() }]).await;
    let closed = (told(), told());
    store.died(&id, now(), "550 no").await.unwrap();

    assert_eq!((before, closed), (None, (Some(()), None)));
    assert_eq!((told(), told()), (Some(()), None));
}
