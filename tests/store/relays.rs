//! Many at one outbox in PostgreSQL: relays, writers and members on connections of their own.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postroom::adapters::store::PostgresStore;
use postroom::core::{Offset, Partition, Topic, TopicPartition};
use postroom::event::EventId;
use postroom::ports::{
    Applied, Arrival, Change, Claim, Guard, Ledger, MailSource, Origin, Outbox, PersonChange, PersonContent,
    PersonFact, Request, RequestEnding, Reservation, Store, ThreadComment, ThreadPost, Unit,
};
use postroom::testkit::store_contract::Bench as _;

use crate::server::OnPostgres;

const MINUTE: Duration = Duration::from_secs(60);
const RECIPIENTS: usize = 12;
const WRITERS: usize = 3;
const ROUNDS: usize = 8;
const RELAYS: usize = 4;

/// Somebody who changes the tables under a claim of their own.
struct Owner {
    store: PostgresStore,
    claim: Claim,
}

impl Owner {
    async fn new(store: &PostgresStore, group: &str) -> Self {
        let place = TopicPartition::new(Topic::new(group), Partition(0));
        Self { store: store.clone(), claim: store.claim(group, &place).await.unwrap() }
    }

    async fn apply(&mut self, changes: Vec<Change>) {
        let next = self.claim.next.map_or(Offset(1), Offset::next);
        let unit = Unit { guard: Guard::Position { next }, changes };
        assert_eq!(self.store.apply(&mut self.claim, unit).await, Ok(Applied::Committed));
    }
}

fn origin(event: &str) -> Origin {
    Origin { event: EventId::parse(event).unwrap(), time: 5, arrival: Arrival::InOrder }
}

fn source() -> Option<MailSource> {
    Some(MailSource { blog: "b".to_owned(), format: None, text: None, max_age: i64::MAX })
}

fn contact(user: &str, has_address: bool) -> Change {
    let email = has_address.then(|| format!("{user}@readers.example"));
    let fact = PersonFact::Updated(PersonContent { email, ..PersonContent::default() });
    Change::Contact(PersonChange { user: user.to_owned(), origin: origin(&format!("{user}-known")), fact })
}

fn post(post: &str, author: &str) -> Change {
    let (post, author) = (post.to_owned(), author.to_owned());
    let origin = origin(&format!("{post}-published"));
    Change::ThreadPost(ThreadPost { post, author, origin, mail: source() })
}

fn comment(comment: &str, post: &str) -> Change {
    let (post, comment, author) = (post.to_owned(), comment.to_owned(), "somebody".to_owned());
    let origin = origin(&comment);
    Change::ThreadComment(ThreadComment { post, comment, author, origin, mail: source() })
}

fn closed(id: &str, time: i64) -> Change {
    let (id, ending, reply) = (id.to_owned(), RequestEnding::Done, "250 ok".to_owned());
    Change::RequestClosed { id, ending, reply, time }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond() + 1_000
}

/// What everybody sees of the whole.
#[derive(Default)]
struct Board {
    /// The rows that were ever taken: no lease ends here.
    taken: HashSet<i64>,
    /// Who has a row with a relay or out.
    out: HashSet<String>,
    /// What was done, by recipient and writer, in that order.
    done: BTreeMap<(String, usize), Vec<String>>,
    count: usize,
}

/// Each writer writes to all recipients, in an order of its own, so that they meet.
async fn writer(store: PostgresStore, number: usize) {
    let mut owner = Owner::new(&store, &format!("writer-{number}")).await;
    for round in 0..ROUNDS {
        let mut recipients: Vec<_> = (0..RECIPIENTS).collect();
        fastrand::Rng::with_seed(u64::try_from(number * ROUNDS + round).unwrap()).shuffle(&mut recipients);
        let told = recipients.iter().map(|recipient| {
            let name = format!("c-{number}-{recipient:02}-{round:02}");
            comment(&name, &format!("p-{number}-{recipient:02}"))
        });
        owner.apply(told.collect()).await;
        tokio::task::yield_now().await;
    }
}

