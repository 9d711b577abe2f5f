//! What only PostgreSQL can do wrong.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use postroom::adapters::store::{PostgresSettings, PostgresStore};
use postroom::core::{Offset, Partition, Topic, TopicPartition};
use postroom::event::EventId;
use postroom::ports::{
    Applied, Arrival, Change, CommentChange, CommentFact, FanOut, Guard, Origin, Param, PostChange,
    PostContent, PostFact, Rest, Store, StoreError, SubscriptionChange, ThreadComment, ThreadPost, Unit,
};
use postroom::testkit::store_contract::Bench;
use postroom::testkit::{search_contract, store_contract};

use crate::server::{OnPostgres, Server};

#[tokio::test]
async fn store_keeps_the_contract_over_several_handles() {
    let Some(bench) = OnPostgres::new() else { return };
    store_contract::everything(&bench).await;
}

#[tokio::test]
async fn outbox_keeps_the_contract_over_several_handles() {
    let Some(bench) = OnPostgres::new() else { return };
    store_contract::outbox::everything(&bench).await;
}

#[tokio::test]
async fn search_keeps_the_contract_over_several_handles() {
    let Some(bench) = OnPostgres::new() else { return };
    search_contract::everything(&bench).await;
}

#[tokio::test]
async fn everything_is_kept_over_a_restart() {
    let Some(bench) = OnPostgres::new() else { return };
    store_contract::restart_keeps_everything(&bench).await;
}

#[tokio::test]
async fn units_that_meet_wait_for_each_other_and_lose_nothing() {
    let Some(bench) = OnPostgres::new() else { return };
    let store = bench.open().await;
    let changes = |number: usize| {
        // Each in another order, so that rows are wanted crosswise.
        (0..40_usize).map(move |step| {
            let post = format!("p{}", (step * (2 * number + 3)) % 40);
            let origin = Origin {
                event: EventId::parse(&format!("e{number}-{step}")).unwrap(),
                time: 1,
                arrival: Arrival::OutOfOrder,
            };
            let (comment, author) = (format!("c{number}-{step}"), format!("u{}", step % 7));
            Change::Comment(CommentChange { comment, origin, fact: CommentFact::Created { post, author } })
        })
    };
    let mut units = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = store.clone();
        units.spawn(async move {
            let place = TopicPartition::new(Topic::new("t"), Partition(i32::try_from(number).unwrap()));
            let mut claim = store.claim("g", &place).await.unwrap();
            let guard = Guard::Position { next: Offset(1) };
            store.apply(&mut claim, Unit { guard, changes: changes(number).collect() }).await
        });
    }

    let applied = units.join_all().await;

    assert!(applied.iter().all(|applied| *applied == Ok(Applied::Committed)), "{applied:?}");
    let summary = store.summary(0).await.unwrap();
    assert_eq!(summary.comments, 16 * 40);
}

#[tokio::test]
async fn same_object_in_two_partitions_at_once_is_counted_once() {
    let Some(bench) = OnPostgres::new() else { return };
    let store = bench.open().await;
    for round in 0..20_i64 {
        let mut both = tokio::task::JoinSet::new();
        for number in 0..2 {
            let store = store.clone();
            both.spawn(async move {
                let place = TopicPartition::new(Topic::new("t"), Partition(number));
                let mut claim = store.claim("g", &place).await.unwrap();
                let post = format!("p{round}");
                let event = EventId::parse(&format!("e{round}")).unwrap();
                let origin = Origin { event, time: 1, arrival: Arrival::OutOfOrder };
                let fact = PostFact::Published { author: "ann".to_owned(), content: PostContent::default() };
                let changes = vec![Change::Post(PostChange { post, origin, fact })];
                store
                    .apply(&mut claim, Unit { guard: Guard::Position { next: Offset(round + 1) }, changes })
                    .await
            });
        }
        assert!(both.join_all().await.iter().all(|applied| *applied == Ok(Applied::Committed)));
    }

    assert_eq!(store.summary(0).await.unwrap().posts, 20);
}

