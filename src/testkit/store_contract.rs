//! What every store must do, as one suite: each engine runs it against itself.
//!
//! ```no_run
//! # use postroom::{adapters::store::SqliteStore, ports::Param, testkit::store_contract::{self, Bench}};
//! struct OnFile(std::path::PathBuf);
//!
//! impl Bench for OnFile {
//!     type Store = SqliteStore;
//!
//!     async fn open(&self) -> SqliteStore {
//!         SqliteStore::open(&self.0).expect("it opens")
//!     }
//!
//!     async fn rows(&self, store: &SqliteStore, sql: &str) -> Vec<Vec<Param>> {
//!         store.query(sql, Vec::new()).await.expect("it answers")
//!     }
//! }
//! # async fn all(bench: OnFile) {
//! store_contract::everything(&bench).await;
//! store_contract::restart_keeps_everything(&bench).await;
//! # }
//! ```
#![expect(clippy::expect_used, reason = "a contract speaks by panicking")]

pub mod endpoints;
pub mod ledger;
pub mod outbox;

use std::future::Future;

use postroom_core::{Attempt, Offset, Partition, Topic, TopicPartition};

use crate::ports::{Applied, Change, Claim, Guard, Param, Store, StoreError, Unit};

/// An engine under test.
pub trait Bench: Sync {
    /// The engine's handle.
    type Store: Store;

    /// Opens a handle of its own on the same tables, as another process would.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// How the engine declares a key that numbers its rows.
    fn numbered(&self) -> &'static str {
        "INTEGER PRIMARY KEY"
    }

    /// Reads rows, to see what was written.
    fn rows(&self, store: &Self::Store, sql: &str) -> impl Future<Output = Vec<Vec<Param>>> + Send;
}

/// Runs all claims that need no restart, with two handles on the same tables.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn everything<B: Bench>(bench: &B) {
    first_claim_has_no_position(bench).await;
    position_moves_with_the_changes(bench).await;
    older_claim_is_fenced_on_every_handle(bench).await;
    wrong_position_changes_nothing(bench).await;
    position_never_goes_back(bench).await;
    lost_reply_counts_as_committed(bench).await;
    id_is_applied_once_per_group(bench).await;
    refused_unit_leaves_nothing_and_its_neighbours_alone(bench).await;
    transaction_is_not_the_statements_to_end(bench).await;
    units_are_applied_in_their_order(bench).await;
    attempts_are_kept_and_never_go_back(bench).await;
    attempts_at_finished_records_are_forgotten(bench).await;
    of_concurrent_claims_one_is_the_last(bench).await;
    identity_is_the_same_on_every_handle(bench).await;
    endpoints::are_kept_as_they_were_put(bench).await;
    endpoints::are_disabled_once_and_removed(bench).await;
    endpoints::are_failing_until_they_answer(bench).await;
}

/// The first claim of a partition has epoch 1, no position and no attempts; each further one is higher.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn first_claim_has_no_position<B: Bench>(bench: &B) {
    let store = bench.open().await;

    let first = claim(&store, "first", 0).await;
    let second = claim(&store, "first", 0).await;
    let other = claim(&store, "first", 1).await;

    assert_eq!((first.next, first.attempts.len()), (None, 0));
    assert!(second.epoch > first.epoch, "a claim raises the epoch");
    assert_eq!(other.epoch, first.epoch, "partitions have epochs of their own");
}

/// A unit moves the position, the claim's copy of it, and the tables; an empty unit moves the position alone.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn position_moves_with_the_changes<B: Bench>(bench: &B) {
    let store = table(bench, "moves").await;
    let mut owner = claim(&store, "moves", 0).await;

    let applied = store.apply(&mut owner, unit("moves", 5, &["a", "b"])).await;
    let skipped = store.apply(&mut owner, unit("moves", 9, &[])).await;

    assert_eq!((applied, skipped), (Ok(Applied::Committed), Ok(Applied::Committed)));
    assert_eq!(owner.next, Some(Offset(9)));
    assert_eq!(words(bench, &store, "moves").await, ["a", "b"]);
    assert_eq!(claim(&store, "moves", 0).await.next, Some(Offset(9)));
}

