//! Mails and deliveries in the ledger of a real store, whose partition moves or whose store goes away at the worst moment:
//! what the other side has is not sent again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::*;
use crate::config::OnUnknown;
use crate::effects::Webhooks;
use crate::effects::mail::{Mail, Stationery, Templates};
use crate::event::{MailRequested, WebhookRequested};
use crate::kafka::REPLAY_OF;
use crate::ports::{
    self, Endpoint, Endpoints, Ledger, MailError, MailFuture, MailReply, Mailer, Store, Web, WebError,
    WebFuture, WebRequest, WebResponse,
};

const NOW: i64 = 1_800_000_000_000;
const HOUR: i64 = 3_600_000;

/// What happens while the other side has a request and has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// The store goes away even before, when it is our turn; its ledger stays.
    StoreAwayBefore,
    /// Somebody else claims the partition.
    Moves,
    /// Somebody else claims it, and from now on the store takes its time.
    MovesSlowly,
    /// The store goes away.
    StoreAway,
}

/// The other side: a mail relay and an endpoint.
struct Other {
    store: Flaky,
    partition: TopicPartition,
    /// What happens at the first request.
    meanwhile: Mutex<Meanwhile>,
    /// Whether mails have no answer.
    silent: bool,
    asked: AtomicUsize,
}

impl Other {
    fn new(store: &Flaky, partition: TopicPartition, meanwhile: Meanwhile) -> Self {
        let meanwhile = Mutex::new(meanwhile);
        Self { store: store.clone(), partition, meanwhile, silent: false, asked: AtomicUsize::new(0) }
    }

    async fn takes_it(&self) {
        let meanwhile = std::mem::replace(&mut *self.meanwhile.lock().unwrap(), Meanwhile::Nothing);
        if matches!(meanwhile, Meanwhile::Moves | Meanwhile::MovesSlowly) {
            let group = format!("test.{}", self.partition.topic.as_str().trim_start_matches("blog."));
            self.store.inner.claim(&group, &self.partition).await.unwrap();
        }
        self.store.slow.store(meanwhile == Meanwhile::MovesSlowly, Ordering::SeqCst);
        self.store.away(meanwhile == Meanwhile::StoreAway);
        self.asked.fetch_add(1, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Mailer for Other {
    fn turn(&self) -> MailFuture<'_, ()> {
        Box::pin(async {
            if *self.meanwhile.lock().unwrap() == Meanwhile::StoreAwayBefore {
                self.store.away(true);
            }
        })
    }

    fn send<'a>(&'a self, _: &'a ports::Mail) -> MailFuture<'a, Result<MailReply, MailError>> {
        Box::pin(async {
            self.takes_it().await;
            if self.silent && self.asked() == 1 {
                return Err(MailError::Unknown("the connection broke".to_owned()));
            }
            Ok(MailReply("250 ok".to_owned()))
        })
    }
}

impl Web for Other {
    fn send(&self, _: WebRequest) -> WebFuture<'_, WebResponse> {
        Box::pin(async {
            self.takes_it().await;
            Ok::<_, WebError>(WebResponse { status: 200, headers: Vec::new(), body: Vec::new() })
        })
    }
}

/// A member that sends mails; `hours` says how late it is.
fn member(other: &Arc<Other>, on_unknown: OnUnknown, hours: &'static AtomicI64, now: fn() -> i64) -> Trial {
    hours.fetch_add(1, Ordering::SeqCst);
    let mail = Mail {
        mailer: Arc::<Other>::clone(other),
        stationery: Stationery {
            from: "The Blog <blog@blog.example>".parse().unwrap(),
            domain: "blog.example".to_owned(),
            link: None,
            unsubscribe: None,
            templates: Templates::new([]).unwrap(),
        },
        budget: Duration::from_secs(2 * 86_400),
        on_unknown,
        owner: format!("member-{}", hours.load(Ordering::SeqCst)),
        now,
    };
    Trial::start_on(other.store.clone(), |_| Group::each("mail", mail))
}

/// A member that delivers to an endpoint.
async fn deliverer(other: &Arc<Other>, owner: &str, now: impl Fn() -> i64 + Send + Sync + 'static) -> Trial {
    let endpoint = Endpoint {
        id: "shop".to_owned(),
        url: "https://shop.example/".to_owned(),
        secrets: vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()],
        types: Vec::new(),
        created_at: 0,
        disabled: None,
        failing_since: None,
    };
    other.store.put_endpoint(endpoint).await.unwrap();
    let day = Duration::from_secs(86_400);
    let effect = Webhooks::new(Arc::<Other>::clone(other), Arc::new(now), day, owner);
    Trial::start_on(other.store.clone(), |_| Group::each("webhooks", effect))
}