/// A comment and its post come from two topics, and a subscription and an announcement too: whichever is first, they see
/// each other.
#[tokio::test]
async fn what_comes_from_two_topics_at_once_is_told() {
    let Some(bench) = OnPostgres::new() else { return };
    let store = bench.open().await;
    for round in 0..30 {
        let origin = |name: &str, time| Origin {
            event: EventId::parse(&format!("{name}{round}")).unwrap(),
            time,
            arrival: Arrival::InOrder,
        };
        let post = format!("p{round}");
        let comment = Change::ThreadComment(ThreadComment {
            post: post.clone(),
            comment: format!("c{round}"),
            author: "bob".to_owned(),
            origin: origin("c", 10),
            mail: None,
        });
        let published = Change::ThreadPost(ThreadPost {
            post: post.clone(),
            author: "ann".to_owned(),
            origin: origin("p", 10),
            mail: None,
        });
        let subscribed =
            Change::Subscription(SubscriptionChange { user: format!("s{round}"), time: 1, subscribed: true });
        let mut all = tokio::task::JoinSet::new();
        for (number, change) in [comment, published, subscribed].into_iter().enumerate() {
            let store = store.clone();
            all.spawn(async move {
                let place = TopicPartition::new(Topic::new("t"), Partition(i32::try_from(number).unwrap()));
                let mut claim = store.claim("g", &place).await.unwrap();
                let guard = Guard::Position { next: Offset(round + 1) };
                let applied = store.apply(&mut claim, Unit { guard, changes: vec![change] }).await;
                while store.expand_fan_out(100).await.unwrap().rest == Rest::More {}
                assert_eq!(applied, Ok(Applied::Committed));
            });
        }
        all.join_all().await;
        while store.expand_fan_out(100).await.unwrap().rest == Rest::More {}

        let told = store.dump().await.unwrap()["notifications"].clone();
        assert_eq!(told["ann"]["comment"][format!("c{round}")][1], 10, "round {round}: {told}");
        assert_eq!(told[format!("s{round}")]["post"][&post][1], 10, "round {round}: {told}");
    }
}

#[tokio::test]
async fn server_that_crashes_in_mid_unit_is_away_and_nothing_is_applied_twice() {
    let Some(server) = Server::start() else { return };
    let store = crate::server::postgres(&server.url).await;
    let place = TopicPartition::new(Topic::new("t"), Partition(0));
    let mut owner = store.claim("g", &place).await.unwrap();
    let table = "CREATE TABLE effects (record BIGINT)".to_owned();
    let unit = |from: i64, to: i64, also: Vec<Change>| {
        let insert = |record| Change::Statement {
            sql: "INSERT INTO effects (record) VALUES (?1)".to_owned(),
            params: vec![Param::Integer(record)],
        };
        let changes = also.into_iter().chain((from..to).map(insert)).collect();
        Unit { guard: Guard::Position { next: Offset(to) }, changes }
    };
    let table = Change::Statement { sql: table, params: Vec::new() };
    assert_eq!(store.apply(&mut owner, unit(0, 5, vec![table])).await, Ok(Applied::Committed));
    let mut away = 0;
    for round in 0..4_i64 {
        let from = owner.next.unwrap().0;
        // A crash at any moment of a stretch of units, until the store says that it is away.
        let (stop, working) = (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), store.clone());
        let seen = stop.clone();
        let units = tokio::spawn(async move {
            let mut at = from;
            let mut crashed = 0;
            loop {
                match working.apply(&mut owner, unit(at, at + 50, Vec::new())).await {
                    Ok(Applied::Committed) => at += 50,
                    Err(StoreError::Away(_)) => crashed += 1,
                    other => panic!("{other:?}"),
                }
                if crashed > 0 && seen.load(std::sync::atomic::Ordering::Relaxed) {
                    return (owner, at, crashed);
                }
                tokio::task::yield_now().await;
            }
        });
        while store.positions().await.is_ok_and(|rows| rows[0].next < Some(Offset(from + 100 * (round + 1))))
        {
        }
        server.crash();
        while store.positions().await.is_ok() {}
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (claim, at, crashed) = units.await.unwrap();
        owner = claim;
        away += crashed;
        server.start_again();

        // The same unit again, whether or not its commit came through.
        assert_eq!(store.apply(&mut owner, unit(at, at + 50, Vec::new())).await, Ok(Applied::Committed));
        let next = owner.next.unwrap().0;
        let sql = "SELECT count(*), count(DISTINCT record), max(record) FROM effects";
        let rows = store.query(sql, Vec::new()).await.unwrap();
        assert_eq!(rows, [[next, next, next - 1].map(Param::Integer)], "round {round}");
    }
    assert!(away > 0, "the crashes were seen");
}

