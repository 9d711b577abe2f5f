//! What every outbox and ledger must do: one row of an addressee is out at a time, and each is done once.

use std::time::Duration;

use super::{Bench, claim, ledger};
use crate::event::EventId;
use crate::ports::{
    Applied, Arrival, Change, DueRow, Endpoint, Endpoints, FanOut, Guard, Ledger, MailSource, Origin, Outbox,
    PersonChange, PersonContent, PersonFact, Request, RequestEnding, Reservation, Rest, Store,
    SubscriptionChange, ThreadComment, ThreadPost, Unit, WebhookEvent, Welcome,
};

/// Runs all claims of the outbox and the ledger.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn everything<B: Bench>(bench: &B)
where
    B::Store: Outbox + FanOut,
{
    requests_of_a_recipient_go_out_one_after_the_other(bench).await;
    lease_that_ends_makes_a_row_due_again(bench).await;
    row_that_was_published_twice_is_done_once(bench).await;
    row_that_is_out_for_too_long_holds_nobody_up(bench).await;
    what_is_no_longer_wanted_is_withdrawn(bench).await;
    mail_waits_for_its_address(bench).await;
    replays_and_old_events_ask_for_nothing(bench).await;
    dead_letter_makes_way_and_may_be_replayed(bench).await;
    endpoints_are_told_of_what_they_want_in_its_order(bench).await;
    ledger::everything(bench).await;
}

/// Of a recipient one mail is out at a time, in the order in which they were asked for: a deferred one holds the later
/// ones up until it is done, whatever the span.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn requests_of_a_recipient_go_out_one_after_the_other<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let store = bench.open().await;
    thread(&store, "line", &["line-1", "line-2", "line-3"]).await;
    let now = now();

    let first = take(&store, now, "line").await;
    store.published(rows(&first), now, MINUTE).await.expect("it is marked");
    let blocked = take(&store, now, "line").await;
    let id = id_of(&first);
    assert_eq!(store.reserve(id, "me", now, MINUTE).await, Ok(Reservation::Ours { attempt: 1 }));
    store.defer(id, "me", now, now + DAY, "450 later").await.expect("it waits");
    let waiting = take(&store, now + DAY - 1, "line").await;
    let again = take(&store, now + DAY, "line").await;
    store.published(rows(&again), now + DAY, MINUTE).await.expect("it is marked");
    let attempt = store.reserve(id, "me", now + DAY, MINUTE).await;
    close(&store, "line", id, RequestEnding::Done, now + DAY).await;
    let second = take(&store, now + DAY, "line").await;
    close(&store, "line", id_of(&second), RequestEnding::Done, now + DAY).await;
    let third = take(&store, now + DAY, "line").await;

    assert_eq!(comments(&first), ["line-1"]);
    assert_eq!((blocked.len(), waiting.len()), (0, 0), "the first holds the others up");
    assert_eq!((comments(&again), attempt), (vec!["line-1"], Ok(Reservation::Ours { attempt: 2 })));
    assert_eq!((comments(&second), comments(&third)), (vec!["line-2"], vec!["line-3"]));
}

/// A row belongs to the relay that took it until its lease ends, and at once to others when it is given back.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn lease_that_ends_makes_a_row_due_again<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let (store, other) = (bench.open().await, bench.open().await);
    thread(&store, "lease", &["lease-1"]).await;
    let now = now();

    let taken = take(&store, now, "lease").await;
    let meanwhile = take(&other, now + 59_999, "lease").await;
    let after = take(&other, now + 60_000, "lease").await;
    other.given_back(rows(&after)).await.expect("it is given back");
    let back = take(&store, now + 60_000, "lease").await;

    assert_eq!((taken.len(), meanwhile.len()), (1, 0));
    assert_eq!((&after, &back), (&taken, &taken));
}

/// A relay that dies between publishing and marking publishes again, under the same id: the ledger says that it is done.
/// A mark that comes after the effect changes nothing.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn row_that_was_published_twice_is_done_once<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let store = bench.open().await;
    thread(&store, "twice", &["twice-1", "twice-2"]).await;
    let now = now();

    let first = take(&store, now, "twice").await;
    let later = now + 60_000;
    let again = take(&store, later, "twice").await;
    let id = id_of(&first);
    let reserved = store.reserve(id, "me", later, MINUTE).await;
    close(&store, "twice", id, RequestEnding::Done, later).await;
    store.published(rows(&again), later, MINUTE).await.expect("it is marked");
    let repeat = store.reserve(id, "you", later, MINUTE).await;
    store.defer(id, "me", later, later, "late").await.expect("what is done stays done");
    let next = take(&store, later, "twice").await;

    assert_eq!(id, id_of(&again));
    assert_eq!((reserved, repeat), (Ok(Reservation::Ours { attempt: 1 }), Ok(Reservation::Done)));
    assert_eq!(comments(&next), ["twice-2"]);
}