fn deliveries() -> TopicPartition {
    TopicPartition::new(Topic::new("blog.webhooks"), Partition(0))
}

fn mails() -> TopicPartition {
    TopicPartition::new(Topic::new("blog.mail"), Partition(0))
}

fn mail_replays() -> TopicPartition {
    TopicPartition::new(Topic::new("retry.test.mail"), Partition(0))
}

impl Trial {
    /// Polls a request as it stands at an offset.
    fn poll_request<E: EventRecord + serde::Serialize>(
        &self,
        at: &TopicPartition,
        generation: u64,
        offset: i64,
        event: &E,
    ) {
        let outgoing = self.codec.encode(event, Framing::ConfluentV0).unwrap();
        let replay = (*at == mail_replays()).then_some((REPLAY_OF, "test.mail/blog.mail/0/0"));
        let own = outgoing.headers.iter().map(|(name, value)| RawHeader { name, value: value.as_deref() });
        let more = replay.iter().map(|(name, value)| RawHeader { name, value: Some(value.as_bytes()) });
        let (key, value) = (outgoing.key.as_deref(), outgoing.value.as_deref());
        let mut builder = RawBatchBuilder::new(at.clone());
        let parts = RawParts { offset: Offset(offset), timestamp: Some(NOW), key, value };
        builder.push(parts, own.chain(more));
        let records = builder.finish().into_iter().map(polled).collect();
        let (generation, epoch) = (Generation(generation), FetchEpoch::default());
        self.edge.tell(EdgeEvent::Input(Input::Records { generation, epoch, records }));
    }

    async fn committed_at(&self, at: &TopicPartition, next: i64) -> Vec<Asked> {
        self.edge.until(|asked| asked.contains(&Asked::Commit(at.clone(), Offset(next)))).await
    }

    /// Waits until the ledger says that everything is done.
    async fn done(&self) {
        let done = "SELECT count(*) FROM ledger WHERE done = 1";
        let waited = async {
            while self.column(done).await != ["1"] {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "the ledger was not told");
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
        requested_at: NOW,
        occurred_at: NOW,
        ..MailRequested::default()
    }
}

fn delivery() -> WebhookRequested {
    WebhookRequested {
        event_id: "delivery-1".to_owned(),
        endpoint: "shop".to_owned(),
        source_event: "event-1".to_owned(),
        source_type: "post.published".to_owned(),
        body: "{}".to_owned(),
        requested_at: NOW,
        occurred_at: NOW,
        ..WebhookRequested::default()
    }
}

fn store() -> Flaky {
    Flaky::new(SqliteStore::in_memory().unwrap())
}

#[tokio::test]
async fn a_mail_that_is_parked_is_not_sent_again_though_the_store_goes_away_before_it_is_closed() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    let now = || NOW + HOURS.load(Ordering::SeqCst) * HOUR;
    let store = store();
    let other = Other { silent: true, ..Other::new(&store, mails(), Meanwhile::StoreAway) };
    let other = Arc::new(other);
    let trial = member(&other, OnUnknown::Park, &HOURS, now);
    trial.assign_at(mails(), 1, Some(0));
    trial.poll_request(&mails(), 1, 0, &request());