/// A member that froze in a transaction holds the row of its partition no longer than the settings say.
#[tokio::test]
async fn frozen_transaction_does_not_keep_its_partition_from_the_next_owner() {
    let Some(url) = crate::server::shared() else { return };
    let settings = crate::server::settings();
    let idle_timeout = Duration::from_millis(300);
    let store =
        PostgresStore::connect(url, PostgresSettings { idle_timeout, ..settings.clone() }).await.unwrap();
    let place = TopicPartition::new(Topic::new("t"), Partition(0));
    let first = store.claim("g", &place).await.unwrap();
    let (frozen, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    frozen
        .batch_execute(&format!(
            "SET idle_in_transaction_session_timeout = 300; BEGIN; UPDATE {}.positions SET next_offset = 7",
            settings.schema
        ))
        .await
        .unwrap();

    let second = store.claim("g", &place).await.unwrap();

    assert!(second.epoch > first.epoch);
    assert_eq!(second.next, None, "what the frozen one wrote is gone");
    assert!(frozen.batch_execute("COMMIT").await.is_err());
    drop(connection);
}

/// What a session is told at its start.
#[tokio::test]
async fn sessions_are_bounded_as_the_settings_say() {
    let Some(bench) = OnPostgres::new() else { return };
    let store = bench.open().await;
    let sql =
        "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('statement_timeout'),
        current_setting('lock_timeout'), current_setting('application_name'), current_setting('search_path')";

    let row = store.query(sql, Vec::new()).await.unwrap().remove(0);

    let text = |param: &Param| format!("{param:?}");
    assert_eq!(text(&row[0]), "Text(\"15s\")");
    assert_eq!(text(&row[1]), "Text(\"20s\")");
    assert_eq!(text(&row[2]), "Text(\"10s\")");
    assert_eq!(text(&row[3]), "Text(\"postroom\")");
    assert!(text(&row[4]).ends_with(",public\")"), "{row:?}");
}

#[tokio::test]
async fn members_that_start_at_the_same_moment_make_the_tables_once() {
    let Some(url) = crate::server::shared() else { return };
    let settings = crate::server::settings();
    let mut members = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let settings = settings.clone();
        members.spawn(async move { PostgresStore::connect(url, settings).await.unwrap().id().clone() });
    }

    let ids = members.join_all().await;

    assert!(ids.iter().all(|id| Some(id) == ids.first()), "{ids:?}");
}