/// From a claim on, no unit of an older one is applied, with either guard, whichever handle it comes through.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn older_claim_is_fenced_on_every_handle<B: Bench>(bench: &B) {
    let store = table(bench, "fenced").await;
    let other = bench.open().await;
    let mut old = claim(&store, "fenced", 0).await;
    let mut new = claim(&other, "fenced", 0).await;

    let by_position = store.apply(&mut old, unit("fenced", 1, &["stale"])).await;
    let by_id = store.apply(&mut old, once("fenced", "id", &["stale"])).await;
    let owner = other.apply(&mut new, unit("fenced", 1, &["fresh"])).await;
    let late = store.apply(&mut old, unit("fenced", 2, &["stale"])).await;

    assert_eq!((by_position, by_id), (Ok(Applied::Fenced), Ok(Applied::Fenced)));
    assert_eq!((owner, late), (Ok(Applied::Committed), Ok(Applied::Fenced)));
    assert_eq!(old.next, None, "a fenced claim's copy stays");
    assert_eq!(words(bench, &store, "fenced").await, ["fresh"]);
}

/// A claim whose copy of the position is not the row's changes nothing: it must claim again.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn wrong_position_changes_nothing<B: Bench>(bench: &B) {
    let store = table(bench, "wrong").await;
    let mut owner = claim(&store, "wrong", 0).await;
    let mut copy = owner.clone();
    store.apply(&mut owner, unit("wrong", 5, &["once"])).await.expect("the owner's unit");

    copy.next = Some(Offset(3));
    let behind = store.apply(&mut copy, unit("wrong", 7, &["again"])).await;

    assert_eq!(behind, Ok(Applied::Fenced));
    assert_eq!(words(bench, &store, "wrong").await, ["once"]);
    assert_eq!(claim(&store, "wrong", 0).await.next, Some(Offset(5)));
}

/// A unit that would not move the position forwards is refused.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn position_never_goes_back<B: Bench>(bench: &B) {
    let store = table(bench, "back").await;
    let mut owner = claim(&store, "back", 0).await;
    store.apply(&mut owner, unit("back", 5, &["once"])).await.expect("the owner's unit");

    for next in [4, 5] {
        let back = store.apply(&mut owner, unit("back", next, &["again"])).await;
        assert!(matches!(back, Err(StoreError::Refused(_))), "to {next}: {back:?}");
    }

    assert_eq!(words(bench, &store, "back").await, ["once"]);
}

/// A unit that was committed while its reply was lost, and is applied again under the same claim, is not applied
/// twice and counts as committed.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn lost_reply_counts_as_committed<B: Bench>(bench: &B) {
    let store = table(bench, "lost").await;
    let mut owner = claim(&store, "lost", 0).await;
    let mut without_reply = owner.clone();
    store.apply(&mut owner, unit("lost", 5, &["once"])).await.expect("the owner's unit");

    let again = store.apply(&mut without_reply, unit("lost", 5, &["once"])).await;

    assert_eq!(again, Ok(Applied::Committed));
    assert_eq!(without_reply.next, Some(Offset(5)));
    assert_eq!(words(bench, &store, "lost").await, ["once"]);
}

/// An id is applied once in a group, whichever partition or claim it comes under; other groups are not concerned.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn id_is_applied_once_per_group<B: Bench>(bench: &B) {
    let store = table(bench, "ids").await;
    let mut zero = claim(&store, "ids", 0).await;
    let mut one = claim(&store, "ids", 1).await;
    let mut elsewhere = claim(&store, "ids-too", 0).await;

    let first = store.apply(&mut zero, once("ids", "id", &["here"])).await;
    let repeat = store.apply(&mut zero, once("ids", "id", &["here"])).await;
    let moved = store.apply(&mut one, once("ids", "id", &["here"])).await;
    let other = store.apply(&mut elsewhere, once("ids", "id", &["there"])).await;
    let another_case = store.apply(&mut zero, once("ids", "ID", &["upper"])).await;

    assert_eq!(first, Ok(Applied::Committed));
    assert_eq!((repeat, moved), (Ok(Applied::Duplicate), Ok(Applied::Duplicate)));
    assert_eq!((other, another_case), (Ok(Applied::Committed), Ok(Applied::Committed)));
    assert_eq!(zero.next, None, "ids do not move the position");
    assert_eq!(words(bench, &store, "ids").await, ["here", "there", "upper"]);
}