/// What is out beyond the relay's patience makes way for later rows, and can still be carried out or deferred.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn row_that_is_out_for_too_long_holds_nobody_up<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let store = bench.open().await;
    thread(&store, "patience", &["patience-1", "patience-2", "patience-3"]).await;
    let now = now();

    let first = take(&store, now, "patience").await;
    store.published(rows(&first), now, MINUTE).await.expect("it is marked");
    let before = take(&store, now + 59_999, "patience").await;
    let second = take(&store, now + 60_000, "patience").await;
    store.published(rows(&second), now + 60_000, MINUTE).await.expect("it is marked");
    let reserved = store.reserve(id_of(&first), "me", now + 60_000, MINUTE).await;
    store.defer(id_of(&first), "me", now + 60_000, now + 60_001, "450 later").await.expect("it waits");
    let one_at_a_time = take(&store, now + 60_002, "patience").await;
    close(&store, "patience", id_of(&second), RequestEnding::Done, now + 60_002).await;
    let back = take(&store, now + 60_002, "patience").await;

    assert_eq!((before.len(), comments(&second)), (0, vec!["patience-2"]));
    assert_eq!(reserved, Ok(Reservation::Ours { attempt: 1 }));
    assert_eq!((one_at_a_time.len(), comments(&back)), (0, vec!["patience-1"]));
}

/// Who unsubscribed gets no announcement any more, who is removed nothing at all, also of what is on its way.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn what_is_no_longer_wanted_is_withdrawn<B: Bench>(bench: &B)
where
    B::Store: Outbox + FanOut,
{
    let store = bench.open().await;
    let mut changes = Vec::new();
    for name in ["wanted-a", "wanted-b", "wanted-c", "wanted-d"] {
        changes.extend([contact(name, true), subscription(name, 1, true)]);
    }
    changes.push(post("wanted-p", "wanted-author", 5));
    apply(&store, "wanted", changes).await;
    while store.expand_fan_out(2).await.expect("it expands").rest == Rest::More {}
    let now = now();
    let gone =
        PersonChange { user: "wanted-d".to_owned(), origin: origin("gone", 9), fact: PersonFact::Removed };

    // One leaves before anything is taken, one takes part in nothing that happened before, one goes later.
    apply(&store, "wanted", vec![subscription("wanted-a", 6, false), subscription("wanted-b", 2, false)])
        .await;
    let taken = take(&store, now, "wanted").await;
    apply(&store, "wanted", vec![subscription("wanted-c", 7, false), Change::Contact(gone)]).await;
    let mut reserved = Vec::new();
    for row in &taken {
        reserved.push((recipient(row), store.reserve(id(row), "me", now, MINUTE).await));
    }
    let later = take(&store, now + DAY, "wanted").await;

    let withdrawn = Ok(Reservation::Withdrawn);
    assert_eq!(reserved, [("wanted-c", withdrawn.clone()), ("wanted-d", withdrawn)]);
    assert_eq!(later.len(), 0);
}

/// A mail whose recipient has no address is due when the address comes, and not before.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn mail_waits_for_its_address<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let store = bench.open().await;
    let mut changes = vec![contact("address-author", false), post("address-p", "address-author", 1)];
    changes.extend(["address-1", "address-2"].map(|comment| written(comment, "address-p", "address-writer")));
    apply(&store, "address", changes).await;
    let now = now();

    let before = take(&store, now, "address").await;
    apply(&store, "address", vec![contact("address-author", true)]).await;
    let after = take(&store, now, "address").await;

    assert_eq!((before.len(), comments(&after)), (0, vec!["address-1"]));
    match after.first().map(|row| &row.request) {
        Some(Request::Mail(mail)) => {
            assert_eq!(mail.address, "address-author@readers.example");
            assert_eq!((mail.post_id.as_deref(), mail.text.as_deref()), (Some("address-p"), Some("a text")));
        }
        other => assert!(matches!(other, Some(Request::Mail(_))), "{other:?}"),
    }
}

