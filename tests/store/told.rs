//! Events, and what tests of the outbox do with them.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use postroom::adapters::store::AnyStore;
use postroom::core::{Offset, Partition, Topic, TopicPartition};
use postroom::effects::{Changes, Notify, NotifySettings, StoreEffect, collect};
use postroom::event::{BlogEvent, CommentCreated, PostPublished, UserRegistered};
use postroom::ports::{
    Applied, Change, DueRow, Endpoint, FanOut, Guard, Param, Request, RequestEnding, Rest, Store, Unit,
};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: i64 = 86_400_000;

pub(crate) fn notify(webhooks: bool) -> Notify {
    let webhooks = webhooks.then_some(Duration::MAX);
    Notify::new(NotifySettings { mail: Some(Duration::MAX), webhooks })
}

pub(crate) async fn tell(store: &AnyStore, effect: &Notify, events: &[BlogEvent]) {
    let place = TopicPartition::new(Topic::new("blog.users"), Partition(0));
    let envelopes: Vec<_> = events.iter().map(|event| crate::play::envelope(&place, 0, event)).collect();
    let mut changes = Changes::default();
    collect(effect, &envelopes, &mut changes).unwrap();
    apply(store, effect.name(), changes.into_inner()).await;
}

pub(crate) async fn apply(store: &AnyStore, group: &str, changes: Vec<Change>) {
    let place = TopicPartition::new(Topic::new("blog.users"), Partition(0));
    let mut claim = store.claim(group, &place).await.unwrap();
    let next = claim.next.map_or(Offset(1), Offset::next);
    let unit = Unit { guard: Guard::Position { next }, changes };
    assert_eq!(store.apply(&mut claim, unit).await, Ok(Applied::Committed));
}

pub(crate) fn user(user_id: &str, subscribed: bool) -> BlogEvent {
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

pub(crate) fn post(post_id: &str, author: &str) -> BlogEvent {
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

pub(crate) fn comment(comment_id: &str, post_id: &str, author: &str) -> BlogEvent {
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

pub(crate) async fn count(store: &AnyStore, sql: &str) -> i64 {
    match store.query(sql, Vec::new()).await.unwrap().first().and_then(|row| row.first()) {
        Some(Param::Integer(count)) => *count,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond() + 1_000
}

pub(crate) fn mail(row: &DueRow) -> &postroom::event::MailRequested {
    match &row.request {
        Request::Mail(mail) => mail,
        Request::Webhook(_) => panic!("{row:?}"),
    }
}

pub(crate) async fn settle(store: &AnyStore) {
    while store.expand_fan_out(1_000).await.unwrap().rest == Rest::More {}
}

pub(crate) fn endpoint(id: &str) -> Endpoint {
    Endpoint {
        id: id.to_owned(),
        url: "https://hooks.example/".to_owned(),
        secrets: Vec::new(),
        types: Vec::new(),
        created_at: 0,
        disabled: None,
        failing_since: None,
    }
}

pub(crate) fn hook(row: &DueRow) -> &postroom::event::WebhookRequested {
    match &row.request {
        Request::Webhook(hook) => hook,
        Request::Mail(_) => panic!("{row:?}"),
    }
}

/// A request was carried out.
pub(crate) async fn close(store: &AnyStore, id: &str, time: i64) {
    let (id, ending, reply) = (id.to_owned(), RequestEnding::Done, "250 ok".to_owned());
    apply(store, "closer", vec![Change::RequestClosed { id, ending, reply, time }]).await;
}

/// Writes by statements of one's own.
pub(crate) async fn write(store: &AnyStore, statements: &[&str]) {
    let changes =
        statements.iter().map(|sql| Change::Statement { sql: (*sql).to_owned(), params: Vec::new() });
    apply(store, "writer", changes.collect()).await;
}