/// A newer program has changed the tables: one that they still work with goes on, also at its next start; one that they
/// do not work with is refused and changes nothing.
#[tokio::test]
async fn older_member_works_on_while_and_after_a_newer_one_changes_the_tables() {
    let Some(url) = crate::server::shared() else { return };
    let settings = crate::server::settings();
    let older = PostgresStore::connect(url, settings.clone()).await.unwrap();
    let place = TopicPartition::new(Topic::new("t"), Partition(0));
    let mut owner = older.claim("g", &place).await.unwrap();
    let changes = |number: i64| {
        let event = EventId::parse(&format!("e{number}")).unwrap();
        let origin = Origin { event, time: number, arrival: Arrival::InOrder };
        let fact = PostFact::Published { author: "ann".to_owned(), content: PostContent::default() };
        vec![Change::Post(PostChange { post: format!("p{number}"), origin, fact })]
    };
    let mut apply = async |number: i64| {
        let guard = Guard::Position { next: Offset(number) };
        older.apply(&mut owner, Unit { guard, changes: changes(number) }).await
    };
    assert_eq!(apply(1).await, Ok(Applied::Committed));
    let (newer, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let migrate = |version: i32, works_with: i32, sql: &str| {
        let schema = &settings.schema;
        format!(
            "SET search_path = {schema}; BEGIN; {sql}; INSERT INTO postroom_migrations (version, name, works_with)
             VALUES ({version}, 'newer', {works_with}); COMMIT"
        )
    };

    newer.batch_execute(&migrate(900, 1, "ALTER TABLE posts ADD COLUMN language TEXT")).await.unwrap();
    let after_the_change = apply(2).await;
    let at_its_next_start = PostgresStore::connect(url, settings.clone()).await;
    newer.batch_execute(&migrate(901, 900, "SELECT 1")).await.unwrap();
    let refused = PostgresStore::connect(url, settings.clone()).await;

    assert_eq!(after_the_change, Ok(Applied::Committed));
    assert_eq!(at_its_next_start.unwrap().summary(0).await.unwrap().posts, 2);
    assert!(
        matches!(&refused, Err(StoreError::Unusable(why)) if why.contains("version 901") && why.contains("900")),
        "{refused:?}"
    );
    drop(connection);
}

#[tokio::test]
async fn wrong_address_is_told_from_a_server_that_is_away() {
    let Some(url) = crate::server::shared() else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tried =
        async |url: String| PostgresStore::connect(&url, crate::server::settings()).await.unwrap_err();

    let nobody = tried(format!("postgres://postroom@127.0.0.1:{port}/postgres")).await;
    let no_database =
        tried(url.replace("/postgres", "/nowhere").replace("postgres:/nowhere", "postgres:/")).await;
    let no_tls = tried(format!("{url}?sslmode=require")).await;
    let no_user = tried(url.replace("postroom@", "nobody@")).await;
    let no_mode = tried(format!("{url}?sslmode=perhaps")).await;

    assert!(matches!(&nobody, StoreError::Away(why) if why.contains("refused")), "{nobody:?}");
    assert!(
        matches!(&no_database, StoreError::Unusable(why) if why.contains("does not exist")),
        "{no_database:?}"
    );
    assert!(no_tls.to_string().contains("TLS"), "{no_tls:?}");
    assert!(matches!(&no_user, StoreError::Unusable(why) if why.contains("nobody")), "{no_user:?}");
    assert!(matches!(&no_mode, StoreError::Unusable(why) if why.contains("sslmode")), "{no_mode:?}");
}

#[tokio::test]
async fn old_rows_go_and_what_is_open_or_young_stays() {
    let Some(url) = crate::server::shared() else { return };
    let settings = crate::server::settings();
    let day = Duration::from_secs(86_400);
    let kept = PostgresSettings { notifications: Some(365 * day), ..settings.clone() };
    let store = PostgresStore::connect(url, kept).await.unwrap();
    let (direct, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    direct
        .batch_execute(&format!(
            "SET search_path = {};
            INSERT INTO positions VALUES ('g', 't', 0, 1, 10);
            INSERT INTO attempts SELECT 'g', 't', 0, n, 1, extract(epoch FROM now()) FROM generate_series(8, 11) n;
            INSERT INTO dedupe SELECT 'g', 'id' || n, extract(epoch FROM now()) - n * 86400 - 3600 FROM generate_series(1, 2040) n;
            INSERT INTO fan_outs VALUES ('done', 'a', 'e', 1, NULL, 1), ('open', 'a', 'e', 1, '', 1),
                ('young', 'a', 'e', 1, NULL, extract(epoch FROM now()) * 1000);
            INSERT INTO contacts (id, state, since, content_time) VALUES ('gone', 2, 1, 1), ('here', 1, 1, 1);
            INSERT INTO subscriptions VALUES ('gone', 1, true, 1), ('here', 1, true, 1);
            INSERT INTO notifications VALUES ('u', 'post', 'old', 'e', 1),
                ('u', 'post', 'young', 'e', extract(epoch FROM now()) * 1000)",
            settings.schema
        ))
        .await
        .unwrap();

    store.clean().await.unwrap();

    let left = async |sql: &str| {
        let rows = store.query(sql, Vec::new()).await.unwrap();
        format!("{rows:?}")
    };
    assert_eq!(left("SELECT count(*) FROM dedupe").await, "[[Integer(34)]]");
    assert_eq!(left("SELECT record_offset FROM attempts ORDER BY 1").await, "[[Integer(10)], [Integer(11)]]");
    assert_eq!(left("SELECT post FROM fan_outs ORDER BY 1").await, "[[Text(\"open\")], [Text(\"young\")]]");
    assert_eq!(left("SELECT subscriber FROM subscriptions").await, "[[Text(\"here\")]]");
    assert_eq!(left("SELECT subject FROM notifications").await, "[[Text(\"young\")]]");
    drop(connection);
}

#[tokio::test]
async fn cleaning_that_fails_in_one_table_goes_on_in_the_others_and_says_so() {
    let Some(bench) = OnPostgres::new() else { return };
    let store = bench.open().await;
    let (direct, connection) = tokio_postgres::connect(bench.url(), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    direct
        .batch_execute(&format!(
            "SET search_path = {};
            INSERT INTO positions VALUES ('g', 't', 0, 1, 10);
            INSERT INTO attempts VALUES ('g', 't', 0, 8, 1, extract(epoch FROM now()));
            INSERT INTO dedupe VALUES ('g', 'old', 1);
            INSERT INTO fan_outs VALUES ('old', 'a', 'e', 1, NULL, 1);
            CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'not from %', TG_TABLE_NAME; END $$;
            CREATE TRIGGER kept BEFORE DELETE ON dedupe EXECUTE FUNCTION kept();
            CREATE TRIGGER kept BEFORE DELETE ON fan_outs EXECUTE FUNCTION kept()",
            bench.schema()
        ))
        .await
        .unwrap();

    let error = store.clean().await.unwrap_err();

    assert!(error.to_string().contains("not from dedupe"), "{error}");
    let left = async |table: &str| {
        let rows = store.query(&format!("SELECT count(*) FROM {table}"), Vec::new()).await.unwrap();
        format!("{rows:?}")
    };
    assert_eq!(left("attempts").await, "[[Integer(0)]]");
    assert_eq!(
        (left("dedupe").await, left("fan_outs").await),
        ("[[Integer(1)]]".into(), "[[Integer(1)]]".into())
    );
    drop((direct, connection));
}

#[tokio::test]
async fn who_has_nothing_to_announce_waits_for_nobody_who_subscribes() {
    let Some(bench) = OnPostgres::new() else { return };
    let store = bench.open().await;
    let (direct, connection) = tokio_postgres::connect(bench.url(), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let gate = format!("BEGIN; LOCK TABLE {}.fan_out_gate IN ROW EXCLUSIVE MODE", bench.schema());
    direct.batch_execute(&gate).await.unwrap();

    let idle = store.expand_fan_out(10).await;

    assert_eq!(idle.map(|done| done.rest), Ok(Rest::Nothing));
    drop((direct, connection));
}

#[tokio::test]
async fn what_is_said_of_data_that_do_not_fit_shows_none_of_them() {
    let Some(bench) = OnPostgres::new() else { return };
    let store = bench.open().await;
    let (direct, connection) = tokio_postgres::connect(bench.url(), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let table = format!("{}.guests", bench.schema());
    direct
        .batch_execute(&format!("CREATE TABLE {table} (email TEXT UNIQUE, age INT NOT NULL)"))
        .await
        .unwrap();
    let place = TopicPartition::new(Topic::new("t"), Partition(0));
    let mut claim = store.claim("g", &place).await.unwrap();
    let guest = |age: &str| Change::Statement {
        sql: format!("INSERT INTO {table} VALUES ('ana@example.org', {age})"),
        params: Vec::new(),
    };

    for changes in [vec![guest("1"), guest("2")], vec![guest("NULL")]] {
        let guard = Guard::Position { next: Offset(1) };
        let refused = store.apply(&mut claim, Unit { guard, changes }).await.unwrap_err();

        let StoreError::Refused(why) = &refused else { panic!("{refused:?}") };
        assert!(why.contains("constraint") && !why.contains("ana@"), "{why}");
    }
    drop((direct, connection));
}
