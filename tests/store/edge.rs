//! What not every engine can keep ends the same on all of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use postroom::adapters::store::AnyStore;
use postroom::core::{Offset, Partition, Topic, TopicPartition};
use postroom::effects::{Changes, Project, Search, StoreEffect, collect};
use postroom::event::{
    BlogEvent, CommentCreated, CommentRemoved, PostPublished, PostUpdated, UserRegistered, UserUpdated,
};
use postroom::ports::{
    Applied, Change, Endpoints as _, Guard, Outbox as _, Param, Request, Search as _, SearchRequest, Store,
    StoreError, Unit,
};

use crate::server::everywhere;
use crate::told::{MINUTE, endpoint, notify, now, settle};

const LONGEST: usize = 1_024;

/// Events with NUL wherever it can stand.
fn with_nul() -> Vec<BlogEvent> {
    let some = |text: &str| Some(text.to_owned());
    vec![
        BlogEvent::UserRegistered(UserRegistered {
            event_id: "e1".to_owned(),
            blog: "b\0".to_owned(),
            user_id: "ann\0".to_owned(),
            name: some("A\0nn"),
            email: some("ann\0@readers.example"),
            locale: "e\0n".to_owned(),
            subscribed: true,
            occurred_at: 1,
            ..UserRegistered::default()
        }),
        BlogEvent::UserUpdated(UserUpdated {
            event_id: "e2".to_owned(),
            user_id: "ann\0".to_owned(),
            name: some("\0"),
            occurred_at: 2,
            ..UserUpdated::default()
        }),
        // Before it is there, then with it.
        BlogEvent::PostUpdated(PostUpdated {
            event_id: "e3".to_owned(),
            post_id: "p\0".to_owned(),
            title: some("ti\0tle"),
            body: some("bo\0dy"),
            occurred_at: 9,
            ..PostUpdated::default()
        }),
        BlogEvent::PostPublished(PostPublished {
            event_id: "e4".to_owned(),
            blog: "b\0".to_owned(),
            post_id: "p\0".to_owned(),
            author: "bob\0".to_owned(),
            slug: "s\0lug".to_owned(),
            section: some("se\0ction"),
            tags: vec!["t\0ag".to_owned()],
            format: some("mark\0down"),
            occurred_at: 3,
            ..PostPublished::default()
        }),
        BlogEvent::CommentCreated(CommentCreated {
            event_id: "e5".to_owned(),
            post_id: "p\0".to_owned(),
            comment_id: "c\0".to_owned(),
            author: "ann\0".to_owned(),
            format: some("\0"),
            body: some("com\0ment"),
            occurred_at: 10,
            ..CommentCreated::default()
        }),
        BlogEvent::CommentRemoved(CommentRemoved {
            event_id: "e6".to_owned(),
            comment_id: "gone\0".to_owned(),
            post_id: "p\0".to_owned(),
            occurred_at: 11,
            ..CommentRemoved::default()
        }),
    ]
}

async fn tried<E: StoreEffect<Event = BlogEvent>>(
    store: &AnyStore,
    effect: &E,
    events: &[BlogEvent],
) -> Result<Applied, StoreError> {
    let place = TopicPartition::new(Topic::new("t"), Partition(0));
    let envelopes: Vec<_> = events.iter().map(|event| crate::play::envelope(&place, 0, event)).collect();
    let mut changes = Changes::default();
    collect(effect, &envelopes, &mut changes).unwrap();
    unit(store, effect.name(), changes.into_inner()).await
}

async fn unit(store: &AnyStore, group: &str, changes: Vec<Change>) -> Result<Applied, StoreError> {
    let place = TopicPartition::new(Topic::new("t"), Partition(0));
    let mut claim = store.claim(group, &place).await.unwrap();
    let next = claim.next.map_or(Offset(1), Offset::next);
    store.apply(&mut claim, Unit { guard: Guard::Position { next }, changes }).await
}

#[tokio::test]
async fn event_with_nul_in_every_text_is_kept_the_same_everywhere() {
    let mut kept = Vec::new();
    for store in everywhere().await {
        store.put_endpoint(endpoint("hook")).await.unwrap();

        for event in with_nul() {
            let events = std::slice::from_ref(&event);
            assert_eq!(tried(&store, &Project, events).await, Ok(Applied::Committed), "{event:?}");
            assert_eq!(tried(&store, &notify(true), events).await, Ok(Applied::Committed), "{event:?}");
            assert_eq!(tried(&store, &Search, events).await, Ok(Applied::Committed), "{event:?}");
        }
        settle(&store).await;

        let mut due = store.take_due(now(), 100, MINUTE).await.unwrap();
        let asked = due.iter_mut().map(|row| match &mut row.request {
            Request::Mail(mail) => {
                mail.requested_at = 0;
                format!("{:?} {mail:?}", mail.recipient)
            }
            Request::Webhook(hook) => {
                hook.requested_at = 0;
                format!("{hook:?}")
            }
        });
        let mut asked: Vec<_> = asked.collect();
        asked.sort();
        let tag =
            |tag: &str| SearchRequest { tag: Some(tag.to_owned()), limit: 9, ..SearchRequest::default() };
        let found = store.search(&tag("t\0ag")).await.unwrap();
        let documents = "SELECT kind, id, state, post, author, author_key, title, slug, section, tags, body
            FROM documents ORDER BY kind, id";
        let documents = store.query(documents, Vec::new()).await.unwrap();
        let dump = store.dump().await.unwrap();
        assert_eq!(found.total, 1);
        assert!(!format!("{dump} {asked:?} {documents:?}").contains("\\0"), "{dump}");
        assert!(dump.to_string().contains("ann\u{fffd}"), "{dump}");
        assert_eq!(asked.len(), 2, "the first of each addressee: {asked:?}");
        kept.push((dump, asked, documents));
    }
    assert!(kept.iter().all(|one| Some(one) == kept.first()), "{kept:#?}");
}

