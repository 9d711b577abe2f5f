//! What every ledger must do: one at a time carries a request out, and what became of it is not forgotten.

use super::outbox::{MINUTE, close, comments, id_of, now, take, thread};
use super::{Bench, claim};
use crate::ports::{IfUnknown, Ledger, Outbox, RequestEnding, Reservation, Store, StoreError};

/// Runs all claims of the ledger.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn everything<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    reservation_is_held_until_its_lease_ends(bench).await;
    what_is_unknown_stays_so_when_it_is_closed(bench).await;
    former_owner_opens_no_row_that_was_closed(bench).await;
    who_calls_a_request_dead_takes_nobodys_reservation(bench).await;
    what_the_other_side_has_is_done_under_any_claim(bench).await;
    request_that_nobody_asked_for_is_done_once_too(bench).await;
}

/// Nobody carries out what somebody else does, until their lease ends: then what they did is unknown. Who comes again
/// under the same name has ended its attempt without a word as well. Attempts are counted over all of that.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn reservation_is_held_until_its_lease_ends<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let (store, other) = (bench.open().await, bench.open().await);
    thread(&store, "held", &["held-1"]).await;
    let now = now();
    let taken = take(&store, now, "held").await;
    let id = id_of(&taken);

    let ours = store.reserve(id, "me", now, MINUTE).await;
    let held = other.reserve(id, "you", now + 59_999, MINUTE).await;
    let unknown = other.reserve(id, "you", now + 60_000, MINUTE).await;
    let same = other.reserve(id, "you", now + 60_001, MINUTE).await;
    // The former owner wakes up.
    store.attempt_failed(id, "me", now + 60_002, "421 later").await.expect("it is over");
    let still_held = store.reserve(id, "them", now + 60_002, MINUTE).await;
    other.attempt_failed(id, "you", now + 60_002, "421 later").await.expect("it is over");
    let clean = store.reserve(id, "me", now + 60_003, MINUTE).await;

    assert_eq!(
        (ours, held),
        (Ok(Reservation::Ours { attempt: 1 }), Ok(Reservation::Held { until: now + 60_000 }))
    );
    assert_eq!((unknown, same), (Ok(unknown_by(2, "me")), Ok(unknown_by(3, "you"))));
    assert_eq!(still_held, Ok(Reservation::Held { until: now + 120_001 }));
    assert_eq!(clean, Ok(Reservation::Ours { attempt: 4 }));
}

/// A request may be closed as a dead letter while nobody knows whether it was carried out: later ones need not wait for
/// it, and whoever reserves it again is told, until somebody says what became of it.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn what_is_unknown_stays_so_when_it_is_closed<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let store = bench.open().await;
    thread(&store, "unknown", &["unknown-1", "unknown-2"]).await;
    let now = now();

    let first = take(&store, now, "unknown").await;
    let id = id_of(&first);
    store.reserve(id, "me", now, MINUTE).await.expect("it is ours");
    close(&store, "unknown", id, RequestEnding::Unknown, now).await;
    let second = take(&store, now, "unknown").await;
    let again = store.reserve(id, "you", now, MINUTE).await;
    close(&store, "unknown", id, RequestEnding::Unknown, now).await;
    let once_more = store.reserve(id, "them", now, MINUTE).await;
    // Who calls it dead need not know of that attempt.
    close(&store, "unknown", id, RequestEnding::Dead, now).await;
    let left = store.reserve_with(id, "us", now + 60_000, MINUTE, IfUnknown::Leave).await;
    close(&store, "unknown", id, RequestEnding::Unknown, now).await;
    let still = store.reserve(id, "us", now, MINUTE).await;
    let held = store.reserve_with(id, "you", now, MINUTE, IfUnknown::Leave).await;
    store.attempt_failed(id, "us", now, "550 no").await.expect("it is over");
    let known = store.reserve_with(id, "us", now, MINUTE, IfUnknown::Leave).await;

    assert_eq!((comments(&first), comments(&second)), (vec!["unknown-1"], vec!["unknown-2"]));
    assert_eq!((again, once_more), (Ok(unknown_by(2, "me")), Ok(unknown_by(3, "you"))));
    assert_eq!((left, still), (Ok(unknown_by(3, "them")), Ok(unknown_by(4, "them"))));
    assert_eq!(held, Ok(Reservation::Held { until: now + 60_000 }));
    assert_eq!(known, Ok(Reservation::Ours { attempt: 5 }));
}

