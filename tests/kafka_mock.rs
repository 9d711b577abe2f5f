//! The Kafka edge on the embedded broker.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "kafka_mock/holding.rs"]
mod holding;
mod kafka_driver;

use std::sync::atomic::Ordering;
use std::time::Duration;

use kafka_driver::{Member, OnRevoke, Told, fill, partition, range};
use postroom::kafka::{
    Admin, Connection, ConsumerConfig, DeadLetterRoute, Embedded, KafkaEdge, Producer, ProducerConfig,
    Protocol, Publication, TopicDefaults, desired_topics,
};
use postroom::ports::{Edge, EdgeError, StoreId};
use postroom_core::{Class, DeadLetter, Failure, FetchEpoch, Generation, Offset, Partition, Reason, Ticket};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

struct World {
    producer: Producer,
    embedded: Embedded,
}

impl World {
    fn new(topic: &str, partitions: i32) -> Self {
        let embedded = Embedded::start().unwrap();
        embedded.create_topic(topic, partitions).unwrap();
        embedded.create_topic(&format!("dlq.g.{topic}"), 2).unwrap();
        let producer = Producer::start(&ProducerConfig::new(Connection::to(embedded.address()))).unwrap();
        Self { producer, embedded }
    }

    fn config(&self, topic: &str) -> ConsumerConfig {
        let mut config =
            ConsumerConfig::new(Connection::to(self.embedded.address()), "g", vec![topic.to_owned()]);
        config.drain = Duration::from_secs(2);
        config.for_embedded()
    }

    fn classic(&self, topic: &str, protocol: Protocol) -> ConsumerConfig {
        let mut config = self.config(topic);
        config.protocol = protocol;
        config.session = Duration::from_secs(3);
        config
    }

    fn member(&self, topic: &str) -> Member {
        Member::start(self.config(topic), &self.producer)
    }
}

/// A broker whose answers the test chooses.
fn mocked(topic: &str, partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, Connection) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(topic, partitions, 1).unwrap();
    cluster.create_topic(&format!("dlq.g.{topic}"), 1, 1).unwrap();
    let connection = Connection::to(cluster.bootstrap_servers());
    (cluster, connection)
}

