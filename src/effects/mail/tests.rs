//! The handler against a ledger in memory and a relay that says what it is told to say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postroom_core::{Attempt, Class, Offset, Partition, Reason as Code, Topic, TopicPartition};

use super::{Mail, Stationery, Templates};
use crate::config::OnUnknown;
use crate::event::{Envelope, EventId, MailRequested, RawBatchBuilder, RawHeader, RawParts};
use crate::handler::{Context, Error, Handler};
use crate::ports::{
    Applied, Change, Claim, Endpoint, Endpoints, IfUnknown, Ledger, Mail as Sent, MailError, MailFuture,
    MailReply, Mailer, RequestEnding, Reservation, Store, StoreError, StoreFuture, StoreId, Unit,
};

const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;

static CLOCK: AtomicI64 = AtomicI64::new(NOW);

#[derive(Default)]
struct Relay {
    answers: Mutex<VecDeque<Result<MailReply, MailError>>>,
    sent: Mutex<Vec<Sent>>,
}

impl Mailer for Relay {
    fn turn(&self) -> MailFuture<'_, ()> {
        Box::pin(async {})
    }

    fn send<'a>(&'a self, mail: &'a Sent) -> MailFuture<'a, Result<MailReply, MailError>> {
        Box::pin(async {
            self.sent.lock().unwrap().push(mail.clone());
            self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Ok(MailReply("250 ok".to_owned())))
        })
    }
}

/// What the ledger knows of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    attempts: u32,
    reserved: bool,
    not_before: Option<i64>,
    reply: String,
}

struct InMemory {
    id: StoreId,
    rows: Mutex<BTreeMap<String, Row>>,
    /// What it answers instead.
    instead: Mutex<Option<Reservation>>,
}

impl Ledger for InMemory {
    fn reserve_with<'a>(
        &'a self,
        id: &'a str,
        _owner: &'a str,
        _now: i64,
        _lease: Duration,
        _: IfUnknown,
    ) -> StoreFuture<'a, Reservation> {
        Box::pin(async move {
            if let Some(instead) = self.instead.lock().unwrap().take() {
                return Ok(instead);
            }
            let mut rows = self.rows.lock().unwrap();
            let row = rows.entry(id.to_owned()).or_default();
            row.attempts += 1;
            row.reserved = true;
            Ok(Reservation::Ours { attempt: row.attempts })
        })
    }

    fn defer<'a>(
        &'a self,
        id: &'a str,
        _owner: &'a str,
        _now: i64,
        not_before: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut rows = self.rows.lock().unwrap();
            let row = rows.entry(id.to_owned()).or_default();
            (row.reserved, row.not_before, row.reply) = (false, Some(not_before), reply.to_owned());
            Ok(())
        })
    }

    fn attempt_failed<'a>(
        &'a self,
        id: &'a str,
        _owner: &'a str,
        _now: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut rows = self.rows.lock().unwrap();
            let row = rows.entry(id.to_owned()).or_default();
            (row.reserved, row.reply) = (false, reply.to_owned());
            Ok(())
        })
    }

    fn done<'a>(&'a self, _id: &'a str, _now: i64, _reply: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async { unasked() })
    }

    fn died<'a>(&'a self, _id: &'a str, _now: i64, _why: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async { unasked() })
    }
}

impl Endpoints for InMemory {
    fn endpoint<'a>(&'a self, _id: &'a str) -> StoreFuture<'a, Option<Endpoint>> {
        Box::pin(async { unasked() })
    }

    fn endpoints(&self) -> StoreFuture<'_, Vec<Endpoint>> {
        Box::pin(async { unasked() })
    }

    fn disabled_endpoints(&self) -> StoreFuture<'_, u64> {
        Box::pin(async { unasked() })
    }

    fn put_endpoint(&self, _endpoint: Endpoint) -> StoreFuture<'_, ()> {
        Box::pin(async { unasked() })
    }

    fn remove_endpoint<'a>(&'a self, _id: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(async { unasked() })
    }

    fn disable_endpoint<'a>(&'a self, _id: &'a str, _now: i64, _why: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async { unasked() })
    }

    fn endpoint_failed<'a>(&'a self, _id: &'a str, _now: i64, _pause: Duration) -> StoreFuture<'a, i64> {
        Box::pin(async { unasked() })
    }

    fn endpoint_answered<'a>(&'a self, _id: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async { unasked() })
    }
}

