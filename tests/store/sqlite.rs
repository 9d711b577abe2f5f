//! What SQLite does when somebody is in its way: another process, a statement that takes the transaction down, age.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use postroom::adapters::store::{SqliteSettings, SqliteStore};
use postroom::core::{Attempt, Offset, Partition, Topic, TopicPartition};
use postroom::ports::{Applied, Change, Claim, Guard, Param, Store, StoreError, Unit};

const GROUP: &str = "group";

fn place(number: i32) -> TopicPartition {
    TopicPartition::new(Topic::new("topic"), Partition(number))
}

fn unit(next: i64, statements: &[&str]) -> Unit {
    let changes =
        statements.iter().map(|sql| Change::Statement { sql: (*sql).to_owned(), params: Vec::new() });
    Unit { guard: Guard::Position { next: Offset(next) }, changes: changes.collect() }
}

async fn count(store: &SqliteStore, sql: &str) -> i64 {
    match store.query(sql, Vec::new()).await.unwrap().first().and_then(|row| row.first()) {
        Some(Param::Integer(count)) => *count,
        other => panic!("{other:?}"),
    }
}

fn open(path: &Path, busy_timeout: Duration) -> SqliteStore {
    SqliteStore::open_with(path, SqliteSettings { busy_timeout, ..SqliteSettings::default() }).unwrap()
}

#[tokio::test]
async fn store_that_another_process_locks_is_away_and_then_applies_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    let store = open(&path, Duration::from_millis(20));
    let mut owner = store.claim(GROUP, &place(0)).await.unwrap();
    store.apply(&mut owner, unit(1, &["CREATE TABLE words (word TEXT)"])).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let locked = store.apply(&mut owner, unit(2, &["INSERT INTO words VALUES ('a')"])).await;
    let read = count(&store, "SELECT count(*) FROM words").await;
    other.execute_batch("COMMIT").unwrap();
    let free = store.apply(&mut owner, unit(2, &["INSERT INTO words VALUES ('a')"])).await;

    assert!(matches!(locked, Err(StoreError::Away(_))), "{locked:?}");
    assert_eq!(read, 0, "reads go on beside a writer");
    assert_eq!(free, Ok(Applied::Committed));
    assert_eq!(count(&store, "SELECT count(*) FROM words").await, 1);
}

async fn with_neighbours(store: &SqliteStore, wrong: &[&str]) -> Vec<Result<Applied, StoreError>> {
    let mut claims: Vec<Claim> = Vec::new();
    for number in 0..5 {
        claims.push(store.claim(GROUP, &place(number)).await.unwrap());
    }
    let good = unit(10, &["INSERT INTO words VALUES ('good', NULL)"]);
    let asked = claims
        .iter_mut()
        .enumerate()
        .map(|(number, claim)| store.apply(claim, if number == 2 { unit(10, wrong) } else { good.clone() }));
    futures_util::future::join_all(asked).await
}

#[tokio::test]
async fn statement_that_takes_the_transaction_down_is_refused_alone() {
    let tables = [
        "CREATE TABLE books (id INTEGER PRIMARY KEY)",
        "CREATE TABLE words (word TEXT, book INTEGER UNIQUE REFERENCES books (id) DEFERRABLE INITIALLY DEFERRED)",
    ];
    let rolls_back = ["INSERT INTO books VALUES (1)", "INSERT OR ROLLBACK INTO books VALUES (1)"];
    let fails_at_the_commit = ["INSERT INTO words VALUES ('bad', 7)"];

    for wrong in [rolls_back.as_slice(), fails_at_the_commit.as_slice()] {
        let store = SqliteStore::in_memory().unwrap();
        let mut owner = store.claim(GROUP, &place(9)).await.unwrap();
        store.apply(&mut owner, unit(1, &tables)).await.unwrap();

        let applied = with_neighbours(&store, wrong).await;

        for (number, applied) in applied.iter().enumerate() {
            match number {
                2 => assert!(matches!(applied, Err(StoreError::Refused(_))), "{wrong:?}: {applied:?}"),
                _ => assert_eq!(applied, &Ok(Applied::Committed), "{wrong:?}, neighbour {number}"),
            }
        }
        assert_eq!(count(&store, "SELECT count(*) FROM words WHERE word = 'good'").await, 4);
        assert_eq!(
            count(&store, "SELECT (SELECT count(*) FROM words) + (SELECT count(*) FROM books)").await,
            4
        );
        assert_eq!(store.claim(GROUP, &place(2)).await.unwrap().next, None);
    }
}

#[tokio::test]
async fn old_ids_and_finished_attempts_are_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    let store = SqliteStore::open(&path).unwrap();
    let mut owner = store.claim(GROUP, &place(0)).await.unwrap();
    for id in ["old", "new"] {
        let once = Unit { guard: Guard::Once { id: id.to_owned() }, changes: Vec::new() };
        store.apply(&mut owner, once).await.unwrap();
    }
    for offset in [4, 5] {
        store.count_attempt(GROUP, &place(0), Offset(offset), Attempt(2)).await.unwrap();
    }
    store.apply(&mut owner, unit(5, &[])).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let day = 24 * 3_600;
    other.execute("UPDATE dedupe SET applied_at = applied_at - ?1 WHERE id = 'old'", [36 * day]).unwrap();
    other.execute("UPDATE dedupe SET applied_at = applied_at - ?1 WHERE id = 'new'", [34 * day]).unwrap();

    store.clean().await.unwrap();

    let left = store.query("SELECT id FROM dedupe", Vec::new()).await.unwrap();
    assert_eq!(left, [[Param::Text("new".to_owned())]]);
    assert_eq!(store.claim(GROUP, &place(0)).await.unwrap().attempts, [(Offset(5), Attempt(2))]);
}

