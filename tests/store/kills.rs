//! Processes that apply units to one store and are killed at any moment leave every effect exactly once.
#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, and a kill at a random moment"
)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postroom::adapters::store::{AnyStore, PostgresSettings, PostgresStore, SqliteStore};
use postroom::core::{Offset, Partition, Topic, TopicPartition};
use postroom::ports::{Applied, Change, Claim, Guard, Param, Store, Unit};

/// How often a member is killed, or another put beside it.
const BLOWS: u32 = 30;

const PARTITIONS: i32 = 2;
const GROUP: &str = "kills";
const STORE: &str = "POSTROOM_TEST_STORE";
const STOP: &str = "POSTROOM_TEST_STOP";
const PARTITION: &str = "POSTROOM_TEST_PARTITION";

#[test]
fn killed_and_superseded_processes_leave_every_effect_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place {
        stop: folder.path().join("stop"),
        store: folder.path().join("postroom.db").display().to_string(),
    };
    killed_and_superseded(&place);
}

#[test]
fn killed_and_superseded_processes_leave_every_effect_exactly_once_in_postgres() {
    let Some(url) = crate::server::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = Place {
        stop: folder.path().join("stop"),
        store: format!("{}@{url}", crate::server::settings().schema),
    };
    killed_and_superseded(&place);
}

/// Where members meet.
struct Place {
    /// A file that ends them.
    stop: PathBuf,
    /// The path of an SQLite file, or a schema, `@` and the address of its server.
    store: String,
}

impl Place {
    async fn open(&self) -> AnyStore {
        match self.store.split_once("@postgres://") {
            Some((schema, rest)) => {
                let settings = PostgresSettings {
                    schema: schema.to_owned(),
                    connections: 2,
                    ..PostgresSettings::default()
                };
                PostgresStore::connect(&format!("postgres://{rest}"), settings).await.unwrap().into()
            }
            None => SqliteStore::open(self.store.as_ref()).unwrap().into(),
        }
    }
}

fn killed_and_superseded(path: &Place) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(make_tables(path));
    let mut random = fastrand::Rng::with_seed(11);
    let mut members: Vec<_> = (0..PARTITIONS).map(|partition| (partition, start(path, partition))).collect();
    let mut superseded = Vec::new();

    for blow in 0..BLOWS {
        // The moment of the blow is the point here: nothing waits for it.
        std::thread::sleep(Duration::from_millis(random.u64(1..150)));
        let (partition, member) = random.choice(&mut members).unwrap();
        let old = std::mem::replace(member, start(path, *partition));
        if blow % 4 == 3 {
            // It goes on until it is fenced, or fences its successor if it comes late to its claim.
            superseded.push(old);
        }
    }
    for (partition, _) in &members {
        runtime.block_on(progress(path, *partition));
    }
    std::fs::write(&path.stop, "").unwrap();
    for mut member in superseded.into_iter().chain(members.into_iter().map(|(_, member)| member)) {
        let status = member.0.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    runtime.block_on(check(path));
}

/// What a member does: it is run by the test above in processes of its own.
#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn member() {
    let Ok(store) = std::env::var(STORE) else { return };
    let path = Place { store, stop: PathBuf::from(std::env::var(STOP).unwrap()) };
    let number = std::env::var(PARTITION).unwrap().parse().unwrap();
    let store = path.open().await;
    let mut claim = store.claim(GROUP, &place(number)).await.unwrap();
    while !path.stop.exists() {
        let at = claim.next.map_or(0, |next| next.0);
        let to = at + 7;
        let guard = Guard::Position { next: Offset(to) };
        let unit =
            Unit { guard, changes: (at..to).map(|offset| effect("effects", number, offset)).collect() };
        match store.apply(&mut claim, unit).await.unwrap() {
            Applied::Committed => {}
            Applied::Fenced => return,
            Applied::Duplicate => panic!("a position is no duplicate"),
        }
        // The same ids come again where a predecessor was killed before it moved on.
        for id in [at / 14, at / 21] {
            let guard = Guard::Once { id: format!("{number}/{id}") };
            let unit = Unit { guard, changes: vec![effect("once", number, id)] };
            store.apply(&mut claim, unit).await.unwrap();
        }
    }
}

fn effect(table: &str, partition: i32, record: i64) -> Change {
    let sql = format!("INSERT INTO {table} (partition, record) VALUES (?1, ?2)");
    Change::Statement { sql, params: vec![Param::Integer(partition.into()), Param::Integer(record)] }
}

/// Waits until the position has moved from where it is.
async fn progress(path: &Place, partition: i32) {
    let store = path.open().await;
    let at = async || {
        let rows = store.positions().await.unwrap();
        rows.into_iter()
            .find(|row| row.group == GROUP && row.partition == place(partition))
            .and_then(|row| row.next)
    };
    let before = at().await;
    let begun = Instant::now();
    while at().await == before {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "partition {partition} stands still at {before:?}"
        );
        tokio::task::yield_now().await;
    }
}

/// A process that is killed, by SIGKILL, where it is dropped.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start(path: &Place, partition: i32) -> Member {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "kills::member"])
        .env(STORE, &path.store)
        .env(STOP, &path.stop)
        .env(PARTITION, partition.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Member(child)
}

async fn make_tables(path: &Place) {
    let store = path.open().await;
    let mut claim: Claim = store.claim("tables", &place(0)).await.unwrap();
    let tables = ["effects", "once"].map(|name| Change::Statement {
        sql: format!("CREATE TABLE {name} (partition BIGINT, record BIGINT)"),
        params: Vec::new(),
    });
    let unit = Unit { guard: Guard::Once { id: "tables".to_owned() }, changes: tables.to_vec() };
    assert_eq!(store.apply(&mut claim, unit).await, Ok(Applied::Committed));
}

async fn check(path: &Place) {
    let store = path.open().await;
    for number in 0..PARTITIONS {
        let next = store.claim(GROUP, &place(number)).await.unwrap().next.unwrap().0;
        let only = || vec![Param::Integer(number.into())];
        let sql = "SELECT count(*), count(DISTINCT record), min(record), max(record) FROM effects WHERE partition = ?1";
        let row = store.query(sql, only()).await.unwrap();
        assert_eq!(row, [[next, next, 0, next - 1].map(Param::Integer)], "partition {number}");
        let sql = "SELECT count(*) - count(DISTINCT record), count(*) > 0 FROM once WHERE partition = ?1";
        let row = store.query(sql, only()).await.unwrap();
        assert_eq!(row, [[0, 1].map(Param::Integer)], "partition {number}");
    }
}

fn place(number: i32) -> TopicPartition {
    TopicPartition::new(Topic::new("kills"), Partition(number))
}