/// A unit with a statement that does not compile or breaks a constraint leaves nothing behind, neither position nor
/// id, and units that share its transaction are applied.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn refused_unit_leaves_nothing_and_its_neighbours_alone<B: Bench>(bench: &B) {
    let store = table(bench, "refused").await;
    let mut claims = Vec::new();
    for partition in 0..6 {
        claims.push(claim(&store, "refused", partition).await);
    }
    let mut wrong = unit("refused", 1, &["half"]);
    wrong.changes.push(statement("INSERT INTO nowhere VALUES (1)", &[]));
    let mut twice = once("refused", "id", &["half"]);
    twice.changes.push(statement("INSERT INTO words_refused (word, own) VALUES (?1, ?2)", &["same", "same"]));
    twice.changes.push(statement("INSERT INTO words_refused (word, own) VALUES (?1, ?2)", &["same", "same"]));

    let units =
        [unit("refused", 1, &["a"]), wrong, unit("refused", 1, &["c"]), twice, unit("refused", 1, &["e"])];
    let asked = claims.iter_mut().zip(units).map(|(claim, unit)| store.apply(claim, unit));
    let applied = futures_util::future::join_all(asked).await;

    let late = claims.get_mut(5).expect("six claims");
    let same_id = store.apply(late, once("refused", "id", &["f"])).await;

    assert_eq!(same_id, Ok(Applied::Committed), "the id of a refused unit is free");
    for (place, applied) in applied.iter().enumerate() {
        match place {
            1 | 3 => assert!(matches!(applied, Err(StoreError::Refused(_))), "{place}: {applied:?}"),
            _ => assert_eq!(applied, &Ok(Applied::Committed), "{place}"),
        }
    }
    let mut words = words(bench, &store, "refused").await;
    words.sort();
    assert_eq!(words, ["a", "c", "e", "f"]);
    assert_eq!(claim(&store, "refused", 1).await.next, None);
}

/// Statements that would end or escape the transaction are refused, also those that hide it.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn transaction_is_not_the_statements_to_end<B: Bench>(bench: &B) {
    let store = table(bench, "ends").await;
    let mut owner = claim(&store, "ends", 0).await;

    for sql in [
        "COMMIT",
        " rollback",
        "/**/ COMMIT",
        "-- \nCOMMIT",
        "SAVEPOINT mine",
        "INSERT INTO words_ends (word) VALUES ('x'); COMMIT",
        "",
    ] {
        let mut ends = unit("ends", 1, &["half"]);
        ends.changes.push(statement(sql, &[]));
        let refused = store.apply(&mut owner, ends).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{sql:?}: {refused:?}");
    }
    let applied = store.apply(&mut owner, unit("ends", 1, &["whole"])).await;

    assert_eq!(applied, Ok(Applied::Committed));
    assert_eq!(words(bench, &store, "ends").await, ["whole"]);
}

