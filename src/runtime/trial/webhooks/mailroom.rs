//! The running group, with a ledger in memory and time that passes when it is told to.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use postroom_core::{Attempt, Ordering as RecordOrder};
use tokio::sync::{Semaphore, watch};

use super::super::*;
use super::{BODY, DUE, SECRET, deliveries};
use crate::adapters::web::{Guard, WebClient, WebSettings};
use crate::config::{AllowedHosts, Ports};
use crate::effects::Webhooks;
use crate::event::WebhookRequested;
use crate::ports::{
    Applied, Change, Claim, Endpoint, Endpoints, IfUnknown, Ledger, RequestEnding, Reservation, Store,
    StoreError, StoreFuture, StoreId, Unit,
};

/// What became of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) attempts: u32,
    pub(super) held_until: Option<i64>,
    pub(super) not_before: Option<i64>,
    pub(super) reply: String,
    pub(super) ending: Option<RequestEnding>,
}

/// A store with a ledger in memory.
#[derive(Clone)]
pub(super) struct Ledgered {
    pub(super) inner: SqliteStore,
    pub(super) rows: watch::Sender<BTreeMap<String, Row>>,
    pub(super) away: Arc<Mutex<u32>>,
    /// How many units it does not take, from now on.
    pub(super) no_units: Arc<Mutex<u32>>,
    /// Closed while it keeps those waiting who tell it of dead letters.
    pub(super) letters: Arc<Semaphore>,
}

impl Ledgered {
    pub(super) fn row(&self, id: &str) -> Row {
        self.rows.borrow().get(id).cloned().unwrap_or_default()
    }

    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut Row)) {
        self.rows.send_modify(|rows| change(rows.entry(id.to_owned()).or_default()));
    }

    /// Waits until requests are as they should be.
    pub(super) async fn until(&self, enough: impl FnMut(&BTreeMap<String, Row>) -> bool) {
        let mut rows = self.rows.subscribe();
        let waited = tokio::time::timeout(PATIENCE, rows.wait_for(enough)).await;
        assert!(waited.is_ok(), "waited in vain: {:?}", self.rows.borrow());
    }
}

impl Ledger for Ledgered {
    fn reserve_with<'a>(
        &'a self,
        id: &'a str,
        _: &'a str,
        now: i64,
        lease: Duration,
        _: IfUnknown,
    ) -> StoreFuture<'a, Reservation> {
        Box::pin(async move {
            {
                let mut away = self.away.lock().unwrap();
                if *away > 0 {
                    *away -= 1;
                    return Err(StoreError::Away("it was told to".to_owned()));
                }
            }
            let row = self.row(id);
            match (row.ending, row.held_until) {
                (Some(RequestEnding::Done), _) => return Ok(Reservation::Done),
                (Some(RequestEnding::Withdrawn), _) => return Ok(Reservation::Withdrawn),
                (_, Some(until)) if until > now => return Ok(Reservation::Held { until }),
                _ => {}
            }
            let attempt = row.attempts + 1;
            self.change(id, |row| {
                row.attempts = attempt;
                row.held_until = Some(now + i64::try_from(lease.as_millis()).unwrap());
            });
            let unknown = row.held_until.is_some();
            let by = "somebody".to_owned();
            Ok(if unknown { Reservation::Unknown { attempt, by } } else { Reservation::Ours { attempt } })
        })
    }

    fn defer<'a>(
        &'a self,
        id: &'a str,
        _: &'a str,
        _: i64,
        not_before: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        self.change(id, |row| {
            row.held_until = None;
            row.not_before = Some(not_before);
            row.reply = reply.to_owned();
        });
        Box::pin(async { Ok(()) })
    }

    fn attempt_failed<'a>(&'a self, id: &'a str, _: &'a str, _: i64, reply: &'a str) -> StoreFuture<'a, ()> {
        self.change(id, |row| {
            row.held_until = None;
            row.reply = reply.to_owned();
        });
        Box::pin(async { Ok(()) })
    }

    fn done<'a>(&'a self, id: &'a str, _: i64, reply: &'a str) -> StoreFuture<'a, ()> {
        self.change(id, |row| {
            row.held_until = None;
            row.reply = reply.to_owned();
            row.ending = Some(RequestEnding::Done);
        });
        Box::pin(async { Ok(()) })
    }

    fn died<'a>(&'a self, id: &'a str, _: i64, why: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async {
            let _waited = self.letters.acquire().await.unwrap();
            self.change(id, |row| {
                row.held_until = None;
                row.reply = why.to_owned();
                row.ending = Some(RequestEnding::Dead);
            });
            Ok(())
        })
    }
}