/// Random, so that no engine gets it small.
fn long(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.alphanumeric()).take(bytes).collect()
}

#[tokio::test]
async fn longest_ids_fit_together_and_longer_ones_are_refused_with_the_reason() {
    let thread = |id: &str| {
        let (post_id, author) = (format!("p{id}"), format!("a{id}"));
        let comment = |number: u8, author: String| {
            BlogEvent::CommentCreated(CommentCreated {
                event_id: format!("c{number}"),
                post_id: post_id.clone(),
                comment_id: format!("{number}{id}"),
                author,
                occurred_at: 10 + i64::from(number),
                ..CommentCreated::default()
            })
        };
        let post = BlogEvent::PostPublished(PostPublished {
            event_id: "e".to_owned(),
            post_id: post_id.clone(),
            author,
            occurred_at: 1,
            ..PostPublished::default()
        });
        let reader = BlogEvent::UserRegistered(UserRegistered {
            event_id: "r".to_owned(),
            user_id: format!("u{id}"),
            subscribed: true,
            ..UserRegistered::default()
        });
        [reader, post, comment(1, format!("b{id}")), comment(2, format!("d{id}"))]
    };
    let mut told = Vec::new();
    for store in everywhere().await {
        let (longest, longer) = (thread(&long(LONGEST - 1)), thread(&long(LONGEST)));

        for event in &longest {
            let events = std::slice::from_ref(event);
            assert_eq!(tried(&store, &Project, events).await, Ok(Applied::Committed));
            assert_eq!(tried(&store, &notify(false), events).await, Ok(Applied::Committed));
            assert_eq!(tried(&store, &Search, events).await, Ok(Applied::Committed));
        }
        settle(&store).await;
        for event in &longer {
            let events = std::slice::from_ref(event);
            told.push((
                tried(&store, &Project, events).await,
                tried(&store, &notify(false), events).await,
                tried(&store, &Search, events).await,
            ));
        }

        let notified = store.query("SELECT count(*) FROM notifications", Vec::new()).await.unwrap();
        assert_eq!(notified, [[Param::Integer(5)]], "a welcome, a post, three of comments");
    }
    let (one, rest) = told.split_at(4);
    assert!(rest.is_empty() || rest == one, "{told:?}");
    for (project, notify, search) in one {
        for refused in [project, notify, search] {
            match refused {
                Ok(Applied::Committed) => {}
                refused => assert!(
                    matches!(refused, Err(StoreError::Refused(why)) if why.contains("has 1025 bytes")),
                    "{refused:?}"
                ),
            }
        }
    }
    assert!(one.iter().all(|(project, ..)| project.is_err()), "{one:?}");
}

#[tokio::test]
async fn name_that_grows_when_it_is_folded_is_a_key_all_the_same() {
    // One character of three bytes, which stands for eighteen.
    let author: String = std::iter::repeat_n('\u{fdfa}', LONGEST / 3).collect();
    let post = BlogEvent::PostPublished(PostPublished {
        event_id: "e".to_owned(),
        post_id: "p".to_owned(),
        author: author.clone(),
        ..PostPublished::default()
    });
    for store in everywhere().await {
        assert_eq!(tried(&store, &Search, std::slice::from_ref(&post)).await, Ok(Applied::Committed));

        let by = SearchRequest { author: Some(author.clone()), limit: 9, ..SearchRequest::default() };
        assert_eq!(store.search(&by).await.unwrap().total, 1);
    }
}

/// Also a user's own statement.
#[tokio::test]
async fn text_of_a_statement_loses_nul_and_bytes_keep_it() {
    for store in everywhere().await {
        let bytes = if matches!(store, AnyStore::Sqlite(_)) { "BLOB" } else { "BYTEA" };
        let statement = |sql: &str, params| Change::Statement { sql: sql.to_owned(), params };
        let table = format!("CREATE TABLE mine (name TEXT, bytes {bytes})");
        let insert = "INSERT INTO mine VALUES (?1, ?2)";
        let params = vec![Param::Text("a\0".to_owned()), Param::Blob(vec![0, 1])];

        unit(&store, "g", vec![statement(&table, Vec::new())]).await.unwrap();
        unit(&store, "g", vec![statement(insert, params)]).await.unwrap();

        let kept = store.query("SELECT name, bytes FROM mine", Vec::new()).await.unwrap();
        assert_eq!(kept, [[Param::Text("a\u{fffd}".to_owned()), Param::Blob(vec![0, 1])]]);
    }
}
