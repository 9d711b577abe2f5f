//! An hour of greylisting in virtual time, through the real outbox and ledger: nothing is dead-lettered, everything is
//! sent once, and of each recipient in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postroom_core::{Attempt, Offset, Partition, Topic, TopicPartition};

use crate::adapters::store::SqliteStore;
use crate::config::OnUnknown;
use crate::effects::mail::{Mail, Stationery, Templates};
use crate::event::{Envelope, EventId, MailRequested, RawBatchBuilder, RawHeader, RawParts};
use crate::handler::{Context, Handler, no_meter};
use crate::ports::{
    self, Arrival, Change, Guard, MailError, MailFuture, MailReply, MailSource, Mailer, Origin, Outbox,
    PersonChange, PersonContent, PersonFact, Request, Store, ThreadComment, Unit,
};

/// The virtual present.
static CLOCK: AtomicI64 = AtomicI64::new(0);

fn now() -> i64 {
    CLOCK.load(Ordering::SeqCst)
}

/// A relay that takes nothing before a time.
struct Greylisting {
    opens: i64,
    refused: Mutex<u32>,
    /// Who got what, in the order of its coming.
    taken: Mutex<BTreeMap<String, Vec<Vec<u8>>>>,
}

impl Mailer for Greylisting {
    fn turn(&self) -> MailFuture<'_, ()> {
        Box::pin(async {})
    }

    fn send<'a>(&'a self, mail: &'a ports::Mail) -> MailFuture<'a, Result<MailReply, MailError>> {
        Box::pin(async move {
            if now() < self.opens {
                *self.refused.lock().unwrap() += 1;
                return Err(MailError::Later("451 4.7.1 greylisted".to_owned()));
            }
            let mut taken = self.taken.lock().unwrap();
            taken.entry(mail.to.clone()).or_default().push(mail.message.clone());
            Ok(MailReply("250 ok".to_owned()))
        })
    }
}

#[tokio::test]
async fn an_hour_of_greylisting_costs_nobody_a_mail() {
    const HOUR: i64 = 3_600_000;
    const READERS: usize = 20;
    const COMMENTS: usize = 5;
    let store = SqliteStore::in_memory().unwrap();
    let begin = jiff::Timestamp::now().as_millisecond() + 1_000;
    CLOCK.store(begin, Ordering::SeqCst);
    mails_of_a_thread(&store, READERS, COMMENTS).await;
    let relay =
        Arc::new(Greylisting { opens: begin + HOUR, refused: Mutex::default(), taken: Mutex::default() });
    let mail = mail(Arc::<Greylisting>::clone(&relay));

    let mut last = begin;
    while store.backlog(now()).await.unwrap().pending > 0 {
        for due in store.take_due(now(), 1_000, Duration::from_secs(90)).await.unwrap() {
            store.published(vec![due.row], now(), Duration::from_secs(3_600)).await.unwrap();
            let Request::Mail(request) = due.request else { panic!("a mail was asked for") };
            work(&store, &mail, *request).await;
        }
        last = now();
        CLOCK.fetch_add(1_000, Ordering::SeqCst);
        assert!(now() < begin + 12 * HOUR, "rows are left: {:?}", store.backlog(now()).await);
    }

    let taken = relay.taken.lock().unwrap();
    assert_eq!(taken.len(), READERS);
    for (reader, mails) in taken.iter() {
        let places: Vec<_> = mails.iter().map(|mail| comment_in(mail)).collect();
        assert_eq!(places, (0..COMMENTS).collect::<Vec<_>>(), "{reader}");
    }
    let refused = usize::try_from(*relay.refused.lock().unwrap()).unwrap();
    // The first mail of each reader was tried now and then; those behind it waited for it.
    assert!((3 * READERS..40 * READERS).contains(&refused), "{refused} were refused");
    assert!(last > begin + HOUR, "nothing could be over before the hour was");
}

/// Asks for mails: of `comments` comments, in their order, to each of `readers` who took part in the discussion before.
async fn mails_of_a_thread(store: &SqliteStore, readers: usize, comments: usize) {
    let origin =
        |event: String| Origin { event: EventId::parse(&event).unwrap(), time: 1, arrival: Arrival::InOrder };
    let written = |comment: String, author: &str, mail: Option<MailSource>| {
        let (post, author, origin) = ("p".to_owned(), author.to_owned(), origin(comment.clone()));
        Change::ThreadComment(ThreadComment { post, comment, author, origin, mail })
    };
    let mut changes = Vec::new();
    for reader in (0..readers).map(|number| format!("reader-{number}")) {
        let email = Some(format!("{reader}@readers.example"));
        let fact = PersonFact::Updated(PersonContent { email, ..PersonContent::default() });
        let origin = origin(format!("{reader}-known"));
        changes.push(Change::Contact(PersonChange { user: reader.clone(), origin, fact }));
        changes.push(written(format!("{reader}-c"), &reader, None));
    }
    for number in 0..comments {
        let text = Some(format!("comment number {number}"));
        let mail = MailSource { blog: "b".to_owned(), format: None, text, max_age: i64::MAX };
        changes.push(written(format!("c-{number}"), "writer", Some(mail)));
    }
    let place = TopicPartition::new(Topic::new("blog.comments"), Partition(0));
    let mut claim = store.claim("notify", &place).await.unwrap();
    store.apply(&mut claim, Unit { guard: Guard::Position { next: Offset(1) }, changes }).await.unwrap();
}

/// Carries out one request as a member does, and finishes its record.
async fn work(store: &SqliteStore, mail: &Mail, request: MailRequested) {
    let place = TopicPartition::new(Topic::new("blog.mail"), Partition(0));
    let mut batch = RawBatchBuilder::new(place.clone());
    let parts = RawParts { offset: Offset(0), timestamp: Some(now()), key: None, value: None };
    batch.push(parts, std::iter::empty::<RawHeader<'_>>());
    let id = EventId::parse(&request.event_id).unwrap();
    let envelope = Envelope {
        id: id.clone(),
        event_type: "mail.requested",
        time: now(),
        event: request,
        record: batch.finish().remove(0),
    };
    let mut context = Context {
        group: "mail".into(),
        attempt: Attempt(1),
        deadline: Duration::from_secs(30),
        is_replay: false,
        changes: Vec::new(),
        store: Arc::new(store.clone()),
        meter: no_meter(),
    };
    match mail.handle(&envelope, &mut context).await {
        Ok(()) => {
            let mut claim = store.claim("mail", &place).await.unwrap();
            let guard = Guard::Once { id: id.as_str().to_owned() };
            store.apply(&mut claim, Unit { guard, changes: context.changes }).await.unwrap();
        }
        Err(error) => assert!(error.is_deferred(), "{error:?}"),
    }
}

/// Which comment a mail tells of.
fn comment_in(mail: &[u8]) -> usize {
    let text = String::from_utf8_lossy(mail);
    let at = text.find("comment number ").unwrap();
    text[at..].chars().filter(char::is_ascii_digit).take(1).collect::<String>().parse().unwrap()
}

fn mail(relay: Arc<Greylisting>) -> Mail {
    Mail {
        mailer: relay,
        stationery: Stationery {
            from: "The Blog <blog@blog.example>".parse().unwrap(),
            domain: "blog.example".to_owned(),
            link: None,
            unsubscribe: None,
            templates: Templates::new([]).unwrap(),
        },
        budget: Duration::from_secs(2 * 86_400),
        on_unknown: OnUnknown::Resend,
        owner: "us".to_owned(),
        now,
    }
}
