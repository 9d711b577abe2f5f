//! Stories of posts, comments and people, told to the effects and read from their tables.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use postroom::adapters::store::{AnyStore, AuthorLine, PostLine, ReasonCount, SqliteStore};
use postroom::core::{Class, Offset, Partition, Reason, Topic, TopicPartition};
use postroom::effects::{Changes, Notify, Project, StoreEffect, collect};
use postroom::event::{
    BlogEvent, CommentCreated, CommentRemoved, PostPublished, PostRemoved, UserRegistered, UserUpdated,
};
use postroom::ports::{Applied, FanOut, Guard, Rest, Store, Unit};
use postroom::testkit::store_contract::Bench as _;

use crate::server::{OnPostgres, everywhere};

fn post(event_id: &str, post_id: &str, author: &str, occurred_at: i64) -> BlogEvent {
    let (event_id, post_id, author) = (event_id.to_owned(), post_id.to_owned(), author.to_owned());
    BlogEvent::PostPublished(PostPublished {
        event_id,
        post_id,
        author,
        occurred_at,
        ..PostPublished::default()
    })
}

fn comment(event_id: &str, post_id: &str, author: &str, occurred_at: i64) -> BlogEvent {
    let comment_id = event_id.to_owned();
    let (event_id, post_id, author) = (event_id.to_owned(), post_id.to_owned(), author.to_owned());
    let created =
        CommentCreated { event_id, post_id, comment_id, author, occurred_at, ..CommentCreated::default() };
    BlogEvent::CommentCreated(created)
}

fn user(event_id: &str, user_id: &str, subscribed: bool, occurred_at: i64) -> BlogEvent {
    let (event_id, user_id) = (event_id.to_owned(), user_id.to_owned());
    BlogEvent::UserRegistered(UserRegistered {
        event_id,
        user_id,
        subscribed,
        occurred_at,
        ..UserRegistered::default()
    })
}

/// Tells an effect one event after the other, each in a place of its own topic or of the replays'.
async fn tell<E: StoreEffect<Event = BlogEvent>>(
    store: &AnyStore,
    effect: &E,
    topic: Option<&str>,
    event: &BlogEvent,
) {
    let place =
        TopicPartition::new(Topic::new(topic.unwrap_or_else(|| event.event_type().topic)), Partition(0));
    let mut changes = Changes::default();
    collect(effect, &[crate::play::envelope(&place, 0, event)], &mut changes).unwrap();
    let mut claim = store.claim(effect.name(), &place).await.unwrap();
    let next = claim.next.map_or(Offset(1), Offset::next);
    let unit = Unit { guard: Guard::Position { next }, changes: changes.into_inner() };
    assert_eq!(store.apply(&mut claim, unit).await, Ok(Applied::Committed));
}

async fn told(store: &AnyStore) -> serde_json::Value {
    store.dump().await.unwrap()
}

#[tokio::test]
async fn author_hears_once_of_comments_that_came_before_the_post() {
    for store in everywhere().await {
        for event in
            [comment("c1", "p", "ann", 1), comment("c2", "p", "bob", 2), comment("c3", "p", "cat", 3)]
        {
            tell(&store, &Notify::default(), None, &event).await;
        }
        let before = told(&store).await["notifications"]["ann"]["comment"].clone();

        tell(&store, &Notify::default(), None, &post("e", "p", "ann", 9)).await;

        let after = told(&store).await["notifications"].clone();
        assert_eq!(before, serde_json::json!({ "c2": ["c2", 2], "c3": ["c3", 3] }));
        assert_eq!(after["ann"]["comment"], before, "she commented first, and heard already");
        assert_eq!(after["bob"]["comment"], serde_json::json!({ "c3": ["c3", 3] }));
        assert_eq!(after["cat"], serde_json::Value::Null, "nobody hears of their own");
    }
}

#[tokio::test]
async fn comments_of_a_post_that_never_comes_count_on_a_stub() {
    for store in everywhere().await {
        tell(&store, &Project, None, &comment("c1", "p", "ann", 1)).await;

        let tables = told(&store).await;
        assert_eq!(
            (&tables["posts"]["p"]["state"], &tables["posts"]["p"]["comments"]),
            (&"stub".into(), &1.into())
        );
        assert_eq!(tables["totals"]["posts"], 0);
    }
}