/// A relay, and whoever carries out what it publishes.
async fn relay(store: PostgresStore, number: usize, board: Arc<Mutex<Board>>) {
    let mut mail = Owner::new(&store, &format!("mail-{number}")).await;
    while board.lock().unwrap().count < RECIPIENTS * WRITERS * ROUNDS {
        let due = store.take_due(now(), 5, MINUTE).await.unwrap();
        let mails: Vec<_> = due
            .iter()
            .map(|row| match &row.request {
                Request::Mail(mail) => (row.row, mail.clone()),
                Request::Webhook(_) => panic!("{row:?}"),
            })
            .collect();
        {
            let mut board = board.lock().unwrap();
            for (row, mail) in &mails {
                assert!(board.taken.insert(*row), "row {row} was taken by two");
                assert!(board.out.insert(mail.recipient.clone()), "two are out to {}", mail.recipient);
            }
        }
        store.published(due.iter().map(|row| row.row).collect(), now(), MINUTE).await.unwrap();
        for (_, request) in mails {
            let owner = format!("owner-{number}");
            let reserved = store.reserve(&request.event_id, &owner, now(), MINUTE).await;
            assert_eq!(reserved, Ok(Reservation::Ours { attempt: 1 }));
            {
                let mut board = board.lock().unwrap();
                assert!(board.out.remove(&request.recipient));
                let comment = request.comment_id.clone().unwrap();
                let writer = comment.split('-').nth(1).unwrap().parse().unwrap();
                board.done.entry((request.recipient.clone(), writer)).or_default().push(comment);
                board.count += 1;
            }
            mail.apply(vec![closed(&request.event_id, now())]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn relays_at_once_take_each_row_once_and_one_of_a_recipient_in_its_order() {
    let Some(bench) = OnPostgres::new() else { return };
    let first = bench.open().await;
    let mut owner = Owner::new(&first, "setup").await;
    let mut setup = Vec::new();
    for recipient in 0..RECIPIENTS {
        let name = format!("r-{recipient:02}");
        setup.push(contact(&name, true));
        setup.extend((0..WRITERS).map(|writer| post(&format!("p-{writer}-{recipient:02}"), &name)));
    }
    owner.apply(setup).await;
    let board = Arc::new(Mutex::new(Board::default()));

    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        tasks.spawn(writer(bench.open().await, number));
    }
    for number in 0..RELAYS {
        tasks.spawn(relay(bench.open().await, number, Arc::clone(&board)));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }

    assert_eq!(first.backlog(now()).await.unwrap(), Default::default());
    let board = board.lock().unwrap();
    assert_eq!(board.taken.len(), RECIPIENTS * WRITERS * ROUNDS);
    for ((recipient, writer), comments) in &board.done {
        assert_eq!(comments.len(), ROUNDS, "{recipient}, {writer}");
        assert!(comments.is_sorted(), "{recipient} hears in order: {comments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_members_that_reserve_at_once_one_has_it() {
    let Some(bench) = OnPostgres::new() else { return };
    let mut members = Vec::new();
    for _ in 0..6 {
        members.push(bench.open().await);
    }
    let now = now();

    for request in 0..20 {
        let asked = members.iter().enumerate().map(|(number, member)| {
            let (member, id) = (member.clone(), format!("request-{request}"));
            tokio::spawn(
                async move { member.reserve(&id, &format!("m{number}"), now, MINUTE).await.unwrap() },
            )
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await.unwrap());
        }

        let held = Reservation::Held { until: now + 60_000 };
        let ours = answers.iter().filter(|answer| **answer == Reservation::Ours { attempt: 1 }).count();
        let others = answers.iter().filter(|answer| **answer == held).count();
        assert_eq!((ours, others), (1, 5), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn address_that_comes_while_its_mail_is_taken_is_not_missed() {
    let Some(bench) = OnPostgres::new() else { return };
    let (store, other) = (bench.open().await, bench.open().await);
    let (mut notify, mut threads) =
        (Owner::new(&store, "contacts").await, Owner::new(&store, "threads").await);

    for number in 0..40 {
        let (author, place) = (format!("a{number}"), format!("p{number}"));
        threads.apply(vec![post(&place, &author), comment(&format!("c{number}"), &place)]).await;
        let (taking, taken) = (other.clone(), now());
        let take = tokio::spawn(async move { taking.take_due(taken, 10, MINUTE).await.unwrap() });
        notify.apply(vec![contact(&author, true)]).await;
        let mut due = take.await.unwrap();
        due.extend(store.take_due(taken, 10, MINUTE).await.unwrap());

        assert_eq!(due.len(), 1, "the mail to {author}");
        store.given_up(due.first().unwrap().row, taken, "enough").await.unwrap();
    }
}

#[tokio::test]
async fn what_is_asked_often_is_looked_up() {
    let Some(bench) = OnPostgres::new() else { return };
    let (client, connection) = tokio_postgres::connect(bench.url(), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let store = bench.open().await;
    client
        .batch_execute(&format!(
            "SET search_path = {}; SET enable_seqscan = off; SET enable_bitmapscan = off",
            bench.schema()
        ))
        .await
        .unwrap();
    let questions = [
        (
            "SELECT id FROM requests WHERE state = 1 AND kind = 'mail' AND due <= 9 ORDER BY due, id LIMIT 9
             FOR UPDATE SKIP LOCKED",
            "requests_by_state",
        ),
        ("SELECT 1 FROM requests WHERE state IN (3, 5) AND kind = 'mail' LIMIT 9", "requests_by_state"),
        (
            "SELECT id FROM requests WHERE kind = 'mail' AND addressee = 'a' AND state BETWEEN 1 AND 4 LIMIT 1",
            "requests_heads",
        ),
        (
            "SELECT id FROM requests WHERE kind = 'mail' AND addressee = 'a' AND state = 0 ORDER BY id LIMIT 1",
            "requests_queued",
        ),
        (
            "SELECT id FROM requests WHERE unsettled AND state BETWEEN 0 AND 0 ORDER BY state, due LIMIT 9
             FOR UPDATE SKIP LOCKED",
            "requests_unsettled",
        ),
        (
            "SELECT due FROM requests WHERE unsettled AND state = 0 AND due <= 9 ORDER BY due LIMIT 1",
            "requests_unsettled",
        ),
        ("SELECT id FROM requests WHERE event = 'e'", "requests_by_event"),
        ("SELECT 1 FROM notifications WHERE event = 'e'", "notifications_by_event"),
        (
            "SELECT arrival FROM webhook_fan_outs WHERE expanded_to IS NOT NULL ORDER BY arrival LIMIT 1",
            "webhook_fan_outs_open",
        ),
        (
            "SELECT number FROM documents WHERE state = 1 AND author_key = 'a' ORDER BY time DESC LIMIT 9",
            "documents_by_author",
        ),
        ("SELECT number FROM documents WHERE state = 1 ORDER BY time DESC LIMIT 9", "documents_by_time"),
    ];

    client
        .batch_execute(
            "INSERT INTO documents (kind, id, state, since, is_cut, time, content_time, author_key)
                 SELECT 0, n::text, 1, 0, false, n, 0, 'a' || n % 500 FROM generate_series(1, 5000) n;
             ANALYZE documents",
        )
        .await
        .unwrap();

    for (question, index) in questions {
        let plan = client.query(&format!("EXPLAIN {question}"), &[]).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Sort"), "{question}: {plan}");
    }
    client.batch_execute("SET enable_bitmapscan = on; SET enable_indexscan = off").await.unwrap();
    let words = "EXPLAIN SELECT number FROM documents WHERE state = 1 AND lexemes @@ '''ferry'''::tsquery";
    let plan = client.query(words, &[]).await.unwrap();
    assert!(plan.iter().any(|row| row.get::<_, String>(0).contains("documents_by_word")), "{plan:?}");
    drop((store, client));
    connection.await.unwrap().unwrap();
}