impl Store for InMemory {
    fn id(&self) -> &StoreId {
        &self.id
    }

    fn claim<'a>(&'a self, _group: &'a str, _partition: &'a TopicPartition) -> StoreFuture<'a, Claim> {
        Box::pin(async { unasked() })
    }

    fn apply<'a>(&'a self, _claim: &'a mut Claim, _unit: Unit) -> StoreFuture<'a, Applied> {
        Box::pin(async { unasked() })
    }

    fn count_attempt<'a>(
        &'a self,
        _group: &'a str,
        _partition: &'a TopicPartition,
        _offset: Offset,
        _attempt: Attempt,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async { unasked() })
    }

    fn forget_attempts<'a>(
        &'a self,
        _group: &'a str,
        _partition: &'a TopicPartition,
        _below: Offset,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async { unasked() })
    }
}

fn unasked<V>() -> Result<V, StoreError> {
    Err(StoreError::Refused("the handler has no need of it".to_owned()))
}

/// A handler with what is around it.
struct Bench {
    relay: Arc<Relay>,
    store: Arc<InMemory>,
    mail: Mail,
}

/// What an attempt left behind.
struct Left {
    result: Result<(), Error>,
    closed: Vec<(RequestEnding, String)>,
}

impl Bench {
    fn new(on_unknown: OnUnknown) -> Self {
        let relay = Arc::new(Relay::default());
        let store =
            InMemory { id: StoreId("memory".to_owned()), rows: Mutex::default(), instead: Mutex::default() };
        let mail = Mail {
            mailer: Arc::<Relay>::clone(&relay),
            stationery: Stationery {
                from: "The Blog <blog@blog.example>".parse().unwrap(),
                domain: "blog.example".to_owned(),
                link: None,
                unsubscribe: None,
                templates: Templates::new([]).unwrap(),
            },
            budget: Duration::from_secs(2 * 86_400),
            on_unknown,
            owner: "us".to_owned(),
            now: || CLOCK.load(Ordering::SeqCst),
        };
        Self { relay, store: Arc::new(store), mail }
    }

    fn answering(self, answer: Result<MailReply, MailError>) -> Self {
        self.relay.answers.lock().unwrap().push_back(answer);
        self
    }

    fn reserving(self, instead: Reservation) -> Self {
        *self.store.instead.lock().unwrap() = Some(instead);
        self
    }

    fn sent(&self) -> Vec<Sent> {
        self.relay.sent.lock().unwrap().clone()
    }

    fn row(&self) -> Row {
        self.store.rows.lock().unwrap().get("mail-1").cloned().unwrap_or_default()
    }

    async fn handle(&self, request: MailRequested) -> Left {
        let mut context = Context {
            group: "mail".into(),
            attempt: Attempt(1),
            deadline: Duration::from_secs(30),
            is_replay: false,
            changes: Vec::new(),
            store: Arc::<InMemory>::clone(&self.store),
            meter: crate::handler::no_meter(),
        };
        let result = self.mail.handle(&envelope(request), &mut context).await;
        let closed = context.changes.into_iter().map(|change| {
            let Change::RequestClosed { ending, reply, .. } = change else { panic!("{change:?}") };
            (ending, reply)
        });
        Left { result, closed: closed.collect() }
    }
}

impl Left {
    fn class(&self) -> Option<Class> {
        self.result.clone().err()?.failure().map(|failure| failure.class)
    }