#[tokio::test]
async fn replayed_events_are_judged_by_their_time() {
    for store in everywhere().await {
        let removed = |event_id: &str, occurred_at| {
            let (event_id, post_id) = (event_id.to_owned(), "p".to_owned());
            BlogEvent::PostRemoved(PostRemoved { event_id, post_id, occurred_at, ..PostRemoved::default() })
        };
        tell(&store, &Project, None, &post("e1", "p", "ann", 10)).await;
        tell(&store, &Project, None, &removed("e2", 20)).await;

        tell(&store, &Project, Some("retry.postroom.project"), &post("e0", "p", "bob", 15)).await;
        let older = told(&store).await["posts"]["p"]["state"].clone();
        tell(&store, &Project, Some("retry.postroom.project"), &post("e3", "p", "bob", 25)).await;
        let newer = told(&store).await["posts"]["p"]["state"].clone();
        tell(&store, &Project, Some("retry.postroom.project"), &removed("e4", 22)).await;
        let kept = told(&store).await["posts"]["p"].clone();

        assert_eq!((older, newer), ("removed".into(), "alive".into()));
        assert_eq!((&kept["state"], &kept["author"]), (&"alive".into(), &"bob".into()));
    }
}

#[tokio::test]
async fn replayed_comment_is_told_to_those_who_had_commented_by_its_time() {
    for store in everywhere().await {
        tell(&store, &Notify::default(), None, &comment("c1", "p", "ann", 10)).await;
        tell(&store, &Notify::default(), None, &comment("c3", "p", "cat", 30)).await;

        tell(&store, &Notify::default(), Some("retry.postroom.notify"), &comment("c2", "p", "bob", 20)).await;

        let rows = told(&store).await["notifications"].clone();
        assert_eq!(rows["ann"]["comment"], serde_json::json!({ "c2": ["c2", 20], "c3": ["c3", 30] }));
        assert_eq!(rows["cat"], serde_json::Value::Null);
    }
}

#[tokio::test]
async fn notifications_stay_when_the_comment_goes() {
    for store in everywhere().await {
        tell(&store, &Notify::default(), None, &post("e", "p", "ann", 1)).await;
        tell(&store, &Notify::default(), None, &comment("c", "p", "bob", 2)).await;
        let (event_id, comment_id, post_id) = ("r".to_owned(), "c".to_owned(), "p".to_owned());
        let gone =
            CommentRemoved { event_id, comment_id, post_id, occurred_at: 3, ..CommentRemoved::default() };

        tell(&store, &Notify::default(), None, &BlogEvent::CommentRemoved(gone)).await;

        assert_eq!(
            told(&store).await["notifications"]["ann"]["comment"],
            serde_json::json!({ "c": ["c", 2] })
        );
    }
}

#[tokio::test]
async fn announcement_is_expanded_in_chunks_by_several_owners_and_reaches_everybody_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    announcement_is_expanded([(); 2].map(|()| SqliteStore::open(&path).unwrap().into())).await;
    if let Some(bench) = OnPostgres::new() {
        announcement_is_expanded([bench.open().await.into(), bench.open().await.into()]).await;
    }
}

async fn announcement_is_expanded(owners: [AnyStore; 2]) {
    for number in 0..10 {
        let name = format!("u{number}");
        tell(&owners[0], &Notify::default(), None, &user(&format!("r{number}"), &name, number != 4, 1)).await;
    }
    tell(&owners[0], &Notify::default(), None, &post("e", "p", "u7", 5)).await;

    let first = owners[0].expand_fan_out(3).await.unwrap();
    let (left, right) = tokio::join!(owners[0].expand_fan_out(3), owners[1].expand_fan_out(3));
    let mut written = first.written + left.unwrap().written + right.unwrap().written;
    let open = owners[0].summary(0).await.unwrap().fan_outs_open;
    // A subscriber who registers late is caught up.
    tell(&owners[1], &Notify::default(), None, &user("r99", "u00", true, 4)).await;
    while let step = owners[1].expand_fan_out(2).await.unwrap()
        && step.rest == Rest::More
    {
        written += step.written;
    }

    assert_eq!(first.written, 3);
    assert_eq!(open, 1);
    assert_eq!(written, 9, "ten subscribed, one is the author, one never was");
    let rows = told(&owners[0]).await["notifications"].clone();
    let reached: Vec<_> =
        rows.as_object().unwrap().iter().filter(|(_, why)| why["post"]["p"][0] == "e").collect();
    assert_eq!(reached.len(), 9);
    assert!(reached.iter().all(|(name, _)| *name != "u7" && *name != "u4"));
}