impl Store for Ledgered {
    fn id(&self) -> &StoreId {
        self.inner.id()
    }

    fn claim<'a>(&'a self, group: &'a str, partition: &'a TopicPartition) -> StoreFuture<'a, Claim> {
        self.inner.claim(group, partition)
    }

    fn apply<'a>(&'a self, claim: &'a mut Claim, unit: Unit) -> StoreFuture<'a, Applied> {
        Box::pin(async move {
            {
                let mut refused = self.no_units.lock().unwrap();
                if *refused > 0 {
                    *refused -= 1;
                    return Err(StoreError::Away("it was told to".to_owned()));
                }
            }
            let changes = unit.changes.clone();
            let applied = self.inner.apply(claim, unit).await?;
            for change in changes.into_iter().filter(|_| applied == Applied::Committed) {
                let Change::RequestClosed { id, ending, reply, .. } = change else { panic!("{change:?}") };
                self.change(&id, |row| {
                    row.held_until = None;
                    row.reply = reply;
                    row.ending = Some(ending);
                });
            }
            Ok(applied)
        })
    }

    fn count_attempt<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        offset: Offset,
        attempt: Attempt,
    ) -> StoreFuture<'a, ()> {
        self.inner.count_attempt(group, partition, offset, attempt)
    }

    fn forget_attempts<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        below: Offset,
    ) -> StoreFuture<'a, ()> {
        self.inner.forget_attempts(group, partition, below)
    }
}

impl Endpoints for Ledgered {
    fn endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Endpoint>> {
        self.inner.endpoint(id)
    }

    fn endpoints(&self) -> StoreFuture<'_, Vec<Endpoint>> {
        self.inner.endpoints()
    }

    fn disabled_endpoints(&self) -> StoreFuture<'_, u64> {
        self.inner.disabled_endpoints()
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> StoreFuture<'_, ()> {
        self.inner.put_endpoint(endpoint)
    }

    fn remove_endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, bool> {
        self.inner.remove_endpoint(id)
    }

    fn disable_endpoint<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()> {
        self.inner.disable_endpoint(id, now, why)
    }

    fn endpoint_failed<'a>(&'a self, id: &'a str, now: i64, pause: Duration) -> StoreFuture<'a, i64> {
        self.inner.endpoint_failed(id, now, pause)
    }

    fn endpoint_answered<'a>(&'a self, id: &'a str) -> StoreFuture<'a, ()> {
        self.inner.endpoint_answered(id)
    }
}

/// The running group, with time that passes when it is told to.
pub(super) struct Mailroom {
    pub(super) edge: Arc<FakeEdge>,
    pub(super) store: Ledgered,
    pub(super) codec: Codec,
    pub(super) now: Arc<AtomicI64>,
    pub(super) next: AtomicI64,
    pub(super) control: UnboundedSender<Control>,
    pub(super) driver: JoinHandle<Ending>,
}

impl Mailroom {
    pub(super) fn start() -> Self {
        Self::patient(Duration::from_secs(25))
    }

    /// A group that waits so long for an answer.
    pub(super) fn patient(timeout: Duration) -> Self {
        let guard = Guard {
            allow_http: true,
            allow_private: AllowedHosts::read(["127.0.0.0/8"]).unwrap(),
            ports: Ports::Any,
        };
        let settings = WebSettings { guard, connect_timeout: timeout, timeout, authorities: None };
        let web = WebClient::new(settings).unwrap();
        let now = Arc::new(AtomicI64::new(DUE));
        let clock = Arc::clone(&now);
        let day = Duration::from_secs(86_400);
        let effect = Webhooks::new(Arc::new(web), Arc::new(move || clock.load(Ordering::SeqCst)), day, "me")
            .disable_after(5 * day);
        let group = Group::each("webhooks", effect)
            .ordering(RecordOrder::Unordered)
            .concurrency(NonZeroUsize::new(1_024).unwrap())
            .backoff(Duration::from_millis(1), Duration::from_millis(5));
        let inner = SqliteStore::in_memory().unwrap();
        let rows = watch::Sender::new(BTreeMap::new());
        let letters = Arc::new(Semaphore::new(1));
        let store = Ledgered { inner, rows, away: Arc::default(), no_units: Arc::default(), letters };
        let codec = Codec::new(Limits::default());
        let config = load(&Sources::default()).unwrap().config;
        let desk = Desk::new(&group, "test.", codec.clone(), Arc::new(store.clone()));
        let rules = StartRules::new(&config, &group, &Effect::default(), &desk.retry_topic);
        let mut settings = group.settings(1);
        settings.commit_interval = Duration::from_millis(5);
        let (edge, events) = FakeEdge::new();
        let (driver, control) = Driver::new(Parts {
            group,
            desk,
            settings,
            rules,
            edge: edge.clone(),
            events,
            metrics: metrics(),
            logs: Arc::new(Logs::default()),
            clock: Clock::start(),
            threads: Handle::current(),
            shutdown_deadline: PATIENCE,
        });
        let driver = tokio::spawn(driver.run());
        let (partition, generation) = (deliveries(), Generation(1));
        // Where Kafka's commit is known, the edge need not seek.
        let committed = Some(CommittedPosition { next: Offset(0), finished: Vec::new(), store: None });
        edge.tell(EdgeEvent::Assigned { partition, generation, committed });
        Self { edge, store, codec, now, next: AtomicI64::new(0), control, driver }
    }

