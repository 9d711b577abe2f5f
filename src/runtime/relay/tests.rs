//! The relay between a store and an embedded broker.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use postroom_core::{Offset, Partition, Topic, TopicPartition};

use super::*;
use crate::adapters::store::{RequestState, SqliteStore};
use crate::codec::Limits;
use crate::config::Config;
use crate::event::{EventId, RawRecord};
use crate::kafka::{Connection, Embedded, ProducerConfig, scan};
use crate::ports::{
    Arrival, Change, Endpoint, Endpoints, FanOut, Guard, MailSource, Origin, PersonChange, PersonContent,
    PersonFact, RequestEnding, Rest, Store, Unit, WebhookEvent, Welcome,
};
use crate::telemetry::{Board, BuildInfo};

async fn store_with_a_mail() -> SqliteStore {
    let store = SqliteStore::in_memory().unwrap();
    let place = TopicPartition::new(Topic::new("blog.users"), Partition(0));
    let mut claim = store.claim("notify", &place).await.unwrap();
    let user = "ann".to_owned();
    let origin = Origin { event: EventId::parse("e").unwrap(), time: 1, arrival: Arrival::InOrder };
    let email = Some("ann@readers.example".to_owned());
    let fact = PersonFact::Updated(PersonContent { email, ..PersonContent::default() });
    let mail = Some(MailSource { max_age: i64::MAX, ..MailSource::default() });
    let changes = vec![
        Change::Contact(PersonChange { user: user.clone(), origin: origin.clone(), fact }),
        Change::Welcome(Welcome { user, origin, mail }),
    ];
    let guard = Guard::Position { next: Offset(1) };
    store.apply(&mut claim, Unit { guard, changes }).await.unwrap();
    store
}

fn relay(store: &SqliteStore, brokers: &str) -> Relay<SqliteStore> {
    relay_of_records(store, brokers, ProducerConfig::new(Connection::to(brokers.to_owned())).record_bytes)
}

fn relay_of_records(store: &SqliteStore, brokers: &str, record_bytes: usize) -> Relay<SqliteStore> {
    // One that is away need not be waited for.
    let patience = if brokers.ends_with(":1") { 300 } else { 10_000 };
    let config = ProducerConfig {
        delivery_timeout: Duration::from_millis(patience),
        linger: Duration::ZERO,
        record_bytes,
        ..ProducerConfig::new(Connection::to(brokers.to_owned()))
    };
    let producer = Producer::start(&config).unwrap();
    let metrics = Metrics::new(&BuildInfo::current("test".to_owned()), Arc::new(Board::new("test"))).unwrap();
    let codec = Codec::new(Limits::default());
    Relay::new(store.clone(), producer, codec, Routes::of(&Config::default()), metrics)
}

/// A store with a delivery of so many bytes, and one behind it to another endpoint.
async fn store_with_deliveries(bytes: usize) -> SqliteStore {
    let store = SqliteStore::in_memory().unwrap();
    let place = TopicPartition::new(Topic::new("blog.posts"), Partition(0));
    let mut claim = store.claim("notify", &place).await.unwrap();
    let event = |event: &str, kind: &str, body: String| {
        Change::Webhooks(WebhookEvent {
            origin: Origin { event: EventId::parse(event).unwrap(), time: 1, arrival: Arrival::InOrder },
            event_type: kind.to_owned(),
            blog: "news".to_owned(),
            body,
            max_age: i64::MAX,
        })
    };
    for (id, kind) in [("large", "post.published"), ("small", "post.removed")] {
        let (url, secrets) = (format!("https://{id}.example/"), Vec::new());
        let (types, disabled) = (vec![kind.to_owned()], None);
        let endpoint =
            Endpoint { id: id.to_owned(), url, secrets, types, created_at: 0, disabled, failing_since: None };
        store.put_endpoint(endpoint).await.unwrap();
    }
    let changes =
        vec![event("e", "post.published", "x".repeat(bytes)), event("f", "post.removed", "{}".to_owned())];
    let guard = Guard::Position { next: Offset(1) };
    store.apply(&mut claim, Unit { guard, changes }).await.unwrap();
    while store.expand_fan_out(10).await.unwrap().rest == Rest::More {}
    store
}

