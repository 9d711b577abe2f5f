//! The Kafka edge on a real Apache Kafka: set POSTROOM_TEST_KAFKA to its address (`scripts/kafka start`
//! prints one).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]

#[path = "kafka_real/gaps.rs"]
mod gaps;
mod kafka_driver;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kafka_driver::{Member, OnRevoke, Told, fill, partition};
use postroom::dead_letters::{Discard, Replay, Selection, collect, discard, read, render, replay};
use postroom::kafka::{
    Admin, Connection, ConsumerConfig, DeadLetterRoute, DesiredTopic, Plan, Producer, ProducerConfig,
    Protocol, Publication, PublishError, Start, Step, TopicDefaults, TopicRole, desired_topics, scan,
};
use postroom::ports::{Edge, EdgeError, StoreId};
use postroom_core::{
    Class, DeadLetter, Failure, Generation, Offset, OffsetRange, Partition, Reason, Ticket, TopicPartition,
};

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

const PROTOCOLS: [Protocol; 3] = [Protocol::Cooperative, Protocol::Eager, Protocol::Kip848];

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_handed_over_in_order_without_repeats_under_every_protocol() {
    for protocol in PROTOCOLS {
        let Some(world) = World::new(4).await else { return };
        fill(&world.producer, &world.posts(), 4, 4_000).await;
        let mut first = Member::start(world.config(protocol), &world.producer);
        first.until("all records", |member| member.records.len() == 4_000).await;

        let mut second = Member::start(world.config(protocol), &world.producer);
        while !(second.owned.len() == 2 && first.owned.len() == 2) {
            first.serve(Duration::from_millis(20)).await;
            second.serve(Duration::from_millis(20)).await;
        }
        fill(&world.producer, &world.posts(), 4, 4_000).await;
        while first.records.len() + second.records.len() < 8_000 {
            first.serve(Duration::from_millis(20)).await;
            second.serve(Duration::from_millis(20)).await;
        }

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
async fn a_record_without_a_key_breaks_a_rule_where_the_newest_of_each_key_is_kept() {
    let Some(world) = World::new(1).await else { return };
    let topic = DesiredTopic {
        name: format!("newest-{}", world.name),
        role: TopicRole::Source,
        partitions: 1,
        replication: Some(1),
        settings: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
    };
    let plan = world.admin.plan(std::slice::from_ref(&topic)).await.unwrap();
    world.admin.apply(&plan).await.unwrap();
    let record = |key| Publication {
        topic: topic.name.as_str(),
        partition: None,
        key,
        value: Some(&b"{}"[..]),
        headers: &[],
        timestamp: None,
    };

    let refused = world.producer.publish(record(None)).await;
    let taken = world.producer.publish(record(Some(b"k"))).await;

    assert_eq!(refused, Err(PublishError::Refused(topic.name.clone())));
    assert!(taken.is_ok(), "{taken:?}");
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
async fn a_dead_letter_topic_that_is_too_small_is_named_at_start() {
    let Some(world) = World::new(1).await else { return };
    let (route, sources) = world.groups().remove(0);
    assert_eq!(world.admin.check_dead_letters(&route, &sources).await, Ok(()));

    let larger = TopicDefaults { max_record_bytes: 4_000_000, ..defaults(1) };
    let mut desired = desired_topics(&[], &world.groups(), &larger);
    desired.retain(|topic| topic.name == world.posts());
    let plan = world.admin.plan(&desired).await.unwrap();
    world.admin.apply(&plan).await.unwrap();

    let error = world.admin.check_dead_letters(&route, &sources).await.unwrap_err().to_string();
    assert!(error.contains("4000000") && error.contains(&format!("dlq.{}", world.group())), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_reach_the_source_partition_and_can_be_scanned() {
    let Some(world) = World::new(3).await else { return };
    let headers: &[(&str, Option<&[u8]>)] = &[("a", Some(b"1")), ("a", None), ("b", Some(b""))];
    for number in 0..30 {
        let value = [0xff, number];
        let record = Publication {
            topic: &world.posts(),
            partition: Some(Partition(i32::from(number) % 3)),
            key: None,
            value: Some(&value),
            headers,
            timestamp: Some(1_700_000_000_000 + i64::from(number)),
        };
        world.producer.publish(record).await.unwrap();
    }
    let mut member = Member::start(world.config(Protocol::Kip848), &world.producer);
    member.until("records", |member| member.records.len() == 30).await;
    for (generation, _, record) in &member.records {
        member.edge.dead_letter(DeadLetter {
            partition: record.partition().clone(),
            ticket: Ticket { generation: *generation, offset: record.offset() },
            reason: Reason::Undecodable,
            failure: Failure::new(Class::Dead(Reason::Undecodable), "magic", "the first byte is not 0"),
            attempts: 0,
            failing_for: Duration::ZERO,
            payload: record.clone(),
        });
    }
    member
        .until("acknowledgements", |member| {
            member.history.iter().filter(|told| matches!(told, Told::DeadLettered(_))).count() == 30
        })
        .await;

    let connection = Connection::to(&world.address);
    let topics = vec![format!("dlq.{}.{}", world.group(), world.posts()), "no.such.topic".to_owned()];
    let scanned = tokio::task::spawn_blocking(move || {
        let mut letters = Vec::new();
        scan(&connection, &topics, |record| {
            letters.push(record.clone());
            true
        })
        .map(|()| letters)
    });
    let letters = scanned.await.unwrap().unwrap();

    assert_eq!(letters.len(), 30);
    let originals: BTreeMap<_, _> =
        member.records.iter().map(|(_, _, record)| (record.value().unwrap().to_vec(), record)).collect();
    let mut ids = BTreeSet::new();
    for letter in &letters {
        let original = originals[letter.value().unwrap()];
        assert_eq!(letter.partition().partition, original.partition().partition);
        assert_eq!((letter.key(), letter.timestamp()), (original.key(), original.timestamp()));
        let kept: Vec<_> = letter.headers().take(3).map(|header| (header.name, header.value)).collect();
        assert_eq!(kept, headers);
        ids.insert(letter.header("postroom-dlq-id").unwrap().to_vec());
    }
    assert_eq!(ids.len(), 30);
    assert_eq!(member.close(Duration::from_secs(10)).await, Ok(()));
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
        while second.owned.is_empty() {
            first.serve(Duration::from_millis(20)).await;
            second.serve(Duration::from_millis(20)).await;
        }

        assert!(first.history.iter().any(|told| matches!(told, Told::Revoked(_))), "{protocol:?}");
    }
}

async fn dead_letter_all(member: &mut Member, message: &str) {
    let before = member.history.iter().filter(|told| matches!(told, Told::DeadLettered(_))).count();
    let wanted = before + member.records.len();
    for (generation, _, record) in member.records.drain(..) {
        member.edge.dead_letter(DeadLetter {
            partition: record.partition().clone(),
            ticket: Ticket { generation, offset: record.offset() },
            reason: Reason::Rejected,
            failure: Failure::new(Class::Dead(Reason::Rejected), "no", message),
            attempts: 1,
            failing_for: Duration::from_secs(1),
            payload: record,
        });
    }
    let done = |member: &Member| {
        member.history.iter().filter(|told| matches!(told, Told::DeadLettered(_))).count() == wanted
    };
    member.until("acknowledgements", done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_reaches_its_group_once_and_a_new_failure_keeps_its_id() {
    let Some(world) = World::new(2).await else { return };
    fill(&world.producer, &world.posts(), 2, 600).await;
    let mut config = world.config(Protocol::Kip848);
    config.topics.push(format!("retry.{}", world.group()));
    let mut member = Member::start(config, &world.producer);
    member.until("records", |member| member.records.len() == 600).await;
    dead_letter_all(&mut member, "first").await;
    let connection = Connection::to(&world.address);
    let letters = vec![format!("dlq.{}.{}", world.group(), world.posts())];
    let collection = collect(&connection, &letters).await.unwrap();
    assert_eq!(collection.select(&Selection::default()).len(), 600);
    assert_eq!(collection.causes(&Selection::default())[0].count, 600);
    let id = format!("{}/{}/1/7", world.group(), world.posts());
    let mut order = Replay {
        selection: Selection::default(),
        by: "ops".to_owned(),
        force: false,
        dry_run: true,
        rate: None,
    };
    let would = replay(&connection, &world.producer, &letters, &order, |_| {}).await.unwrap();
    assert_eq!((would.sent.len(), would.refused.len()), (600, 0));
    assert!(member.records.is_empty());

    order.dry_run = false;
    let mut told = 0;
    let report = replay(&connection, &world.producer, &letters, &order, |sent| told = sent).await.unwrap();
    assert_eq!((report.sent.len(), told), (600, 600));
    member.until("the replays", |member| member.records.len() == 600).await;
    let again = replay(&connection, &world.producer, &letters, &order, |_| {}).await.unwrap();
    assert_eq!((again.sent.len(), again.refused.len()), (0, 600), "it is done");
    let replayed = member
        .records
        .iter()
        .find(|(_, _, record)| record.header("postroom-replay-of") == Some(id.as_bytes()));
    let (_, _, replayed) = replayed.unwrap();
    assert_eq!(replayed.value(), Some(&b"15"[..]));
    assert_eq!(replayed.header("postroom-replay-by"), Some(&b"ops"[..]));
    member.records.retain(|(_, _, record)| record.header("postroom-replay-of") == Some(id.as_bytes()));
    dead_letter_all(&mut member, "second").await;

    let collection = collect(&connection, &letters).await.unwrap();
    let open = collection.select(&Selection::default());
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].id.as_str(), open[0].replays, open[0].copies), (id.as_str(), 1, 2));
    assert_eq!(open[0].message.as_deref(), Some("second"));
    let record = read(&connection, &open[0].place).await.unwrap().unwrap();
    let text = render(open[0], &record, |_| Ok("{}".to_owned()));
    assert!(text.contains(&id) && text.contains("second") && text.contains("decoded"), "{text}");
    let order = Discard { by: "ops".to_owned(), why: "known".to_owned(), ..Discard::default() };
    assert_eq!(discard(&connection, &world.producer, &letters, &order).await, Ok(vec![id.clone()]));
    let collection = collect(&connection, &letters).await.unwrap();
    assert!(collection.select(&Selection::default()).is_empty());
    assert_eq!(member.close(Duration::from_secs(10)).await, Ok(()));
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