    pub(super) async fn subscribe(&self, id: &str, url: String) {
        self.subscribe_with(id, url, &[SECRET]).await;
    }

    pub(super) async fn subscribe_with(&self, id: &str, url: String, secrets: &[&str]) {
        let endpoint = Endpoint {
            id: id.to_owned(),
            url,
            secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
            types: Vec::new(),
            created_at: 0,
            disabled: None,
            failing_since: None,
        };
        self.store.put_endpoint(endpoint).await.unwrap();
    }

    /// Publishes requests, an endpoint and an id each, as the relay would.
    pub(super) fn publish(&self, requests: &[(String, String)]) {
        self.publish_at(requests, DUE);
    }

    /// Publishes requests that were first due at a time.
    pub(super) fn publish_at(&self, requests: &[(String, String)], requested_at: i64) {
        let mut builder = RawBatchBuilder::new(deliveries());
        for (endpoint, id) in requests {
            let request = WebhookRequested {
                event_id: id.clone(),
                endpoint: endpoint.clone(),
                source_event: "e1".to_owned(),
                source_type: "post.published".to_owned(),
                body: BODY.to_owned(),
                occurred_at: DUE,
                requested_at,
                ..WebhookRequested::default()
            };
            let outgoing = self.codec.encode(&request, Framing::ConfluentV0).unwrap();
            let headers =
                outgoing.headers.iter().map(|(name, value)| RawHeader { name, value: value.as_deref() });
            let offset = Offset(self.next.fetch_add(1, Ordering::SeqCst));
            let (key, value) = (outgoing.key.as_deref(), outgoing.value.as_deref());
            builder.push(RawParts { offset, timestamp: Some(DUE), key, value }, headers);
        }
        let records = builder.finish().into_iter().map(polled).collect();
        let (generation, epoch) = (Generation(1), FetchEpoch::default());
        self.edge.tell(EdgeEvent::Input(Input::Records { generation, epoch, records }));
    }

    /// Publishes one request and waits until it is finished.
    pub(super) async fn deliver(&self, endpoint: &str, id: &str) -> Row {
        self.publish(&[(endpoint.to_owned(), id.to_owned())]);
        self.finished().await;
        self.store.row(id)
    }

    /// Passes the time until a request is due, publishes it and waits until it is finished.
    pub(super) async fn deliver_at(&self, endpoint: &str, id: &str, due: i64) -> Row {
        self.now.store(due, Ordering::SeqCst);
        self.publish_at(&[(endpoint.to_owned(), id.to_owned())], due);
        self.finished().await;
        self.store.row(id)
    }

    /// Waits until all records are finished.
    pub(super) async fn finished(&self) {
        let next = Offset(self.next.load(Ordering::SeqCst));
        self.edge.until(|asked| asked.contains(&Asked::Commit(deliveries(), next))).await;
    }

    pub(super) fn letters(&self) -> Vec<(&'static str, String)> {
        let each = |asked: Asked| match asked {
            Asked::Letter { reason, failure, .. } => Some((reason.code(), failure.to_string())),
            _ => None,
        };
        self.edge.asked().into_iter().filter_map(each).collect()
    }

    /// Drains and checks the end.
    pub(super) async fn end(self) {
        self.control.send(Control::Drain { within: PATIENCE }).unwrap();
        assert_eq!(tokio::time::timeout(PATIENCE, self.driver).await.unwrap().unwrap(), Ending::Drained);
    }
}