    until("the store is asked in vain", || store.refused.load(Ordering::SeqCst) > 0).await;
    HOURS.fetch_add(1, Ordering::SeqCst);
    store.away(false);
    let asked = trial.committed_at(&mails(), 1).await;

    assert_eq!(other.asked(), 1);
    assert!(matches!(letter(&asked).as_slice(), [("rejected", 0, _)]), "{asked:?}");
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_mail_that_is_parked_is_sent_by_a_replay_once_and_by_no_other_record() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    let now = || NOW + HOURS.load(Ordering::SeqCst) * HOUR;
    let other = Arc::new(Other { silent: true, ..Other::new(&store(), mails(), Meanwhile::Nothing) });
    let trial = member(&other, OnUnknown::Park, &HOURS, now);
    trial.assign_at(mails(), 1, Some(0));
    trial.poll_request(&mails(), 1, 0, &request());
    trial.committed_at(&mails(), 1).await;
    assert_eq!(trial.end().await, Ending::Drained);

    // The record once more, as after a crash before its letter, and a copy of it: whoever parked it had it closed.
    let trial = member(&other, OnUnknown::Park, &HOURS, now);
    trial.assign_at(mails(), 1, Some(0));
    trial.poll_request(&mails(), 1, 0, &request());
    trial.committed_at(&mails(), 1).await;
    HOURS.fetch_add(1, Ordering::SeqCst);
    trial.poll_request(&mails(), 1, 1, &request());
    let asked = trial.committed_at(&mails(), 2).await;
    assert_eq!(other.asked(), 1);
    assert!(matches!(letter(&asked).as_slice(), [("rejected", 0, _), ("rejected", 1, _)]), "{asked:?}");

    HOURS.fetch_add(1, Ordering::SeqCst);
    trial.assign_at(mail_replays(), 2, Some(0));
    trial.poll_request(&mail_replays(), 2, 0, &request());
    trial.poll_request(&mail_replays(), 2, 1, &request());
    trial.committed_at(&mail_replays(), 2).await;
    trial.poll_request(&mails(), 1, 2, &request());
    let asked = trial.committed_at(&mails(), 3).await;

    assert_eq!(other.asked(), 2);
    assert_eq!(letter(&asked).len(), 2);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_replay_that_parks_its_mail_again_does_not_send_it_when_it_comes_again_itself() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    let now = || NOW + HOURS.load(Ordering::SeqCst) * HOUR;
    let other = Arc::new(Other { silent: true, ..Other::new(&store(), mails(), Meanwhile::Nothing) });
    for replay in 0..2 {
        let trial = member(&other, OnUnknown::Park, &HOURS, now);
        trial.assign_at(mail_replays(), 1, Some(0));
        trial.poll_request(&mail_replays(), 1, 0, &request());
        let asked = trial.committed_at(&mail_replays(), 1).await;

        assert_eq!((other.asked(), letter(&asked).len()), (1, 1), "{replay}");
        assert_eq!(trial.end().await, Ending::Drained);
    }
}

#[tokio::test]
async fn a_replay_that_ended_without_a_word_is_not_sent_again_though_a_copy_comes_before_it_does() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    let now = || NOW + HOURS.load(Ordering::SeqCst) * HOUR;
    let other = Arc::new(Other { silent: true, ..Other::new(&store(), mails(), Meanwhile::Nothing) });
    let run = async |at: TopicPartition, offset| {
        let trial = member(&other, OnUnknown::Park, &HOURS, now);
        trial.assign_at(at.clone(), 1, Some(offset));
        trial.poll_request(&at, 1, offset, &request());
        trial.committed_at(&at, offset + 1).await;
        assert_eq!(trial.end().await, Ending::Drained);
        other.asked()
    };

    let replayed = run(mail_replays(), 0).await;
    let copied = run(mails(), 7).await;
    let replayed_again = run(mail_replays(), 0).await;
    let replayed_anew = run(mail_replays(), 1).await;

    assert_eq!((replayed, copied, replayed_again, replayed_anew), (1, 1, 1, 2));
}