#[tokio::test]
async fn announcement_that_an_older_unsubscription_forbids_is_taken_back() {
    for store in everywhere().await {
        tell(&store, &Notify::default(), None, &user("r", "ann", true, 1)).await;
        tell(&store, &Notify::default(), None, &post("e", "p", "bob", 5)).await;
        store.expand_fan_out(100).await.unwrap();
        let before = told(&store).await["notifications"]["ann"]["post"].clone();
        let unsubscribed = |event_id: &str, occurred_at| {
            let (event_id, user_id) = (event_id.to_owned(), "ann".to_owned());
            BlogEvent::UserUpdated(UserUpdated {
                event_id,
                user_id,
                subscribed: Some(false),
                occurred_at,
                ..UserUpdated::default()
            })
        };

        tell(&store, &Notify::default(), None, &unsubscribed("later", 6)).await;
        let later = told(&store).await["notifications"]["ann"]["post"].clone();
        tell(&store, &Notify::default(), None, &unsubscribed("earlier", 4)).await;
        let earlier = told(&store).await["notifications"]["ann"]["post"].clone();

        assert_eq!(before, serde_json::json!({ "p": ["e", 5] }));
        assert_eq!(later, before);
        assert_eq!(earlier, serde_json::Value::Null);
    }
}

#[test]
fn event_at_fault_is_named_and_leaves_the_changes_of_those_before() {
    let place = TopicPartition::new(Topic::new("blog.comments"), Partition(0));
    let wrong = [comment("c2", "", "ann", 1), comment("c2", "p", "ann", i64::MAX), comment("c2", "p", "", 1)];

    for wrong in wrong {
        let events = [comment("c1", "p", "ann", 1), wrong, comment("c3", "p", "ann", 1)];
        let envelopes = events.map(|event| crate::play::envelope(&place, 0, &event));
        let effects: [&dyn StoreEffect<Event = BlogEvent>; 2] = [&Project, &Notify::default()];
        for effect in effects {
            let mut changes = Changes::default();
            effect.apply(&envelopes[0], &mut changes).unwrap();
            let one = changes.len();

            let mut changes = Changes::default();
            let (place, failure) = collect(effect, &envelopes, &mut changes).unwrap_err();

            assert_eq!((place, &failure.class), (1, &Class::Dead(Reason::Invalid)), "{failure}");
            assert_eq!(changes.len(), one);
        }
    }
}

#[tokio::test]
async fn summary_counts_what_is_visible() {
    for store in everywhere().await {
        for event in [
            post("e1", "p1", "ann", 1),
            post("e2", "p2", "bob", 2),
            comment("c1", "p2", "ann", 3),
            user("r", "ann", false, 1),
        ] {
            tell(&store, &Project, None, &event).await;
            tell(&store, &Notify::default(), None, &event).await;
        }

        let summary = store.summary(1).await.unwrap();

        assert_eq!((summary.posts, summary.comments, summary.people, summary.authors), (2, 1, 1, 2));
        assert_eq!(summary.top_posts, [PostLine { post: "p2".to_owned(), title: None, comments: 1 }]);
        let ann = AuthorLine { author: "ann".to_owned(), posts: 1, comments: 1, last_activity: Some(3) };
        assert_eq!(summary.top_authors, [ann]);
        let reasons = [("comment", 1), ("welcome", 1)];
        let reasons = reasons.map(|(reason, count)| ReasonCount { reason: reason.to_owned(), count });
        assert_eq!(summary.notifications, reasons);
    }
}
