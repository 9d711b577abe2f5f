//! The Kafka edge on a real Apache Kafka: set POSTROOM_TEST_KAFKA to its address (`scripts/kafka start`
//! prints one).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]

#[path = "kafka_real/dead_letters.rs"]
mod dead_letters;
#[path = "kafka_real/gaps.rs"]
mod gaps;
mod kafka_driver;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kafka_driver::{Member, OnRevoke, Told, fill, partition};
use postroom::kafka::{
    Admin, Connection, ConsumerConfig, DeadLetterRoute, Plan, Producer, ProducerConfig, Protocol, Start,
    Step, TopicDefaults, desired_topics,
};
use postroom::ports::{Edge, EdgeError, StoreId};
use postroom_core::{Generation, Offset, OffsetRange, TopicPartition};

struct World {
    address: String,
    name: String,
    producer: Producer,
    admin: Admin,
}

impl World {
    /// Makes a group and its topics of its own; `None`, loudly, where no broker is named.
    async fn new(partitions: i32) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(address) = std::env::var("POSTROOM_TEST_KAFKA") else {
            eprintln!("SKIPPED: POSTROOM_TEST_KAFKA names no broker");
            return None;
        };
        let name = format!("t{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let producer = Producer::start(&ProducerConfig::new(Connection::to(&address))).unwrap();
        let admin = Admin::connect(&Connection::to(&address)).unwrap();
        let world = Self { address, name, producer, admin };
        let desired = desired_topics(&[], &world.groups(), &defaults(partitions));
        let plan = world.admin.plan(&desired).await.unwrap();
        world.admin.apply(&plan).await.unwrap();
        Some(world)
    }

    fn posts(&self) -> String {
        format!("posts-{}", self.name)
    }

    fn group(&self) -> String {
        format!("g-{}", self.name)
    }

    fn groups(&self) -> Vec<(DeadLetterRoute, Vec<String>)> {
        vec![(DeadLetterRoute::new(self.group(), "test"), vec![self.posts()])]
    }

    fn config(&self, protocol: Protocol) -> ConsumerConfig {
        let mut config = ConsumerConfig::new(Connection::to(&self.address), self.group(), vec![self.posts()]);
        config.protocol = protocol;
        config.session = Duration::from_secs(6);
        config.drain = Duration::from_secs(3);
        config
    }
}

fn defaults(partitions: i32) -> TopicDefaults {
    TopicDefaults { partitions, replication: Some(1), ..TopicDefaults::default() }
}