#[tokio::test]
async fn a_mail_that_cannot_be_written_hides_no_attempt_before_and_its_replay_is_sent() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    let now = || NOW + HOURS.load(Ordering::SeqCst) * HOUR;
    let unwritable = || MailRequested { address: "ana@example.org\r\n".to_owned(), ..request() };
    for silent in [true, false] {
        let other = Arc::new(Other { silent, ..Other::new(&store(), mails(), Meanwhile::Nothing) });
        let run = async |at: TopicPartition, offset, request: MailRequested| {
            let trial = member(&other, OnUnknown::Park, &HOURS, now);
            trial.assign_at(at.clone(), 1, Some(offset));
            trial.poll_request(&at, 1, offset, &request);
            let asked = trial.committed_at(&at, offset + 1).await;
            assert_eq!(trial.end().await, Ending::Drained);
            (other.asked(), letter(&asked).first().map(|(reason, ..)| *reason))
        };

        if silent {
            assert_eq!(run(mails(), 0, request()).await, (1, Some("rejected")));
            assert_eq!(run(mails(), 1, unwritable()).await, (1, Some("invalid")));
            assert_eq!(run(mails(), 2, request()).await, (1, Some("rejected")), "it is still unknown");
            assert_eq!(run(mail_replays(), 0, request()).await, (2, None));
        } else {
            assert_eq!(run(mails(), 0, unwritable()).await, (0, Some("invalid")));
            assert_eq!(run(mail_replays(), 0, request()).await, (1, None));
        }
    }
}