/// Units that are asked for one after the other are applied in that order, and those that are asked for at once in any:
/// each whole, its changes in their own order.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn units_are_applied_in_their_order<B: Bench>(bench: &B) {
    let store = table(bench, "order").await;
    let owner = claim(&store, "order", 0).await;
    let mut copies = vec![owner; 60];
    let pair = |number: usize| [number * 2, number * 2 + 1].map(|number| format!("{number:03}"));

    let mut asked = Vec::new();
    let (in_turn, at_once) = copies.split_at_mut(10);
    for (number, copy) in in_turn.iter_mut().enumerate() {
        let [even, odd] = pair(number);
        let applied = store.apply(copy, once("order", &format!("id-{number}"), &[&even, &odd])).await;
        assert_eq!(applied, Ok(Applied::Committed));
    }
    for (number, copy) in at_once.iter_mut().enumerate() {
        let [even, odd] = pair(number + 10);
        asked.push(store.apply(copy, once("order", &format!("id-{}", number + 10), &[&even, &odd])));
    }
    for applied in futures_util::future::join_all(asked).await {
        assert_eq!(applied, Ok(Applied::Committed));
    }

    let found = words(bench, &store, "order").await;
    let expected: Vec<_> = (0..120).map(|number| format!("{number:03}")).collect();
    assert_eq!(found.get(..20), expected.get(..20), "one after the other");
    let place = |word: &String| found.iter().position(|found| found == word);
    assert!((0..60).map(pair).all(|[even, odd]| place(&even) < place(&odd)), "{found:?}");
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
}

/// Attempts are read by the next claim, the highest of each offset; those below the position are not.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn attempts_are_kept_and_never_go_back<B: Bench>(bench: &B) {
    let store = table(bench, "attempts").await;
    let mut owner = claim(&store, "attempts", 0).await;
    let place = partition("attempts", 0);
    for (offset, attempt) in [(3, 2), (7, 3), (7, 2), (9, 4)] {
        let (offset, attempt) = (Offset(offset), Attempt(attempt));
        store.count_attempt("attempts", &place, offset, attempt).await.expect("it counts");
    }
    store.apply(&mut owner, unit("attempts", 7, &[])).await.expect("the owner's unit");

    let again = claim(&store, "attempts", 0).await;
    let neighbour = claim(&store, "attempts", 1).await;

    assert_eq!(again.attempts, [(Offset(7), Attempt(3)), (Offset(9), Attempt(4))]);
    assert_eq!(neighbour.attempts, []);
}

/// Of a partition whose position is kept elsewhere, attempts stay until they are forgotten: those below an offset, and of
/// no other partition or group.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn attempts_at_finished_records_are_forgotten<B: Bench>(bench: &B) {
    let store = bench.open().await;
    let places = [("forget", 0), ("forget", 1), ("forget-not", 0)];
    for (group, number) in places {
        for offset in [3, 7, 9] {
            let place = partition(group, number);
            store.count_attempt(group, &place, Offset(offset), Attempt(2)).await.expect("it counts");
        }
    }

    store.forget_attempts("forget", &partition("forget", 0), Offset(7)).await.expect("it forgets");

    for ((group, number), left) in places.into_iter().zip([vec![7, 9], vec![3, 7, 9], vec![3, 7, 9]]) {
        let read = claim(&store, group, number).await.attempts;
        assert_eq!(read.iter().map(|(offset, _)| offset.0).collect::<Vec<_>>(), left, "{group}/{number}");
    }
}

/// Claims that are made at once, through several handles, have different epochs, and only the highest may write.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn of_concurrent_claims_one_is_the_last<B: Bench>(bench: &B) {
    let store = table(bench, "race").await;
    let other = bench.open().await;
    let place = partition("race", 0);

    let asked = (0..20).map(|number| if number % 2 == 0 { &store } else { &other }.claim("race", &place));
    let mut claims: Vec<Claim> = Vec::new();
    for claimed in futures_util::future::join_all(asked).await {
        claims.push(claimed.expect("a claim"));
    }
    claims.sort_by_key(|claim| claim.epoch);
    let mut committed = Vec::new();
    for claim in &mut claims {
        let word = claim.epoch.0.to_string();
        if store.apply(claim, unit("race", 1, &[&word])).await == Ok(Applied::Committed) {
            committed.push(claim.epoch);
        }
    }

    assert!(
        claims.windows(2).all(|pair| pair.first().map(|one| one.epoch) < pair.last().map(|one| one.epoch))
    );
    assert_eq!(Some(committed), claims.last().map(|last| vec![last.epoch]));
}