fn ascending(count: i64) -> Vec<i64> {
    (0..count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_record_comes_within_a_second_and_all_in_order() {
    let world = World::new("posts", 3);
    fill(&world.producer, "posts", 3, 3_000).await;
    let started = std::time::Instant::now();
    let mut member = world.member("posts");

    member.until("the first record", |member| !member.records.is_empty()).await;
    let first = started.elapsed();
    member.until("all records", |member| member.records.len() == 3_000).await;

    eprintln!("first record after {first:?}");
    assert!(first < Duration::from_secs(1), "{first:?}");
    for number in 0..3 {
        assert_eq!(member.offsets(&partition("posts", number)), ascending(1_000));
    }
    assert_eq!(member.close(Duration::from_secs(10)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_carry_the_finished_set_and_the_store_to_the_next_owner() {
    let world = World::new("posts", 1);
    fill(&world.producer, "posts", 1, 100).await;
    let mut config = world.config("posts");
    config.store = Some(StoreId("store-7".to_owned()));
    let posts = partition("posts", 0);
    let mut member = Member::start(config.clone(), &world.producer);
    member.until("records", |member| member.records.len() == 100).await;
    let generation = member.owned[&posts];
    let finished = [range(45, 47), range(60, 61)];
    member.edge.commit(&posts, generation, Offset(40), &finished);
    member.until("the commit", |member| member.told(&Told::Committed(generation, Offset(40)))).await;
    drop(member);

    let mut next = Member::start(config, &world.producer);
    next.until("records", |member| !member.records.is_empty()).await;

    let committed = next.positions[0].1.clone().unwrap();
    assert_eq!(committed.next, Offset(40));
    assert_eq!(committed.finished, finished);
    assert_eq!(committed.store, Some(StoreId("store-7".to_owned())));
    assert_eq!(next.records[0].2.offset(), Offset(40));
    assert_eq!(next.close(Duration::from_secs(10)).await, Ok(()));
}

/// Serves both until each owns two partitions.
async fn share(first: &mut Member, second: &mut Member) {
    let shared = |first: &Member, second: &Member| second.owned.len() == 2 && first.owned.len() == 2;
    Member::serve_both(first, second, Duration::from_secs(40), shared).await;
}

/// The next offset of each partition, as its new owner found it.
fn found(member: &Member) -> Vec<Option<Offset>> {
    let owned = member.positions.iter().filter(|(at, _)| member.owned.contains_key(at));
    owned.map(|(_, position)| position.as_ref().map(|position| position.next)).collect()
}

// The classic protocols are tried on a real broker: the embedded one refuses commits of members that have not joined
// again yet, which Kafka takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_partition_is_handed_over_after_its_commit() {
    let world = World::new("posts", 4);
    fill(&world.producer, "posts", 4, 400).await;
    let mut first = world.member("posts");
    first.until("all records", |member| member.records.len() == 400).await;

    let mut second = world.member("posts");
    share(&mut first, &mut second).await;

    assert!(first.history.iter().any(|told| matches!(told, Told::Revoked(_))));
    assert_eq!(found(&second), [Some(Offset(100)); 2], "{:?} {:?}", first.history, second.history);
    assert_eq!(second.records.len(), 0, "nothing is processed twice");
    tokio::join!(async { assert_eq!(first.close(Duration::from_secs(20)).await, Ok(())) }, async {
        assert_eq!(second.close(Duration::from_secs(20)).await, Ok(()))
    },);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_refused_for_the_moment_is_repeated_before_the_handover() {
    let (cluster, connection) = mocked("posts", 4);
    let producer = Producer::start(&ProducerConfig::new(connection.clone())).unwrap();
    fill(&producer, "posts", 4, 400).await;
    let mut config = ConsumerConfig::new(connection, "g", vec!["posts".to_owned()]);
    config.drain = Duration::from_secs(2);
    let config = config.for_embedded();
    let mut first = Member::start(config.clone(), &producer);
    first.until("all records", |member| member.records.len() == 400).await;

    let moments = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    ];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &moments);
    let mut second = Member::start(config, &producer);
    share(&mut first, &mut second).await;

    assert_eq!(found(&second), [Some(Offset(100)); 2], "{:?} {:?}", first.history, second.history);
    assert!(!first.history.iter().any(|told| matches!(told, Told::CommitFailed(_))), "{:?}", first.history);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_goes_on_after_its_deadline_where_nobody_answers() {
    let world = World::new("posts", 2);
    let mut first = world.member("posts");
    first.until("the assignment", |member| member.owned.len() == 2).await;
    first.on_revoke = OnRevoke::Hang;

    let mut second = world.member("posts");
    let handed_over = |_: &Member, second: &Member| !second.owned.is_empty();
    Member::serve_both(&mut first, &mut second, Duration::from_secs(30), handed_over).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_old_assignments_and_backwards_are_not_sent() {
    let world = World::new("posts", 1);
    fill(&world.producer, "posts", 1, 10).await;
    let posts = partition("posts", 0);
    let mut member = world.member("posts");
    member.until("records", |member| member.records.len() == 10).await;
    let generation = member.owned[&posts];

    member.edge.commit(&posts, Generation(0), Offset(9), &[]);
    member.edge.commit(&posts, generation, Offset(8), &[]);
    member.until("the commit", |member| member.told(&Told::Committed(generation, Offset(8)))).await;
    member.edge.commit(&posts, generation, Offset(3), &[]);
    member.edge.commit(&posts, generation, Offset(10), &[]);
    member.until("the commit", |member| member.told(&Told::Committed(generation, Offset(10)))).await;

    assert_eq!(member.edge.counters().refused_commits.load(Ordering::Relaxed), 2);
    let commits = member.history.iter().filter(|told| matches!(told, Told::Committed(..))).count();
    assert_eq!(commits, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_seek_only_records_of_the_new_epoch_come() {
    let world = World::new("posts", 1);
    fill(&world.producer, "posts", 1, 1_000).await;
    let posts = partition("posts", 0);
    let mut member = world.member("posts");
    member.until("the assignment", |member| !member.owned.is_empty()).await;
    let generation = member.owned[&posts];

    member.edge.seek(&posts, generation, Offset(990), FetchEpoch(1));
    member
        .until("the end", |member| {
            member.records.last().is_some_and(|(_, epoch, record)| epoch.0 == 1 && record.offset().0 == 999)
        })
        .await;
    member.edge.seek(&posts, generation, Offset(500), FetchEpoch(2));
    member
        .until("the end", |member| {
            member.records.last().is_some_and(|(_, epoch, record)| epoch.0 == 2 && record.offset().0 == 999)
        })
        .await;

    let of_epoch = |wanted: u32| -> Vec<i64> {
        let records = member.records.iter().filter(|(_, epoch, _)| epoch.0 == wanted);
        records.map(|(_, _, record)| record.offset().0).collect()
    };
    assert_eq!(of_epoch(1), (990..1_000).collect::<Vec<_>>());
    assert_eq!(of_epoch(2), (500..1_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_partition_is_silent_and_goes_on_without_gap_or_repeat() {
    let world = World::new("posts", 2);
    let posts = partition("posts", 0);
    let mut member = world.member("posts");
    member.until("the assignment", |member| member.owned.len() == 2).await;
    let generation = member.owned[&posts];
    member.edge.pause(Generation(0));
    member.edge.pause(generation);
    member.edge.commit(&posts, generation, Offset(0), &[]);
    member.until("the pause", |member| member.told(&Told::Committed(generation, Offset(0)))).await;
    fill(&world.producer, "posts", 2, 1_000).await;

    member.until("the other partition", |member| member.offsets(&partition("posts", 1)).len() == 500).await;
    assert!(member.offsets(&posts).is_empty());
    member.edge.resume(generation);
    member.until("the paused partition", |member| member.offsets(&posts).len() == 500).await;

    assert_eq!(member.offsets(&posts), ascending(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_that_holds_is_verified() {
    let world = World::new("posts", 1);
    let mut member = Member::start(world.classic("posts", Protocol::Cooperative), &world.producer);
    member.until("the assignment", |member| !member.owned.is_empty()).await;
    let generation = member.owned[&partition("posts", 0)];

    member.edge.verify(Generation(0));
    member.edge.verify(generation);
    member.until("the answer", |member| member.told(&Told::Verified(generation))).await;

    assert!(!member.told(&Told::Verified(Generation(0))));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_byte_identical_and_acknowledged() {
    let world = World::new("posts", 3);
    let headers: &[(&str, Option<&[u8]>)] =
        &[("a", Some(b"1")), ("a", None), ("b", Some(b"")), ("a", Some(&[0xff, 0]))];
    let values: [Option<&[u8]>; 4] = [Some(&[0, 0, 0, 0, 1, 0xff]), None, Some(b""), Some(&[0xfe])];
    let keys: [Option<&[u8]>; 4] = [Some(b"k"), None, Some(b""), Some(&[0xff])];
    for (key, value) in keys.into_iter().zip(values) {
        let partition = Some(Partition(2));
        let record = Publication {
            topic: "posts",
            partition,
            key,
            value,
            headers,
            timestamp: Some(1_600_000_000_001),
        };
        world.producer.publish(record).await.unwrap();
    }
    let mut member = world.member("posts");
    member.until("records", |member| member.records.len() == 4).await;
    for (generation, _, record) in &member.records {
        member.edge.dead_letter(DeadLetter {
            partition: record.partition().clone(),
            ticket: Ticket { generation: *generation, offset: record.offset() },
            reason: Reason::Undecodable,
            failure: Failure::new(Class::Dead(Reason::Undecodable), "truncated", "ends too early"),
            attempts: 0,
            failing_for: Duration::ZERO,
            payload: record.clone(),
        });
    }
    for offset in 0..4 {
        member.until("the acknowledgement", |member| member.told(&Told::DeadLettered(Offset(offset)))).await;
    }

    let mut config = world.config("dlq.g.posts");
    config.group = "reader".to_owned();
    world.embedded.create_topic("dlq.reader.dlq.g.posts", 1).unwrap();
    let mut reader = Member::start(config, &world.producer);
    reader.until("dead letters", |reader| reader.records.len() == 4).await;

    for (_, _, letter) in &reader.records {
        let offset = letter.header("postroom-dlq-offset").unwrap();
        let offset: usize = std::str::from_utf8(offset).unwrap().parse().unwrap();
        assert_eq!(letter.partition().partition, Partition(0), "2 modulo 2");
        assert_eq!(letter.key(), keys[offset]);
        assert_eq!(letter.value(), values[offset]);
        assert_eq!(letter.timestamp(), Some(1_600_000_000_001));
        let kept: Vec<_> = letter.headers().take(4).map(|header| (header.name, header.value)).collect();
        assert_eq!(kept, headers);
        let id = format!("g/posts/2/{offset}");
        assert_eq!(letter.header("postroom-dlq-id"), Some(id.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_commit_metadata_is_ignored_and_counted() {
    let world = World::new("posts", 1);
    fill(&world.producer, "posts", 1, 10).await;
    commit_as_another_tool(world.embedded.address(), "g", "posts", 4, "AQIDBAUG");
    let mut member = world.member("posts");

    member.until("records", |member| !member.records.is_empty()).await;

    let committed = member.positions[0].1.clone().unwrap();
    assert_eq!((committed.next, committed.finished, committed.store), (Offset(4), vec![], None));
    assert_eq!(member.edge.foreign_metadata(), 1);
}

fn commit_as_another_tool(address: &str, group: &str, topic: &str, next: i64, metadata: &str) {
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", address).set("group.id", group);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    let mut element = list.add_partition(topic, 0);
    element.set_offset(rdkafka::Offset::Offset(next)).unwrap();
    element.set_metadata(metadata);
    consumer.commit(&list, CommitMode::Sync).unwrap();
    drop(list);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_an_expelled_member_are_lost_and_come_back() {
    let (cluster, connection) = mocked("posts", 1);
    let producer = Producer::start(&ProducerConfig::new(connection.clone())).unwrap();
    fill(&producer, "posts", 1, 10).await;
    let mut config = ConsumerConfig::new(connection, "g", vec!["posts".to_owned()]);
    config.session = Duration::from_secs(3);
    config.drain = Duration::from_secs(2);
    let mut member = Member::start(config, &producer);
    member.until("records", |member| member.records.len() == 10).await;
    let generation = member.owned[&partition("posts", 0)];

    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    member.until("the loss", |member| member.told(&Told::Lost(1))).await;
    member.edge.commit(&partition("posts", 0), generation, Offset(10), &[]);
    member.until("the next assignment", |member| member.owned.len() == 1).await;
    member.until("records again", |member| member.records.len() == 20).await;

    assert!(!member.history.iter().any(|told| matches!(told, Told::Revoked(_) | Told::Committed(..))));
    assert_eq!(member.positions.last().unwrap().1, None, "nothing was committed after the loss");
    assert_ne!(member.owned[&partition("posts", 0)], generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_missing_admin_api_is_named() {
    let world = World::new("posts", 1);
    let admin = Admin::connect(&Connection::to(world.embedded.address())).unwrap();
    let desired = desired_topics(
        &[],
        &[(DeadLetterRoute::new("g", "h"), vec!["posts".to_owned()])],
        &TopicDefaults::default(),
    );

    let error = admin.plan(&desired).await.unwrap_err();

    assert!(
        matches!(&error, EdgeError::Configuration(text) if text.contains("not its admin API")),
        "{error}"
    );
    let sources = ["posts".to_owned()];
    assert_eq!(admin.check_dead_letters(&DeadLetterRoute::new("g", "h"), &sources).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_would_read_its_own_dead_letters_is_refused() {
    let world = World::new("posts", 1);
    let mut config = world.config("posts");
    config.topics.push("dlq.g.posts".to_owned());
    let route = DeadLetterRoute::new("g", "h");

    let error = KafkaEdge::start(config, route, world.producer, std::time::Instant::now()).unwrap_err();

    assert!(error.to_string().contains("dlq.g.posts"), "{error}");
}

#[test]
fn the_embedded_broker_may_move_between_threads() {
    fn moves<T: Send + Sync>() {}
    moves::<Embedded>();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_with_its_fix() {
    let world = World::new("posts", 1);
    let mut config = world.config("posts");
    config.topics.push("no.such.topic".to_owned());
    let mut member = Member::start(config, &world.producer);

    member.until("the end", |member| member.stopped.is_some()).await;

    let Some(Err(EdgeError::NoSuchTopic { topic, fix })) = member.stopped else {
        unreachable!("{:?}", member.stopped)
    };
    assert_eq!(topic, "no.such.topic");
    assert!(fix.contains("postroom topics apply"), "{fix}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_broker_is_named() {
    let world = World::new("posts", 1);
    let mut config = world.config("posts");
    config.connection = Connection::to("127.0.0.1:1");
    config.connection.patience = Duration::from_secs(2);
    let mut member = Member::start(config, &world.producer);

    member.until("the end", |member| member.stopped.is_some()).await;

    let Some(Err(EdgeError::Unreachable(reason))) = member.stopped else {
        unreachable!("{:?}", member.stopped)
    };
    assert!(reason.contains("127.0.0.1:1") && reason.contains("refused"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_is_waited_for() {
    let world = World::new("posts", 1);
    fill(&world.producer, "posts", 1, 10).await;
    let mut member = world.member("posts");
    member.until("records", |member| member.records.len() == 10).await;

    world.embedded.go_down().unwrap();
    member.serve(Duration::from_secs(2)).await;
    assert_eq!(member.stopped, None);
    world.embedded.come_up().unwrap();
    fill(&world.producer, "posts", 1, 10).await;

    member.until("more records", |member| member.records.len() == 20).await;
    assert_eq!(member.offsets(&partition("posts", 0)), ascending(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_without_a_broker_ends_by_its_deadline() {
    for protocol in [Protocol::Kip848, Protocol::Cooperative] {
        let world = World::new("posts", 1);
        fill(&world.producer, "posts", 1, 10).await;
        let config = match protocol {
            Protocol::Kip848 => world.config("posts"),
            classic @ (Protocol::Cooperative | Protocol::Eager) => world.classic("posts", classic),
        };
        let mut member = Member::start(config, &world.producer);
        member.until("records", |member| member.records.len() == 10).await;

        world.embedded.go_down().unwrap();
        let begun = std::time::Instant::now();
        let result = member.close(Duration::from_secs(5)).await;

        eprintln!("{protocol:?}: closed after {:?}: {result:?}", begun.elapsed());
        // On a busy machine the client's own threads may need all of it; what may not happen is that nobody returns.
        assert!(matches!(result, Ok(()) | Err(EdgeError::CloseTimedOut)), "{result:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        world.embedded.come_up().unwrap();
    }
}
