//! The relay on the embedded broker: what `notify` leaves in the store comes out on `blog.mail` and `blog.webhooks`, and
//! a dead letter closes its row.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops where it is wrong, and waits for a real broker"
)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postroom::Group;
use postroom::adapters::store::RequestState;
use postroom::codec::{Codec, Framing, Limits};
use postroom::config::{Config, Sources, load};
use postroom::effects::{Notify, NotifySettings};
use postroom::event::{Envelope, MailRequested, UserRegistered, WebhookRequested};
use postroom::handler::{Context, Error, Handler};
use postroom::kafka::Embedded;
use postroom::ports::{Endpoint, Endpoints, RequestEnding};
use postroom::runtime::{Broker, Ending, Service};
use postroom::telemetry::{Board, BuildInfo, Metrics};

fn config(address: &str, store: &Path) -> Config {
    let set = |key: &str, value: &str| (format!("POSTROOM_{key}"), value.to_owned());
    let sources = Sources {
        environment: vec![
            set("KAFKA__BROKERS", address),
            set("STORE__URL", &format!("sqlite:{}", store.display())),
        ],
        ..Sources::default()
    };
    load(&sources).unwrap().config
}

fn metrics() -> Metrics {
    Metrics::new(&BuildInfo::current("test".to_owned()), Arc::new(Board::new("test"))).unwrap()
}

fn broker(groups: &[(&str, &[&str])]) -> Embedded {
    let broker = Embedded::start().unwrap();
    for (group, topics) in groups {
        broker.create_topic(&format!("retry.postroom.{group}"), 2).unwrap();
        for topic in *topics {
            // Several groups share some.
            drop(broker.create_topic(topic, 2));
            broker.create_topic(&format!("dlq.postroom.{group}.{topic}"), 2).unwrap();
        }
    }
    broker
}

const BLOG: &[&str] = &["blog.comments", "blog.media", "blog.posts", "blog.users"];

/// Notes who was asked for, and refuses one of them for ever.
struct Mails {
    seen: Arc<Mutex<Vec<(String, String)>>>,
    refused: &'static str,
}

impl Handler for Mails {
    type Event = MailRequested;

    async fn handle(&self, envelope: &Envelope<MailRequested>, _cx: &mut Context) -> Result<(), Error> {
        let mail = &envelope.event;
        self.seen.lock().unwrap().push((mail.recipient.clone(), mail.reason.clone()));
        if mail.recipient == self.refused {
            return Err(Error::dead("550 no such mailbox"));
        }
        Ok(())
    }
}

struct Hooks {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Handler for Hooks {
    type Event = WebhookRequested;

    async fn handle(&self, envelope: &Envelope<WebhookRequested>, _cx: &mut Context) -> Result<(), Error> {
        self.seen.lock().unwrap().push(envelope.event.body.clone());
        Ok(())
    }
}

fn registered(user: &str) -> UserRegistered {
    UserRegistered {
        event_id: format!("r-{user}"),
        user_id: user.to_owned(),
        email: Some(format!("{user}@readers.example")),
        occurred_at: 1_000,
        ..UserRegistered::default()
    }
}

fn notify() -> Group {
    Group::effect(Notify::new(NotifySettings { mail: Some(Duration::MAX), webhooks: Some(Duration::MAX) }))
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn stop(mut service: Service) {
    service.drain(Duration::from_secs(10));
    let endings = service.ended(Duration::from_secs(10)).await;
    assert!(endings.iter().all(|(_, ending)| *ending == Ending::Drained), "{endings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_notify_asks_for_is_published_and_a_dead_letter_closes_its_row() {
    let broker = broker(&[("notify", BLOG), ("mail", &["blog.mail"]), ("webhooks", &["blog.webhooks"])]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    let (mails, hooks) = (Arc::default(), Arc::default());
    let groups = vec![
        notify(),
        Group::each("mail", Mails { seen: Arc::clone(&mails), refused: "ben" }),
        Group::each("webhooks", Hooks { seen: Arc::clone(&hooks) }),
    ];
    let metrics = metrics();
    let config = config(broker.address(), &path);
    let service = Service::start(&config, groups, metrics.clone(), Broker::Embedded).await.unwrap();
    let endpoint = Endpoint {
        id: "hook".to_owned(),
        url: "https://hooks.example/".to_owned(),
        secrets: Vec::new(),
        types: vec!["user.registered".to_owned()],
        created_at: 0,
        disabled: None,
        failing_since: None,
    };
    service.store().put_endpoint(endpoint).await.unwrap();
    let codec = Codec::new(Limits::default());

    for user in ["ann", "ben"] {
        let record = codec.encode(&registered(user), Framing::ConfluentV0).unwrap();
        service.producer().publish_event(&record).await.unwrap();
    }
    eventually("both mails and the first delivery are there", async || {
        mails.lock().unwrap().len() == 2 && hooks.lock().unwrap().len() == 1
    })
    .await;
    let state = async |event: &str, kind: &str| {
        let stories = service.store().requests_of_event(event, 10).await.unwrap();
        stories.into_iter().find(|story| story.kind == kind).map(|story| (story.state, story.reply))
    };
    eventually("the dead letter closes its row", async || {
        let Some((RequestState::Closed { ending, .. }, Some(reply))) = state("r-ben", "mail").await else {
            return false;
        };
        ending == Some(RequestEnding::Dead) && reply.contains("550")
    })
    .await;
    eventually("the other's row is out", async || {
        matches!(state("r-ann", "mail").await, Some((RequestState::Out, _)))
    })
    .await;
    eventually("the metric tells what is open", async || {
        // A mail that is out, a delivery that is out and one behind it.
        metrics.page().contains("postroom_outbox_pending_rows 3")
    })
    .await;

    let mut seen = mails.lock().unwrap().clone();
    seen.sort();
    let pair = |user: &str| (user.to_owned(), "welcome".to_owned());
    assert_eq!(seen, [pair("ann"), pair("ben")]);
    assert_eq!(hooks.lock().unwrap().len(), 1, "the second delivery waits for the first one's end");
    stop(service).await;
}