/// A former owner that wakes up and puts the request off changes nothing where somebody else has it, or had it and closed
/// it; its own of which nobody knows anything still waits.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn former_owner_opens_no_row_that_was_closed<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let (store, now) = (bench.open().await, now());
    let late = now + 60_000;
    let first = reserved(&store, "former-parked", now).await;
    let parked = store.reserve_with(&first, "you", late, MINUTE, IfUnknown::Leave).await;
    close(&store, "former-parked", &first, RequestEnding::Unknown, late).await;
    let refused = store.defer(&first, "me", late, late, "451 later").await;
    store.attempt_failed(&first, "me", late, "451 later").await.expect("it is over");

    let second = reserved(&store, "former-taken", now).await;
    store.reserve(&second, "you", late, MINUTE).await.expect("it is theirs");
    close(&store, "former-taken", &second, RequestEnding::Unknown, late).await;
    store.defer(&second, "me", late, late, "451 later").await.expect("nothing changes");
    let of_others = store.reserve(&second, "them", late, MINUTE).await;

    let third = reserved(&store, "former-dead", now).await;
    store.reserve(&third, "you", late, MINUTE).await.expect("it is theirs");
    store.attempt_failed(&third, "you", late, "550 no").await.expect("it is over");
    close(&store, "former-dead", &third, RequestEnding::Dead, late).await;
    store.defer(&third, "me", late, late, "451 later").await.expect("nothing changes");

    let fourth = reserved(&store, "former-alone", now).await;
    store.defer(&fourth, "me", late, late, "451 later").await.expect("it waits");

    assert_eq!(parked, Ok(unknown_by(1, "me")));
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert_eq!(of_others, Ok(unknown_by(3, "you")));
    for name in ["former-parked", "former-taken", "former-dead"] {
        assert_eq!(take(&store, late, name).await, [], "{name}");
    }
    assert_eq!(comments(&take(&store, late, "former-alone").await), ["former-alone-1"]);
}

/// Returns the id of a request that is out and reserved by `me` for a minute.
async fn reserved<S: Store + Outbox + Ledger>(store: &S, name: &str, now: i64) -> String {
    thread(store, name, &[&format!("{name}-1")]).await;
    let taken = take(store, now, name).await;
    let rows = taken.iter().map(|row| row.row).collect();
    store.published(rows, now, MINUTE * 60).await.expect("it is marked");
    let id = id_of(&taken).to_owned();
    store.reserve(&id, "me", now, MINUTE).await.expect("it is ours");
    id
}

/// Whoever calls a request dead need not know of the attempt that is under way.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn who_calls_a_request_dead_takes_nobodys_reservation<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let store = bench.open().await;
    let now = now();

    store.reserve("dying", "me", now, MINUTE).await.expect("it is ours");
    store.died("dying", now, "it took too long").await.expect("it is closed");
    let held = store.reserve("dying", "you", now + 1, MINUTE).await;
    let unknown = store.reserve("dying", "you", now + 60_000, MINUTE).await;

    assert_eq!(held, Ok(Reservation::Held { until: now + 60_000 }));
    assert_eq!(unknown, Ok(unknown_by(2, "me")));
}

/// That the other side has a request is written down without a claim, whatever was said of it before, and whether or not
/// anything was.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn what_the_other_side_has_is_done_under_any_claim<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let store = bench.open().await;
    thread(&store, "done", &["done-1", "done-2", "done-3"]).await;
    let now = now();

    let first = take(&store, now, "done").await;
    store.reserve(id_of(&first), "me", now, MINUTE).await.expect("it is ours");
    claim(&store, "done", 0).await;
    store.done(id_of(&first), now, "250 ok").await.expect("it is done");
    let second = take(&store, now, "done").await;
    store.reserve(id_of(&second), "me", now, MINUTE).await.expect("it is ours");
    close(&store, "done", id_of(&second), RequestEnding::Dead, now).await;
    store.done(id_of(&second), now, "250 ok").await.expect("it is done");
    close(&store, "done", id_of(&second), RequestEnding::Dead, now).await;
    let third = take(&store, now, "done").await;
    store.done("never-heard-of", now, "250 ok").await.expect("it is done");
    store.done("never-heard-of", now, "250 ok").await.expect("it is done");

    assert_eq!(
        [comments(&first), comments(&second), comments(&third)],
        [vec!["done-1"], vec!["done-2"], vec!["done-3"]]
    );
    for id in [id_of(&first), id_of(&second), "never-heard-of"] {
        let reserved = store.reserve(id, "you", now, MINUTE).await;
        assert_eq!(reserved, Ok(Reservation::Done), "{id}");
        store.defer(id, "me", now, now, "450 later").await.ok();
    }
    assert_eq!(take(&store, now, "done").await, [], "what is done is not asked for again");
}

/// The ledger also guards what the outbox never held; only waiting there it cannot.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn request_that_nobody_asked_for_is_done_once_too<B: Bench>(bench: &B)
where
    B::Store: Outbox,
{
    let store = bench.open().await;
    let now = now();

    let ours = store.reserve("stray", "me", now, MINUTE).await;
    let deferred = store.defer("stray", "me", now, now, "450 later").await;
    close(&store, "stray", "stray", RequestEnding::Done, now).await;
    let again = store.reserve("stray", "me", now, MINUTE).await;

    assert_eq!((ours, again), (Ok(Reservation::Ours { attempt: 1 }), Ok(Reservation::Done)));
    assert!(matches!(deferred, Err(StoreError::Refused(_))), "{deferred:?}");
}

fn unknown_by(attempt: u32, by: &str) -> Reservation {
    Reservation::Unknown { attempt, by: by.to_owned() }
}