#[tokio::test]
async fn cleaning_that_fails_in_one_table_goes_on_in_the_others_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    let store = SqliteStore::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch(
            "INSERT INTO positions VALUES ('g', 't', 0, 1, 10);
            INSERT INTO attempts VALUES ('g', 't', 0, 8, 1, unixepoch());
            INSERT INTO dedupe VALUES ('g', 'old', 1);
            INSERT INTO fan_outs VALUES ('old', 'a', 'e', 1, NULL, 1);
            CREATE TRIGGER kept BEFORE DELETE ON dedupe BEGIN SELECT RAISE(ABORT, 'not from dedupe'); END;
            CREATE TRIGGER kept_too BEFORE DELETE ON fan_outs BEGIN SELECT RAISE(ABORT, 'not from fan_outs'); END",
        )
        .unwrap();

    let error = store.clean().await.unwrap_err();

    assert!(error.to_string().contains("not from dedupe"), "{error}");
    assert_eq!(count(&store, "SELECT count(*) FROM attempts").await, 0);
    assert_eq!(count(&store, "SELECT count(*) FROM dedupe").await, 1);
    assert_eq!(count(&store, "SELECT count(*) FROM fan_outs").await, 1);
}

#[tokio::test]
async fn operator_moves_a_position_and_fences_its_owner() {
    let store = SqliteStore::in_memory().unwrap();
    let mut owner = store.claim(GROUP, &place(0)).await.unwrap();
    store.apply(&mut owner, unit(9, &[])).await.unwrap();

    store.set_position(GROUP, &place(0), Offset(3)).await.unwrap();

    assert_eq!(store.apply(&mut owner, unit(10, &[])).await, Ok(Applied::Fenced));
    let row = store.positions().await.unwrap().pop().unwrap();
    assert_eq!((row.group.as_str(), row.partition, row.next), (GROUP, place(0), Some(Offset(3))));
    assert_eq!(store.claim(GROUP, &place(0)).await.unwrap().next, Some(Offset(3)));
}

#[tokio::test]
async fn questions_do_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");

    for store in [SqliteStore::open(&path).unwrap(), SqliteStore::in_memory().unwrap()] {
        for sql in [
            "DELETE FROM positions",
            "BEGIN",
            "COMMIT",
            "PRAGMA user_version = 9",
            "SELECT 1; DELETE FROM identity",
        ] {
            let refused = store.query(sql, Vec::new()).await;
            assert!(matches!(refused, Err(StoreError::Refused(_))), "{sql}: {refused:?}");
        }
        assert_eq!(count(&store, "SELECT count(*) FROM identity").await, 1);
    }
}

#[tokio::test]
async fn announcements_notifications_and_subscriptions_of_people_who_are_gone_do_not_stay_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    let day = 24 * 3_600;
    let notifications = Some(Duration::from_secs(100 * 24 * 3_600));
    let store =
        SqliteStore::open_with(&path, SqliteSettings { notifications, ..SqliteSettings::default() }).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    // Of each pair one is a day older than what is kept.
    other
        .execute_batch(&format!(
            "CREATE TEMP TABLE ages AS SELECT unixepoch() * 1000 AS now;
            INSERT INTO fan_outs SELECT 'old', 'a', 'e', 5, NULL, now - 36000 * {day} FROM ages;
            INSERT INTO fan_outs SELECT 'open', 'a', 'e', 5, '~', now - 36000 * {day} FROM ages;
            INSERT INTO fan_outs SELECT 'new', 'a', 'e', 5, NULL, now - 34000 * {day} FROM ages;
            INSERT INTO contacts (id, state, since, content_time) VALUES ('gone', 2, 5, 5), ('here', 1, 5, 5);
            INSERT INTO subscriptions SELECT 'gone', 1, 1, now - 36000 * {day} FROM ages;
            INSERT INTO subscriptions SELECT 'gone', 2, 0, now - 34000 * {day} FROM ages;
            INSERT INTO subscriptions SELECT 'here', 1, 1, now - 36000 * {day} FROM ages;
            INSERT INTO notifications SELECT 'here', 'post', 'old', 'e-old', now - 101000 * {day} FROM ages;
            INSERT INTO notifications SELECT 'here', 'post', 'asked', 'e-asked', now - 101000 * {day} FROM ages;
            INSERT INTO notifications SELECT 'here', 'post', 'new', 'e-new', now - 99000 * {day} FROM ages;
            INSERT INTO requests (request, kind, addressee, event, state, due, not_before, requested_at)
                SELECT 'r', 'mail', 'here', 'e-asked', 1, now, now, now FROM ages;"
        ))
        .unwrap();

    store.clean().await.unwrap();
    let left = async |sql: &str| {
        let rows = store.query(sql, Vec::new()).await.unwrap();
        rows.into_iter().map(|row| format!("{row:?}")).collect::<Vec<_>>().join(" ")
    };

    assert_eq!(left("SELECT post FROM fan_outs ORDER BY post").await, "[Text(\"new\")] [Text(\"open\")]");
    assert_eq!(
        left("SELECT subscriber || since FROM subscriptions ORDER BY 1").await,
        "[Text(\"gone2\")] [Text(\"here1\")]"
    );
    assert_eq!(
        left("SELECT subject FROM notifications ORDER BY 1").await,
        "[Text(\"asked\")] [Text(\"new\")]"
    );
    let asked = left("EXPLAIN QUERY PLAN SELECT * FROM notifications WHERE event = 'e'").await;
    assert!(asked.contains("notifications_by_event"), "{asked}");
}