#[tokio::test]
async fn who_finds_a_mail_unknown_and_dies_before_it_is_parked_hides_no_replay() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    let now = || NOW + HOURS.load(Ordering::SeqCst) * HOUR;
    let store = store();
    let other = Arc::new(Other::new(&store, mails(), Meanwhile::StoreAwayBefore));
    let replay = "member-0/retry.test.mail/0/0";
    store.inner.reserve("mail-1", replay, now(), Duration::from_secs(60)).await.unwrap();

    // The copy's letter is not closed.
    let copy = member(&other, OnUnknown::Park, &HOURS, now);
    copy.assign_at(mails(), 1, Some(0));
    copy.poll_request(&mails(), 1, 0, &request());
    until("the store is asked in vain", || store.refused.load(Ordering::SeqCst) > 0).await;
    assert_eq!(copy.column("SELECT owner FROM ledger").await, [replay]);
    *other.meanwhile.lock().unwrap() = Meanwhile::Nothing;
    store.away(false);
    copy.committed_at(&mails(), 1).await;
    assert_eq!(copy.end().await, Ending::Drained);

    let trial = member(&other, OnUnknown::Park, &HOURS, now);
    trial.assign_at(mail_replays(), 1, Some(0));
    trial.poll_request(&mail_replays(), 1, 0, &request());
    trial.committed_at(&mail_replays(), 1).await;

    assert_eq!(other.asked(), 0);
    assert_eq!(trial.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_mail_that_was_taken_while_its_partition_moved_is_not_sent_again() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    let now = || NOW + HOURS.load(Ordering::SeqCst) * HOUR;
    let other = Arc::new(Other::new(&store(), mails(), Meanwhile::Moves));
    let former = member(&other, OnUnknown::Resend, &HOURS, now);
    former.assign_at(mails(), 1, Some(0));
    former.poll_request(&mails(), 1, 0, &request());
    former.edge.until(|asked| asked.contains(&Asked::Verify)).await;

    let owner = member(&other, OnUnknown::Resend, &HOURS, now);
    owner.assign_at(mails(), 1, Some(0));
    owner.poll_request(&mails(), 1, 0, &request());
    owner.committed_at(&mails(), 1).await;

    assert_eq!(other.asked(), 1);
    assert_eq!(owner.end().await, Ending::Drained);
    assert_eq!(former.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_delivery_that_was_taken_while_its_partition_moved_is_not_sent_again() {
    let other = Arc::new(Other::new(&store(), deliveries(), Meanwhile::Moves));
    let former = deliverer(&other, "former", || NOW).await;
    former.assign_at(deliveries(), 1, Some(0));
    former.poll_request(&deliveries(), 1, 0, &delivery());
    former.edge.until(|asked| asked.contains(&Asked::Verify)).await;

    let owner = deliverer(&other, "owner", || NOW + HOUR).await;
    owner.assign_at(deliveries(), 1, Some(0));
    owner.poll_request(&deliveries(), 1, 0, &delivery());
    owner.committed_at(&deliveries(), 1).await;

    assert_eq!(other.asked(), 1);
    assert_eq!(owner.end().await, Ending::Drained);
    assert_eq!(former.end().await, Ending::Drained);
}

#[tokio::test]
async fn a_delivery_whose_reservation_ended_while_the_process_was_stopped_is_reserved_again() {
    let other = Arc::new(Other::new(&store(), deliveries(), Meanwhile::Nothing));
    let hours = AtomicI64::new(0);
    let member = deliverer(&other, "member", move || {
        // The third time that it looks, two hours have passed; then none any more.
        NOW + HOUR * hours.fetch_add(1, Ordering::SeqCst).min(2)
    });
    let member = member.await;
    member.assign_at(deliveries(), 1, Some(0));
    member.poll_request(&deliveries(), 1, 0, &delivery());
    member.committed_at(&deliveries(), 1).await;

    assert_eq!(other.asked(), 1);
    assert_eq!(member.column("SELECT count(*) FROM request_attempts").await, ["2"]);
    assert_eq!(member.end().await, Ending::Drained);
}

#[tokio::test]
async fn what_was_taken_before_the_partition_was_lost_is_written_down_all_the_same() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    let now = || NOW + HOURS.load(Ordering::SeqCst) * HOUR;
    let other = Arc::new(Other::new(&store(), mails(), Meanwhile::MovesSlowly));
    let former = member(&other, OnUnknown::Resend, &HOURS, now);
    former.assign_at(mails(), 1, Some(0));
    former.poll_request(&mails(), 1, 0, &request());
    until("the mail is to be closed", || other.store.units.load(Ordering::SeqCst) > 0).await;

    let generations = vec![Generation(1)];
    former.edge.tell(EdgeEvent::Input(Input::Lost { generations }));
    former.edge.until(|asked| asked.contains(&Asked::Released(Generation(1)))).await;

    former.done().await;
    assert_eq!(other.asked(), 1);
    assert_eq!(former.end().await, Ending::Drained);
}

#[tokio::test]
async fn what_was_taken_while_the_store_was_away_is_known_under_the_next_claim() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    let now = || NOW + HOURS.load(Ordering::SeqCst) * HOUR;
    let store = store();
    let other = Arc::new(Other::new(&store, mails(), Meanwhile::StoreAway));
    let trial = member(&other, OnUnknown::Resend, &HOURS, now);
    trial.assign_at(mails(), 1, Some(0));
    trial.poll_request(&mails(), 1, 0, &request());
    until("the store is asked in vain", || store.refused.load(Ordering::SeqCst) > 0).await;
    let generations = vec![Generation(1)];
    trial.edge.tell(EdgeEvent::Input(Input::Lost { generations }));
    trial.edge.until(|asked| asked.contains(&Asked::Released(Generation(1)))).await;

    HOURS.fetch_add(1, Ordering::SeqCst);
    store.away(false);
    trial.assign_at(mails(), 2, Some(0));
    trial.poll_request(&mails(), 2, 0, &request());
    trial.committed_at(&mails(), 1).await;

    assert_eq!(other.asked(), 1);
    assert_eq!(trial.end().await, Ending::Drained);
}