    fn is_dead(&self, reason: Code) -> bool {
        self.class() == Some(Class::Dead(reason))
            && self.closed.len() == 1
            && self.closed[0].0 == RequestEnding::Dead
    }

    fn is_parked(&self) -> bool {
        self.class() == Some(Class::Dead(Code::Rejected))
            && self.closed.len() == 1
            && self.closed[0].0 == RequestEnding::Unknown
    }

    fn is_outage(&self) -> bool {
        matches!(self.class(), Some(Class::Outage(dependency)) if dependency.0 == "smtp")
            && self.closed.is_empty()
    }

    fn is_deferred(&self) -> bool {
        self.result.as_ref().is_err_and(Error::is_deferred) && self.closed.is_empty()
    }
}

fn envelope(request: MailRequested) -> Envelope<MailRequested> {
    let mut batch = RawBatchBuilder::new(TopicPartition::new(Topic::new("blog.mail"), Partition(0)));
    let parts = RawParts { offset: Offset(0), timestamp: Some(NOW), key: None, value: None };
    batch.push(parts, std::iter::empty::<RawHeader<'_>>());
    Envelope {
        id: EventId::parse(&request.event_id).unwrap(),
        event_type: "mail.requested",
        time: NOW,
        event: request,
        record: batch.finish().remove(0),
    }
}

fn request() -> MailRequested {
    MailRequested {
        event_id: "mail-1".to_owned(),
        blog: "blog".to_owned(),
        recipient: "ana".to_owned(),
        address: "ana@example.org".to_owned(),
        locale: "en".to_owned(),
        reason: "comment".to_owned(),
        source_event: "event-1".to_owned(),
        post_id: Some("post-1".to_owned()),
        post_title: Some("Hello".to_owned()),
        text: Some("First!".to_owned()),
        requested_at: NOW,
        occurred_at: NOW,
        ..MailRequested::default()
    }
}

fn told<E>(error: impl FnOnce(String) -> E) -> Result<MailReply, E> {
    Err(error("450 come back".to_owned()))
}

#[tokio::test]
async fn a_mail_that_the_relay_takes_closes_its_row() {
    let bench = Bench::new(OnUnknown::Resend);

    let left = bench.handle(request()).await;

    assert!(left.result.is_ok());
    assert_eq!(left.closed, [(RequestEnding::Done, "250 ok".to_owned())]);
    assert_eq!(bench.sent().iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), ["ana@example.org"]);
}

#[tokio::test]
async fn the_relays_refusal_is_a_dead_letter_and_closes_the_row() {
    let bench = Bench::new(OnUnknown::Resend).answering(told(MailError::Refused));

    let left = bench.handle(request()).await;

    assert!(left.is_dead(Code::Rejected));
    assert!(!bench.row().reserved);
}

#[tokio::test]
async fn a_bad_address_is_a_dead_letter_without_an_attempt() {
    let bench = Bench::new(OnUnknown::Resend);

    let left = bench
        .handle(MailRequested { address: "ana@example.org\r\nRCPT TO:<e@x>".to_owned(), ..request() })
        .await;

    assert!(left.is_dead(Code::Invalid));
    assert_eq!((bench.sent().len(), bench.row().attempts), (0, 0));
}

#[tokio::test]
async fn not_now_waits_in_the_outbox_until_its_time_is_over() {
    let bench = Bench::new(OnUnknown::Resend)
        .answering(told(MailError::Later))
        .answering(told(MailError::Later))
        .answering(told(MailError::Later));

    let first = bench.handle(request()).await;
    let waits = bench.row().not_before.unwrap() - NOW;
    let nearly_over = bench.handle(MailRequested { requested_at: NOW - 2 * DAY + 500, ..request() }).await;
    let last = bench.row().not_before.unwrap() - NOW;
    let over = bench.handle(MailRequested { requested_at: NOW - 2 * DAY, ..request() }).await;

    assert!(first.is_deferred() && nearly_over.is_deferred());
    assert!((1_000..60_000).contains(&waits), "{waits}");
    assert_eq!(last, 500, "the last attempt is made when the time is over");
    assert!(over.is_dead(Code::Exhausted));
    assert_eq!(bench.row().reply, "450 come back");
}