/// Where deliveries that die go.
const LETTERS: &str = "dlq.postroom.webhooks.blog.webhooks";

/// Reads the dead letters in a topic.
async fn letters(broker: &Embedded, topic: &str) -> Vec<RawRecord> {
    let (connection, topics) = (Connection::to(broker.address().to_owned()), [topic.to_owned()]);
    let letters = tokio::task::spawn_blocking(move || {
        let mut letters = Vec::new();
        scan(&connection, &topics, |letter| {
            letters.push(letter.detached());
            true
        })
        .map(|()| letters)
    });
    letters.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_brokers_never_take_is_a_dead_letter_and_others_go_on() {
    let store = store_with_deliveries(30_000).await;
    let broker = Embedded::start().unwrap();
    broker.create_topic("blog.webhooks", 1).unwrap();
    let relay = relay_of_records(&store, broker.address(), 20_000);

    let without_letter = relay_of_records(&store, "127.0.0.1:1", 20_000).step().await;
    let waiting = state(&store).await;
    until_closed(&relay, &store).await;
    let story = store.requests_of_event("e", 1).await.unwrap().remove(0);
    let letters = letters(&broker, LETTERS).await;
    let header = |name: &str| String::from_utf8_lossy(letters[0].header(name).unwrap()).into_owned();

    assert_eq!((without_letter, waiting), (Ok(Step::Hindered), RequestState::Waiting));
    assert!(
        matches!(story.state, RequestState::Closed { ending: Some(RequestEnding::Dead), .. }),
        "{story:?}"
    );
    assert_eq!(
        (letters.len(), letters[0].value(), header("ce_type").as_str()),
        (1, None, "webhook.requested")
    );
    assert_eq!(header("postroom-dlq-reason"), "too_large");
    let id = header("postroom-dlq-id");
    let place = id.strip_prefix("postroom.webhooks/blog.webhooks/0/").unwrap();
    // By the request, not by its row, which is 1: another store counts from 1 too.
    assert!(place.parse::<i64>().unwrap() < -1, "{id}");
    assert!(header("postroom-dlq-message").contains("30"));
    assert_eq!(store.requests_of_event("f", 1).await.unwrap().remove(0).state, RequestState::Out);
    let counted = "postroom_dead_letters_total{group=\"postroom.webhooks\",handler=\"webhooks\",reason=\"too_large\",topic=\"blog.webhooks\"} 1";
    assert!(relay.metrics.page().contains(counted));
}

/// Lets it work until the first request is closed.
async fn until_closed(relay: &Relay<SqliteStore>, store: &SqliteStore) {
    while !matches!(state(store).await, RequestState::Closed { .. }) {
        if relay.step().await != Ok(Step::Published) {
            tokio::time::sleep(IDLE_WAIT).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_is_missing_holds_up_what_needs_it_alone_until_it_is_there() {
    let store = store_with_deliveries(30_000).await;
    let broker = Embedded::start().unwrap();
    broker.create_topic("blog.webhooks", 1).unwrap();
    broker.hide_topic(LETTERS, true).unwrap();
    let relay = relay_of_records(&store, broker.address(), 20_000);

    let first = relay.step().await;
    let again = relay.step().await;
    relay.tell().await;
    let other = store.requests_of_event("f", 1).await.unwrap().remove(0).state;
    let (waiting, status) = (state(&store).await, relay.metrics.board().status().outbox);
    broker.hide_topic(LETTERS, false).unwrap();
    until_closed(&relay, &store).await;
    relay.tell().await;

    assert_eq!((first, again), (Ok(Step::Published), Ok(Step::Idle)), "nobody waits for it");
    assert_eq!((waiting, other), (RequestState::Waiting, RequestState::Out));
    let why = status.hindered.unwrap();
    assert!(why.contains(LETTERS) && why.contains("postroom topics apply"), "{why}");
    assert_eq!((status.deferred, status.oldest_due), (1, None));
    let failed = "postroom_dead_letter_failures_total{group=\"postroom.webhooks\",topic=\"blog.webhooks\"}";
    assert!(relay.metrics.page().contains(failed), "{}", relay.metrics.page());
    assert_eq!(relay.metrics.board().status().outbox.hindered, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_does_not_answer_holds_up_others_no_longer_than_a_moment() {
    let store = store_with_deliveries(30_000).await;
    let broker = Embedded::start().unwrap();
    broker.create_topic("blog.webhooks", 1).unwrap();
    let mut relay = relay_of_records(&store, broker.address(), 20_000);
    relay.letter_patience = Duration::from_millis(100);
    let Sorted { published, hopeless, .. } =
        relay.publish(store.take_due(now(), CHUNK, LEASE).await.unwrap()).await;
    // It is known, so the client waits for it, much longer than that.
    relay.producer.partitions(LETTERS).await.unwrap();
    broker.go_down().unwrap();

    relay.bury_all(hopeless).await.unwrap();
    relay.tell().await;
    let (waiting, hindered) = (state(&store).await, relay.metrics.board().status().outbox.hindered);
    broker.come_up().unwrap();
    until_closed(&relay, &store).await;
    let letters = letters(&broker, LETTERS).await;

    assert_eq!((published.len(), waiting), (1, RequestState::Waiting));
    let why = hindered.unwrap();
    assert!(why.contains(LETTERS) && why.contains("no answer within 100ms"), "{why}");
    let ids: BTreeSet<_> = letters.iter().map(|letter| letter.header("postroom-dlq-id").unwrap()).collect();
    assert_eq!(ids.len(), 1, "what arrives late is the same letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_brokers_refuse_for_breaking_a_rule_is_an_invalid_dead_letter_with_its_value() {
    let store = store_with_a_mail().await;
    let broker = Embedded::start().unwrap();
    broker.create_topic("blog.mail", 1).unwrap();
    let relay = relay(&store, broker.address());
    // With its batch, and alone.
    broker.refuse_records(2).unwrap();

    until_closed(&relay, &store).await;
    let letters = letters(&broker, "dlq.postroom.mail.blog.mail").await;

    let [letter] = &*letters else { panic!("{letters:?}") };
    let header = |name: &str| String::from_utf8_lossy(letter.header(name).unwrap()).into_owned();
    assert_eq!(header("postroom-dlq-reason"), "invalid");
    assert!(header("postroom-dlq-message").contains("breaks a rule of topic blog.mail"));
    assert!(letter.value().is_some());
    let counted = "postroom_dead_letters_total{group=\"postroom.mail\",handler=\"mail\",reason=\"invalid\",topic=\"blog.mail\"} 1";
    assert!(relay.metrics.page().contains(counted), "{}", relay.metrics.page());
}

#[test]
fn telling_takes_a_small_part_of_the_time() {
    assert_eq!(pause_after_telling(Duration::from_millis(5)), TELL_INTERVAL);
    assert_eq!(pause_after_telling(Duration::from_secs(1)), Duration::from_secs(20));
}

async fn state(store: &SqliteStore) -> RequestState {
    store.requests_of_event("e", 1).await.unwrap().first().unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_does_not_take_is_given_back_and_published_later() {
    let store = store_with_a_mail().await;
    let broker = Embedded::start().unwrap();
    broker.create_topic("blog.mail", 1).unwrap();

    let away = relay(&store, "127.0.0.1:1").step().await;
    let between = state(&store).await;
    let there = relay(&store, broker.address()).step().await;
    let after = state(&store).await;
    let idle = relay(&store, broker.address()).step().await;

    assert_eq!((away, between), (Ok(Step::Hindered), RequestState::Waiting));
    assert_eq!((there, after), (Ok(Step::Published), RequestState::Out));
    assert_eq!(idle, Ok(Step::Idle));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_relay_ends_and_the_backlog_is_told() {
    let store = store_with_a_mail().await;
    let relay = relay(&store, "127.0.0.1:1");
    let (stop, metrics) = (relay.stop(), relay.metrics.clone());
    let line = "postroom_outbox_pending_rows";
    let before = metrics.page().contains(&format!("{line} 0"));
    relay.tell().await;

    stop.store(true, Ordering::Relaxed);
    relay.run().await.unwrap();
    let told = metrics.families.outbox_pending.with_label_values::<&str>(&[]).get();

    assert!(before, "at zero from the start");
    assert_eq!(told, 1);
}