/// The same event again asks for no second mail, nor does one that is too old.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn replays_and_old_events_ask_for_nothing<B: Bench>(bench: &B)
where
    B::Store: Outbox + FanOut,
{
    let store = bench.open().await;
    let old = MailSource { max_age: 1_000, ..source() };
    let welcome = |user: &str, mail: MailSource| {
        let origin = origin(&format!("{user}-registered"), 5);
        Change::Welcome(Welcome { user: user.to_owned(), origin, mail: Some(mail) })
    };
    let setup = [contact("replay-a", true), contact("replay-b", true), subscription("replay-a", 100, true)];
    apply(&store, "replay", setup.to_vec()).await;
    let all = [welcome("replay-a", source()), welcome("replay-b", old), post("replay-p", "replay-b", 101)];
    let now = now();

    let mut taken = Vec::new();
    for _ in 0..3 {
        apply(&store, "replay", all.to_vec()).await;
        while store.expand_fan_out(100).await.expect("it expands").rest == Rest::More {}
        while let due = take(&store, now, "replay").await
            && let Some(row) = due.first()
        {
            close(&store, "replay", id(row), RequestEnding::Done, now).await;
            taken.extend(due);
        }
    }

    let told: Vec<_> = taken.iter().map(|row| (recipient(row), reason(row))).collect();
    assert_eq!(told, [("replay-a", "welcome"), ("replay-a", "post")]);
}

/// A dead letter's row makes way for the next, and its replay may still be done; what was withdrawn may not.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn dead_letter_makes_way_and_may_be_replayed<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let store = bench.open().await;
    thread(&store, "dead", &["dead-1", "dead-2"]).await;
    let now = now();

    let first = take(&store, now, "dead").await;
    store.reserve(id_of(&first), "me", now, MINUTE).await.expect("it is ours");
    store.attempt_failed(id_of(&first), "me", now, "550 no").await.expect("it is over");
    store.died(id_of(&first), now, "550 no").await.expect("it is closed");
    let second = take(&store, now, "dead").await;
    store
        .given_up(rows(&second).first().copied().unwrap_or_default(), now, "too large")
        .await
        .expect("closed");
    let replayed = store.reserve(id_of(&first), "me", now, MINUTE).await;
    store.defer(id_of(&first), "me", now, now, "450 later").await.expect("it waits again");
    let back = take(&store, now, "dead").await;

    assert_eq!((comments(&first), comments(&second)), (vec!["dead-1"], vec!["dead-2"]));
    assert_eq!(replayed, Ok(Reservation::Ours { attempt: 2 }));
    assert_eq!(comments(&back), ["dead-1"]);
}

/// Active endpoints hear of the events that they want, once and in the order of arrival; one that is disabled or gone
/// hears nothing more. Of an event that is too old nobody hears.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn endpoints_are_told_of_what_they_want_in_its_order<B: Bench>(bench: &B)
where
    B::Store: Outbox + FanOut,
{
    let store = bench.open().await;
    let of_age = |event: &str, event_type: &str, max_age: i64| {
        let (event_type, blog, body) =
            (event_type.to_owned(), "b".to_owned(), format!("{{\"id\":\"{event}\"}}"));
        Change::Webhooks(WebhookEvent { origin: origin(event, 5), event_type, blog, body, max_age })
    };
    let event = |event: &str, event_type: &str| of_age(event, event_type, i64::MAX);
    apply(&store, "hook", vec![event("hook-0", "post.published")]).await;
    for (name, types) in [("hook-all", ""), ("hook-posts", "post.published"), ("hook-off", "")] {
        store.put_endpoint(endpoint(name, types)).await.expect("it is there");
    }
    let events = [
        event("hook-1", "comment.created"),
        of_age("hook-old", "post.published", 1_000),
        event("hook-2", "post.published"),
        event("hook-1", "x"),
    ];
    apply(&store, "hook", events.to_vec()).await;
    while store.expand_fan_out(2).await.expect("it expands").rest == Rest::More {}
    store.disable_endpoint("hook-off", 1, "410").await.expect("it is disabled");
    let now = now();

    let mut told = Vec::new();
    while let due = take(&store, now, "hook").await
        && !due.is_empty()
    {
        for row in &due {
            if let Request::Webhook(hook) = &row.request {
                assert_eq!(hook.body, format!("{{\"id\":\"{}\"}}", hook.source_event));
                told.push((hook.endpoint.clone(), hook.source_event.clone()));
            }
            close(&store, "hook", id(row), RequestEnding::Done, now).await;
        }
    }
    for name in ["hook-all", "hook-posts", "hook-off"] {
        store.remove_endpoint(name).await.expect("it goes");
    }

    let pair = |endpoint: &str, event: &str| (endpoint.to_owned(), event.to_owned());
    told.sort();
    assert_eq!(told, [pair("hook-all", "hook-1"), pair("hook-all", "hook-2"), pair("hook-posts", "hook-2")]);
}