/// Every handle tells the same identity, and it is not empty.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn identity_is_the_same_on_every_handle<B: Bench>(bench: &B) {
    let (one, two) = (bench.open().await, bench.open().await);

    assert_eq!(one.id(), two.id());
    assert!(!one.id().0.is_empty());
}

/// What was committed is there after the last handle was closed: identity, position, epoch, ids, attempts, rows.
/// Only for stores that outlive their handles.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn restart_keeps_everything<B: Bench>(bench: &B) {
    let store = table(bench, "restart").await;
    let id = store.id().clone();
    let mut before = claim(&store, "restart", 0).await;
    let place = partition("restart", 0);
    store.count_attempt("restart", &place, Offset(7), Attempt(3)).await.expect("it counts");
    store.apply(&mut before, unit("restart", 5, &["kept"])).await.expect("the owner's unit");
    store.apply(&mut before, once("restart", "id", &["too"])).await.expect("the owner's unit");
    drop(store);

    let store = bench.open().await;
    let mut after = claim(&store, "restart", 0).await;

    assert_eq!(store.id(), &id);
    assert!(after.epoch > before.epoch);
    assert_eq!(
        (after.next, after.attempts.as_slice()),
        (Some(Offset(5)), [(Offset(7), Attempt(3))].as_slice())
    );
    assert_eq!(store.apply(&mut after, once("restart", "id", &["again"])).await, Ok(Applied::Duplicate));
    assert_eq!(store.apply(&mut before, unit("restart", 6, &["stale"])).await, Ok(Applied::Fenced));
    assert_eq!(words(bench, &store, "restart").await, ["kept", "too"]);
}

fn partition(topic: &str, number: i32) -> TopicPartition {
    TopicPartition::new(Topic::new(topic), Partition(number))
}

/// Each check has a group and a topic of one name.
async fn claim<S: Store>(store: &S, group: &str, number: i32) -> Claim {
    store.claim(group, &partition(group, number)).await.expect("a claim")
}

/// Opens a handle and makes a table for words, in their order.
async fn table<B: Bench>(bench: &B, name: &str) -> B::Store {
    let store = bench.open().await;
    let mut owner = claim(&store, &format!("{name}-table"), 0).await;
    let numbered = bench.numbered();
    let sql = format!("CREATE TABLE IF NOT EXISTS words_{name} (nth {numbered}, word TEXT, own TEXT UNIQUE)");
    let unit =
        Unit { guard: Guard::Once { id: format!("table-{name}") }, changes: vec![statement(&sql, &[])] };
    store.apply(&mut owner, unit).await.expect("a table");
    store
}

async fn words<B: Bench>(bench: &B, store: &B::Store, name: &str) -> Vec<String> {
    let rows = bench.rows(store, &format!("SELECT word FROM words_{name} ORDER BY nth")).await;
    let text = |param| match param {
        Param::Text(text) => Some(text),
        Param::Null | Param::Integer(_) | Param::Real(_) | Param::Blob(_) => None,
    };
    rows.into_iter().flatten().filter_map(text).collect()
}

fn unit(table: &str, next: i64, words: &[&str]) -> Unit {
    Unit { guard: Guard::Position { next: Offset(next) }, changes: inserts(table, words) }
}

fn once(table: &str, id: &str, words: &[&str]) -> Unit {
    Unit { guard: Guard::Once { id: id.to_owned() }, changes: inserts(table, words) }
}

fn inserts(table: &str, words: &[&str]) -> Vec<Change> {
    let sql = format!("INSERT INTO words_{table} (word) VALUES (?1)");
    words.iter().map(|word| statement(&sql, &[word])).collect()
}

fn statement(sql: &str, params: &[&str]) -> Change {
    let params = params.iter().map(|text| Param::Text((*text).to_owned())).collect();
    Change::Statement { sql: sql.to_owned(), params }
}