/// How long something may take that another member has to do its part of.
const PATIENCE: Duration = Duration::from_secs(120);
const PROTOCOLS: [Protocol; 3] = [Protocol::Cooperative, Protocol::Eager, Protocol::Kip848];

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_handed_over_in_order_without_repeats_under_every_protocol() {
    for protocol in PROTOCOLS {
        let Some(world) = World::new(4).await else { return };
        fill(&world.producer, &world.posts(), 4, 4_000).await;
        let mut first = Member::start(world.config(protocol), &world.producer);
        first.until("all records", |member| member.records.len() == 4_000).await;

        let mut second = Member::start(world.config(protocol), &world.producer);
        Member::serve_both(&mut first, &mut second, PATIENCE, |first, second| {
            second.owned.len() == 2 && first.owned.len() == 2
        })
        .await;
        fill(&world.producer, &world.posts(), 4, 4_000).await;
        Member::serve_both(&mut first, &mut second, PATIENCE, |first, second| {
            first.records.len() + second.records.len() >= 8_000
        })
        .await;

        for number in 0..4 {
            let at = partition(&world.posts(), number);
            let mut offsets = first.offsets(&at);
            offsets.extend(second.offsets(&at));
            assert_eq!(offsets, (0..2_000).collect::<Vec<_>>(), "{protocol:?} {at}");
        }
        assert_eq!(first.close(Duration::from_secs(20)).await, Ok(()), "{protocol:?}");
        // What the first one leaves behind goes on at its commit.
        second.until("the rest", |member| member.owned.len() == 4).await;
        for number in 0..4 {
            let at = partition(&world.posts(), number);
            let (_, position) = second.positions.iter().rfind(|(found, _)| *found == at).unwrap();
            let next = position.as_ref().map(|position| position.next);
            assert!(matches!(next, Some(Offset(1_000 | 2_000))), "{protocol:?} {at} {next:?}");
        }
        assert_eq!(second.close(Duration::from_secs(20)).await, Ok(()), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_aborted_transactions_are_invisible_and_leave_gaps() {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    let Some(world) = World::new(1).await else { return };
    let posts = world.posts();
    let name = world.name.clone();
    let address = world.address.clone();
    let topic = posts.clone();
    tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", &address)
            .set("transactional.id", &name)
            .create()
            .unwrap();
        producer.init_transactions(Duration::from_secs(10)).unwrap();
        for (value, keep) in [("a", true), ("b", false), ("c", true)] {
            producer.begin_transaction().unwrap();
            producer.send(BaseRecord::<str, str>::to(&topic).partition(0).payload(value)).unwrap();
            producer.flush(Duration::from_secs(10)).unwrap();
            if keep {
                producer.commit_transaction(Duration::from_secs(10)).unwrap();
            } else {
                producer.abort_transaction(Duration::from_secs(10)).unwrap();
            }
        }
    })
    .await
    .unwrap();
    let mut member = Member::start(world.config(Protocol::Cooperative), &world.producer);

    member.until("records", |member| member.records.len() == 2).await;
    member.serve(Duration::from_millis(500)).await;

    let values: Vec<_> =
        member.records.iter().map(|(_, _, record)| record.value().unwrap().to_vec()).collect();
    assert_eq!(values, [b"a", b"c"]);
    assert_eq!(member.offsets(&partition(&posts, 0)), [0, 4]);
    assert_eq!(member.close(Duration::from_secs(10)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fullest_metadata_is_taken_by_the_broker_and_read_back() {
    let Some(world) = World::new(1).await else { return };
    fill(&world.producer, &world.posts(), 1, 10).await;
    let posts = partition(&world.posts(), 0);
    let mut config = world.config(Protocol::Cooperative);
    config.store = Some(StoreId("a-store".to_owned()));
    let mut member = Member::start(config.clone(), &world.producer);
    member.until("records", |member| member.records.len() == 10).await;
    let generation = member.owned[&posts];
    let many: Vec<OffsetRange> =
        (0..50_000).map(|n| kafka_driver::range(10 + n * 1_000, 11 + n * 1_000)).collect();

    member.edge.commit(&posts, generation, Offset(5), &many);
    member.until("the commit", |member| member.told(&Told::Committed(generation, Offset(5)))).await;
    member.edge.close(member.moment(Duration::from_secs(10)));
    member.until("the close", |member| member.stopped.is_some()).await;
    let mut next = Member::start(config, &world.producer);
    next.until("records", |member| !member.records.is_empty()).await;

    let committed = next.positions[0].1.clone().unwrap();
    assert_eq!(committed.store, Some(StoreId("a-store".to_owned())));
    assert!(committed.finished.len() > 500, "{}", committed.finished.len());
    assert_eq!(committed.finished[..], many[..committed.finished.len()]);
    let lag = world.admin.group_positions(&world.group(), &[world.posts()]).await.unwrap();
    assert_eq!(lag[0].committed.as_ref().unwrap().next, Offset(5));
    assert_eq!(lag[0].log.end, Offset(10));
    assert_eq!(lag[0].lag(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_widened_and_changed_and_keep_their_other_settings() {
    let Some(world) = World::new(2).await else { return };
    let desired = desired_topics(&[], &world.groups(), &defaults(2));
    assert!(world.admin.plan(&desired).await.unwrap().is_empty());

    let mut wider = desired_topics(&[], &world.groups(), &defaults(3));
    for topic in &mut wider {
        topic.settings.insert("retention.ms".to_owned(), "9999999999".to_owned());
    }
    let plan = world.admin.plan(&wider).await.unwrap();
    eprintln!("{plan}");
    assert_eq!(plan.conflicts.len(), 1, "{plan}");
    assert!(
        plan.steps.iter().any(|step| matches!(step, Step::AddPartitions { from: 2, to: 3, .. })),
        "{plan}"
    );
    world.admin.apply(&plan).await.unwrap();

    let left = world.admin.plan(&wider).await.unwrap();
    assert!(left.is_empty(), "{left}");
    let again = world.admin.plan(&desired).await.unwrap();
    assert!(again.is_empty(), "max.message.bytes was reset: {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_outside_the_log_stops_the_group_and_is_named() {
    let Some(world) = World::new(1).await else { return };
    fill(&world.producer, &world.posts(), 1, 10).await;
    let posts = partition(&world.posts(), 0);
    let mut member = Member::start(world.config(Protocol::Cooperative), &world.producer);
    member.until("records", |member| member.records.len() == 10).await;
    let generation = member.owned[&posts];
    member.edge.commit(&posts, generation, Offset(5_000), &[]);
    member.until("the commit", |member| member.told(&Told::Committed(generation, Offset(5_000)))).await;
    drop(member);

    let mut next = Member::start(world.config(Protocol::Cooperative), &world.producer);
    next.until("the end", |member| member.stopped.is_some()).await;

    let Some(Err(EdgeError::PositionGone { partition, next, log })) = next.stopped else {
        unreachable!("{:?}", next.stopped)
    };
    assert_eq!((partition, next, log.end), (posts, Offset(5_000), Offset(10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_with_the_same_instance_id_is_named() {
    let Some(world) = World::new(1).await else { return };
    let mut config = world.config(Protocol::Cooperative);
    config.instance_id = Some("one".to_owned());
    let mut first = Member::start(config.clone(), &world.producer);
    first.until("the assignment", |member| !member.owned.is_empty()).await;

    let mut second = Member::start(config, &world.producer);
    second.until("the assignment", |member| !member.owned.is_empty()).await;
    first.until("the end", |member| member.stopped.is_some()).await;

    assert!(matches!(first.stopped, Some(Err(EdgeError::FencedInstance(_)))), "{:?}", first.stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_goes_on_after_its_deadline_where_nobody_answers() {
    for protocol in PROTOCOLS {
        let Some(world) = World::new(2).await else { return };
        let mut first = Member::start(world.config(protocol), &world.producer);
        first.until("the assignment", |member| member.owned.len() == 2).await;
        first.on_revoke = OnRevoke::Hang;

        let mut second = Member::start(world.config(protocol), &world.producer);
        Member::serve_both(&mut first, &mut second, PATIENCE, |_, second| !second.owned.is_empty()).await;

        assert!(first.history.iter().any(|told| matches!(told, Told::Revoked(_))), "{protocol:?}");
    }
}

/// What members saw of a partition: stretches of one assignment each, in the order of their beginning.
fn stretches(members: &[Member], at: &TopicPartition) -> Vec<Vec<i64>> {
    let mut stretches: BTreeMap<Generation, Vec<i64>> = BTreeMap::new();
    for (generation, _, record) in members.iter().flat_map(|member| &member.records) {
        if record.partition() == at {
            stretches.entry(*generation).or_default().push(record.offset().0);
        }
    }
    stretches.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_out_of_order_while_members_come_and_go() {
    for protocol in PROTOCOLS {
        let Some(world) = World::new(6).await else { return };
        let writer = {
            let (producer, topic) = (world.producer.clone(), world.posts());
            tokio::spawn(async move {
                for _ in 0..40 {
                    fill(&producer, &topic, 6, 600).await;
                    tokio::task::yield_now().await;
                }
            })
        };
        let mut gone: Vec<Member> = Vec::new();
        let mut members: Vec<Member> = Vec::new();
        for round in 0..8 {
            members.push(Member::start(world.config(protocol), &world.producer));
            for _ in 0..15 {
                for member in &mut members {
                    member.serve(Duration::from_millis(10)).await;
                    member.commit_all();
                }
            }
            if members.len() == 3 {
                let mut leaver = members.remove(round % 3);
                leaver.commit_all();
                // A commit can be held up behind a rebalance, for as long as a session at worst.
                leaver.edge.close(leaver.moment(Duration::from_secs(25)));
                while leaver.stopped.is_none() {
                    leaver.serve(Duration::from_millis(5)).await;
                    for member in &mut members {
                        member.serve(Duration::from_millis(5)).await;
                    }
                }
                assert_eq!(leaver.stopped, Some(Ok(())), "{protocol:?}");
                gone.push(leaver);
            }
        }
        writer.await.unwrap();
        let ends: Vec<_> = (0..6).map(|number| partition(&world.posts(), number)).collect();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
        loop {
            for member in &mut members {
                member.serve(Duration::from_millis(10)).await;
            }
            let all = |at| members.iter().chain(&gone).any(|member| member.offsets(at).contains(&3_999));
            if ends.iter().all(all) {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{protocol:?}: records are missing");
        }

        gone.append(&mut members);
        for at in &ends {
            let mut next = 0;
            for stretch in stretches(&gone, at) {
                assert!(stretch[0] <= next, "{protocol:?} {at}: {} after {next}", stretch[0]);
                assert!(stretch.windows(2).all(|pair| pair[1] == pair[0] + 1), "{protocol:?} {at}");
                next = next.max(stretch.last().unwrap() + 1);
            }
            assert_eq!(next, 4_000, "{protocol:?} {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_starts_with_the_latest_reads_an_added_partition_from_its_beginning() {
    let Some(world) = World::new(1).await else { return };
    fill(&world.producer, &world.posts(), 1, 10).await;
    let mut config = world.config(Protocol::Cooperative);
    config.start = Start::Latest;
    let mut member = Member::start(config.clone(), &world.producer);
    member.until("the assignment", |member| !member.owned.is_empty()).await;
    // The end is looked up after the assignment: what is written meanwhile may be read or not.
    while member.records.is_empty() {
        fill(&world.producer, &world.posts(), 1, 1).await;
        member.serve(Duration::from_millis(50)).await;
    }
    assert!(member.offsets(&partition(&world.posts(), 0))[0] >= 10, "it starts with the latest");
    assert_eq!(member.close(Duration::from_secs(10)).await, Ok(()));

    let steps = vec![Step::AddPartitions { topic: world.posts(), from: 1, to: 2 }];
    world.admin.apply(&Plan { steps, ..Plan::default() }).await.unwrap();
    let producer = Producer::start(&ProducerConfig::new(Connection::to(&world.address))).unwrap();
    fill(&producer, &world.posts(), 2, 10).await;
    let mut member = Member::start(config, &world.producer);
    let added = partition(&world.posts(), 1);
    member.until("the added partition", |member| member.offsets(&added).len() == 5).await;

    assert_eq!(member.offsets(&added), [0, 1, 2, 3, 4]);
}