/// A thread whose author has an address, with comments of somebody else.
pub(super) async fn thread<S: Store>(store: &S, name: &str, comments: &[&str]) {
    let (author, post_id) = (format!("{name}-author"), format!("{name}-p"));
    let mut changes = vec![contact(&author, true), post(&post_id, &author, 1)];
    changes.extend(comments.iter().map(|comment| written(comment, &post_id, &format!("{name}-writer"))));
    apply(store, name, changes).await;
}

async fn apply<S: Store>(store: &S, group: &str, changes: Vec<Change>) {
    let mut owner = claim(store, group, 0).await;
    let next = owner.next.map_or(postroom_core::Offset(1), postroom_core::Offset::next);
    let unit = Unit { guard: Guard::Position { next }, changes };
    assert_eq!(store.apply(&mut owner, unit).await, Ok(Applied::Committed));
}

pub(super) async fn close<S: Store>(store: &S, group: &str, id: &str, ending: RequestEnding, time: i64) {
    let (id, reply) = (id.to_owned(), "250 ok".to_owned());
    apply(store, group, vec![Change::RequestClosed { id, ending, reply, time }]).await;
}

/// Takes what is due for a minute; gives back what belongs to other checks.
pub(super) async fn take<S: Outbox>(store: &S, now: i64, name: &str) -> Vec<DueRow> {
    let taken = store.take_due(now, 10_000, MINUTE).await.expect("it answers");
    let (mine, others): (Vec<_>, Vec<_>) =
        taken.into_iter().partition(|row| recipient(row).starts_with(name));
    store.given_back(rows(&others)).await.expect("it answers");
    mine
}

fn rows(due: &[DueRow]) -> Vec<i64> {
    due.iter().map(|row| row.row).collect()
}

fn id(row: &DueRow) -> &str {
    match &row.request {
        Request::Mail(mail) => &mail.event_id,
        Request::Webhook(hook) => &hook.event_id,
    }
}

pub(super) fn id_of(due: &[DueRow]) -> &str {
    due.first().map(id).unwrap_or_default()
}

fn recipient(row: &DueRow) -> &str {
    match &row.request {
        Request::Mail(mail) => &mail.recipient,
        Request::Webhook(hook) => &hook.endpoint,
    }
}

fn reason(row: &DueRow) -> &str {
    match &row.request {
        Request::Mail(mail) => &mail.reason,
        Request::Webhook(_) => "",
    }
}

pub(super) fn comments(due: &[DueRow]) -> Vec<&str> {
    due.iter()
        .filter_map(|row| match &row.request {
            Request::Mail(mail) => mail.comment_id.as_deref(),
            Request::Webhook(_) => None,
        })
        .collect()
}

fn origin(event: &str, time: i64) -> Origin {
    Origin { event: EventId::parse(event).expect("an id"), time, arrival: Arrival::InOrder }
}

fn source() -> MailSource {
    MailSource { blog: "b".to_owned(), format: None, text: Some("a text".to_owned()), max_age: i64::MAX }
}

fn post(post: &str, author: &str, time: i64) -> Change {
    let (post, author) = (post.to_owned(), author.to_owned());
    let origin = origin(&format!("{post}-published"), time);
    Change::ThreadPost(ThreadPost { post, author, origin, mail: Some(source()) })
}

fn written(comment: &str, post: &str, author: &str) -> Change {
    let (comment, post, author) = (comment.to_owned(), post.to_owned(), author.to_owned());
    let origin = origin(&comment, 2);
    Change::ThreadComment(ThreadComment { post, comment, author, origin, mail: Some(source()) })
}

fn contact(user: &str, reachable: bool) -> Change {
    let email = reachable.then(|| format!("{user}@readers.example"));
    let fact = PersonFact::Updated(PersonContent { email, ..PersonContent::default() });
    Change::Contact(PersonChange { user: user.to_owned(), origin: origin(&format!("{user}-known"), 1), fact })
}

fn subscription(user: &str, time: i64, subscribed: bool) -> Change {
    Change::Subscription(SubscriptionChange { user: user.to_owned(), time, subscribed })
}

fn endpoint(id: &str, types: &str) -> Endpoint {
    Endpoint {
        id: id.to_owned(),
        url: "https://hooks.example/".to_owned(),
        secrets: Vec::new(),
        types: types.lines().map(str::to_owned).collect(),
        created_at: 0,
        disabled: None,
        failing_since: None,
    }
}

/// Later than anything that the store has written by its own clock.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond() + 1_000
}

pub(super) const MINUTE: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400_000;
