//! What the edge holds: pauses, positions and memory, and how it lets go at the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use postroom::kafka::{ConsumerConfig, Producer, ProducerConfig, Publication, Start};
use postroom::ports::Edge;
use postroom_core::{FetchEpoch, Offset, Partition};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::kafka_driver::{Member, OnRevoke, Told, fill, partition};
use super::{World, ascending, found, mocked};

/// What the client library says through the `log` crate, by itself or in its destructors.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Lines {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Error
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.lines().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn listen_to_errors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(log::LevelFilter::Error);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_leaves_closes_its_client_once() {
    listen_to_errors();
    let world = World::new("posts", 1);
    fill(&world.producer, "posts", 1, 10).await;
    let mut member = world.member("posts");
    member.until("records", |member| member.records.len() == 10).await;

    assert_eq!(member.close(Duration::from_secs(10)).await, Ok(()));

    let lines = LINES.lines().clone();
    assert!(!lines.iter().any(|line| line.contains("close")), "{lines:?}");
    let mut next = world.member("posts");
    next.until("the assignment", |next| !next.owned.is_empty()).await;
    assert_eq!(next.positions[0].1.as_ref().unwrap().next, Offset(10), "it has committed and left");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_commit_of_a_member_that_leaves_is_repeated_where_it_is_refused_for_the_moment() {
    let (cluster, connection) = mocked("posts", 1);
    let producer = Producer::start(&ProducerConfig::new(connection.clone())).unwrap();
    fill(&producer, "posts", 1, 10).await;
    let config = ConsumerConfig::new(connection, "g", vec!["posts".to_owned()]).for_embedded();
    let mut member = Member::start(config.clone(), &producer);
    member.until("records", |member| member.records.len() == 10).await;

    let moments = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 2];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &moments);
    assert_eq!(member.close(Duration::from_secs(10)).await, Ok(()));
    let mut next = Member::start(config, &producer);
    next.until("the assignment", |next| !next.owned.is_empty()).await;

    assert_eq!(found(&next), [Some(Offset(10))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_gives_up_what_is_idle_with_its_last_commit_and_a_revocation_does_not_wait_for_it() {
    let (cluster, connection) = mocked("posts", 2);
    let producer = Producer::start(&ProducerConfig::new(connection.clone())).unwrap();
    fill(&producer, "posts", 2, 20).await;
    let mut config = ConsumerConfig::new(connection, "g", vec!["posts".to_owned()]).for_embedded();
    // Longer than the test waits for the hand-over.
    config.drain = Duration::from_secs(600);
    let mut first = Member::start(config.clone(), &producer);
    first.until("records", |first| first.records.len() == 20).await;

    let moments = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 2];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &moments);
    let owned: Vec<_> = first.owned.iter().map(|(at, generation)| (at.clone(), *generation)).collect();
    for (at, generation) in &owned {
        first.edge.commit(at, *generation, Offset(10), &[]);
        first.edge.released(*generation);
    }
    for (_, generation) in &owned {
        first.until("the commit", |first| first.told(&Told::Committed(*generation, Offset(10)))).await;
    }
    // The driver has nothing more to say of them.
    first.on_revoke = OnRevoke::Hang;
    let mut second = Member::start(config, &producer);
    let handed_over = |_: &Member, second: &Member| !second.owned.is_empty();
    Member::serve_both(&mut first, &mut second, Duration::from_secs(60), handed_over).await;

    assert_eq!(found(&second), [Some(Offset(10))]);
    assert!(!first.history.iter().any(|told| matches!(told, Told::CommitFailed(_))), "{:?}", first.history);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_does_not_outlive_its_assignment() {
    let (cluster, connection) = mocked("posts", 1);
    let producer = Producer::start(&ProducerConfig::new(connection.clone())).unwrap();
    fill(&producer, "posts", 1, 10).await;
    let mut config = ConsumerConfig::new(connection, "g", vec!["posts".to_owned()]);
    config.session = Duration::from_secs(3);
    config.drain = Duration::from_secs(2);
    let mut member = Member::start(config, &producer);
    let posts = partition("posts", 0);
    member.until("records", |member| member.records.len() == 10).await;
    let generation = member.owned[&posts];
    member.edge.pause(generation);
    member.edge.commit(&posts, generation, Offset(10), &[]);
    member.until("the pause", |member| member.told(&Told::Committed(generation, Offset(10)))).await;
    fill(&producer, "posts", 1, 10).await;

    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    member.until("the loss", |member| member.told(&Told::Lost(1))).await;
    member.until("what came meanwhile", |member| member.records.len() == 20).await;

    assert_ne!(member.owned[&posts], generation);
    assert_eq!(member.offsets(&posts), ascending(20));
}

/// Writes one batch whose record nobody can read: it says that it is packed by gzip, and is not.
fn write_what_nobody_can_read(address: &str, topic: &str) {
    let mut batch = vec![0; 8];
    let mut rest = Vec::new();
    rest.extend_from_slice(&0_i32.to_be_bytes()); // the leader's epoch
    rest.push(2); // the format
    rest.extend_from_slice(&0_u32.to_be_bytes()); // the checksum, which is not looked at
    rest.extend_from_slice(&1_i16.to_be_bytes()); // packed by gzip
    rest.extend_from_slice(&0_i32.to_be_bytes()); // the last record's offset in the batch
    rest.extend_from_slice(&[0; 16]); // times
    rest.extend_from_slice(&(-1_i64).to_be_bytes()); // no transaction, no sequence
    rest.extend_from_slice(&(-1_i16).to_be_bytes());
    rest.extend_from_slice(&(-1_i32).to_be_bytes());
    rest.extend_from_slice(&1_i32.to_be_bytes()); // one record
    rest.extend_from_slice(b"this is not gzip");
    batch.extend_from_slice(&i32::try_from(rest.len()).unwrap().to_be_bytes());
    batch.append(&mut rest);

    let mut request = Vec::new();
    for number in [0_i16, 7] {
        request.extend_from_slice(&number.to_be_bytes()); // Produce, version 7
    }
    request.extend_from_slice(&1_i32.to_be_bytes());
    request.extend_from_slice(&(-1_i16).to_be_bytes()); // no client id
    request.extend_from_slice(&(-1_i16).to_be_bytes()); // no transaction
    request.extend_from_slice(&1_i16.to_be_bytes());
    request.extend_from_slice(&5_000_i32.to_be_bytes());
    request.extend_from_slice(&1_i32.to_be_bytes());
    request.extend_from_slice(&i16::try_from(topic.len()).unwrap().to_be_bytes());
    request.extend_from_slice(topic.as_bytes());
    request.extend_from_slice(&1_i32.to_be_bytes());
    request.extend_from_slice(&0_i32.to_be_bytes());
    request.extend_from_slice(&i32::try_from(batch.len()).unwrap().to_be_bytes());
    request.append(&mut batch);

    let mut broker = TcpStream::connect(address).unwrap();
    broker.write_all(&i32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    broker.write_all(&request).unwrap();
    let mut answer = [0; 4 + 4 + 4];
    broker.read_exact(&mut answer).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_never_passed_over() {
    let (cluster, connection) = mocked("posts", 1);
    let producer = Producer::start(&ProducerConfig::new(connection.clone())).unwrap();
    fill(&producer, "posts", 1, 5).await;
    write_what_nobody_can_read(&cluster.bootstrap_servers(), "posts");
    fill(&producer, "posts", 1, 5).await;
    let config = ConsumerConfig::new(connection, "g", vec!["posts".to_owned()]).for_embedded();
    let mut member = Member::start(config, &producer);
    let posts = partition("posts", 0);
    member.until("what is before it", |member| member.records.len() == 5).await;
    let generation = member.owned[&posts];

    // The client's own position is behind it by then; a pause would bring that to light.
    for round in 0..5 {
        member.serve(Duration::from_millis(200)).await;
        member.edge.pause(generation);
        member.edge.commit(&posts, generation, Offset(round), &[]);
        member.until("the pause", |member| member.told(&Told::Committed(generation, Offset(round)))).await;
        member.edge.resume(generation);
    }
    member.serve(Duration::from_millis(500)).await;
    assert_eq!(member.offsets(&posts), ascending(5), "what is behind it waits");

    member.edge.seek(&posts, generation, Offset(6), FetchEpoch(1));
    member.until("what is behind it", |member| member.records.len() == 10).await;
    assert_eq!(member.offsets(&posts), [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_records_are_held_back_by_their_weight() {
    let world = World::new("posts", 4);
    let value = vec![7; 100_000];
    for number in 0..160 {
        let record = Publication {
            topic: "posts",
            partition: Some(Partition(number % 4)),
            key: None,
            value: Some(&value),
            headers: &[],
            timestamp: None,
        };
        // A batch of its own each, since a fetch brings whole ones.
        world.producer.publish(record).await.unwrap();
    }
    let mut config = world.config("posts");
    config.memory.queue_bytes = 1_024 * 1_024;
    config.memory.fetch_bytes = 256 * 1_024;
    let queue = config.memory.queue_bytes;
    let mut member = Member::start(config, &world.producer);
    member.takes = false;
    member.edge.taken(0, 0);

    member.until("some records", |member| member.weight > queue).await;
    // Several looks at the driver, which never comes to take any.
    member.serve(Duration::from_secs(5)).await;

    let fetched = 4 * 256 * 1_024 + 200_000;
    assert!(member.weight < 2 * queue + fetched, "{} of 16,000,000 bytes wait", member.weight);
    member.takes = true;
    member.edge.taken(member.records.len(), member.weight);
    member.until("the rest", |member| member.records.len() == 160).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_not_known_yet_is_waited_for_and_not_taken_for_none() {
    let (cluster, connection) = mocked("posts", 1);
    let producer = Producer::start(&ProducerConfig::new(connection.clone())).unwrap();
    fill(&producer, "posts", 1, 10).await;
    let mut config = ConsumerConfig::new(connection, "g", vec!["posts".to_owned()]).for_embedded();
    let mut first = Member::start(config.clone(), &producer);
    first.until("records", |member| member.records.len() == 10).await;
    let generation = first.owned[&partition("posts", 0)];
    first.edge.commit(&partition("posts", 0), generation, Offset(6), &[]);
    first.until("the commit", |member| member.told(&Told::Committed(generation, Offset(6)))).await;
    first.edge.close(first.moment(Duration::from_secs(10)));
    first.until("the close", |member| member.stopped.is_some()).await;
    config.start = Start::Latest;

    // As often as it is asked for in an assignment, and once more.
    cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN; 4]);
    let mut next = Member::start(config, &producer);
    next.until("what was not committed", |next| next.records.len() == 4).await;

    assert_eq!(found(&next), [Some(Offset(6))]);
    assert_eq!(next.offsets(&partition("posts", 0)), [6, 7, 8, 9]);
    assert_eq!(next.close(Duration::from_secs(10)).await, Ok(()));
}
