//! Dead letters and their topics, and what a topic refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postroom::dead_letters::{Discard, Replay, Selection, collect, discard, read, render, replay};
use postroom::kafka::{
    Connection, DesiredTopic, Protocol, Publication, PublishError, TopicDefaults, TopicRole, desired_topics,
    scan,
};
use postroom::ports::Edge;
use postroom_core::{Class, DeadLetter, Failure, Partition, Reason, Ticket};

use super::kafka_driver::{Member, Told, fill};
use super::{World, defaults};

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