#[tokio::test]
async fn a_relay_that_is_away_or_refuses_us_kills_no_mail() {
    for error in [told(MailError::Away), told(MailError::Misconfigured)] {
        let bench = Bench::new(OnUnknown::Park).answering(error);

        let left = bench.handle(request()).await;

        assert!(left.is_outage());
        assert!(!bench.row().reserved, "the attempt is over");
    }
}

#[tokio::test]
async fn a_lost_reply_is_sent_again_or_parked() {
    let resending = Bench::new(OnUnknown::Resend).answering(told(MailError::Unknown));
    let parking = Bench::new(OnUnknown::Park).answering(told(MailError::Unknown));

    assert!(resending.handle(request()).await.is_deferred());
    assert!(parking.handle(request()).await.is_parked());
    assert!(parking.row().reserved, "nobody says that it was not sent");
}

#[tokio::test]
async fn a_reservation_that_ended_while_the_process_was_stopped_is_not_used() {
    static LATER: AtomicI64 = AtomicI64::new(NOW);
    let mut bench = Bench::new(OnUnknown::Resend);
    bench.mail.now = || LATER.fetch_add(60_000, Ordering::SeqCst);

    let left = bench.handle(request()).await;
    bench.store.rows.lock().unwrap().entry("mail-1".to_owned()).or_default().reserved = true;
    let unknown = Reservation::Unknown { attempt: 2, by: "them/blog.mail/0/0".to_owned() };
    let row = bench.row();
    let bench = bench.reserving(unknown);
    let of_unknown = bench.handle(request()).await;

    for left in [&left, &of_unknown] {
        assert!(matches!(left.class(), Some(Class::Transient { .. })) && left.closed.is_empty());
    }
    assert_eq!(row.reply, "the reservation had ended before the mail could be sent", "it sent nothing");
    assert_eq!(bench.row(), row, "of the attempt before it knows nothing");
    assert_eq!(bench.sent().len(), 0);
}

#[tokio::test]
async fn what_a_dead_process_left_open_is_sent_again_or_parked() {
    let unknown = || Reservation::Unknown { attempt: 2, by: "them/blog.mail/0/0".to_owned() };
    let resending = Bench::new(OnUnknown::Resend).reserving(unknown());
    let parking = Bench::new(OnUnknown::Park).reserving(unknown());

    assert!(resending.handle(request()).await.result.is_ok());
    assert!(parking.handle(request()).await.is_parked());
    assert_eq!((resending.sent().len(), parking.sent().len()), (1, 0));
}

#[tokio::test]
async fn what_was_sent_is_held_or_is_no_longer_wanted_is_not_sent() {
    let done = Bench::new(OnUnknown::Resend).reserving(Reservation::Done);
    let held = Bench::new(OnUnknown::Resend).reserving(Reservation::Held { until: NOW + 9_000 });
    let withdrawn = Bench::new(OnUnknown::Resend).reserving(Reservation::Withdrawn);

    let (skipped, waits, closed) =
        (done.handle(request()).await, held.handle(request()).await, withdrawn.handle(request()).await);

    assert!(skipped.class().is_none() && skipped.closed.is_empty());
    assert!(
        matches!(waits.class(), Some(Class::Transient { retry_after: Some(wait), .. }) if wait == Duration::from_secs(9))
    );
    assert!(closed.class().is_none());
    assert_eq!(closed.closed[0].0, RequestEnding::Withdrawn);
    assert_eq!(done.sent().len() + held.sent().len() + withdrawn.sent().len(), 0);
}

#[tokio::test]
async fn every_attempt_sends_the_same_mail() {
    let bench = Bench::new(OnUnknown::Resend).answering(told(MailError::Later));

    bench.handle(request()).await;
    bench.handle(request()).await;

    let sent = bench.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
}
