//! Batches from librdkafka's mock cluster.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postroom_dequeue::{Dequeue, Forward};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

type Cluster = MockCluster<'static, DefaultProducerContext>;

#[derive(Default)]
struct Context {
    forward: Arc<Forward>,
    owned: Mutex<Vec<i32>>,
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut owned = self.owned.lock().expect("not poisoned");
        match rebalance {
            Rebalance::Assign(list) => {
                owned.extend(list.elements().iter().map(|element| element.partition()));
                // Without a queue the member is just leaving: a record would come beside it, and be noticed.
                let forwarded =
                    owned.iter().filter(|number| self.forward.forward(consumer, "posts", **number));
                eprintln!("{} of {} partitions forwarded", forwarded.count(), owned.len());
            }
            Rebalance::Revoke(list) => {
                let gone: Vec<_> = list.elements().iter().map(|element| element.partition()).collect();
                owned.retain(|number| !gone.contains(number));
            }
            Rebalance::Error(error) => panic!("{error}"),
        }
    }
}

struct Member {
    queue: Dequeue<Context>,
    /// Offsets by partition.
    seen: BTreeMap<i32, Vec<i64>>,
}

impl Member {
    fn join(cluster: &Cluster, protocol: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        config.set("fetch.wait.max.ms", "10");
        if protocol == "consumer" {
            config.set("group.protocol", "consumer");
        } else {
            config.set("partition.assignment.strategy", protocol);
            config.set("session.timeout.ms", "3000").set("heartbeat.interval.ms", "200");
        }
        let consumer: BaseConsumer<Context> =
            config.create_with_context(Context::default()).expect("a consumer");
        let forward = Arc::clone(&consumer.context().forward);
        let queue = Dequeue::new(consumer, forward, 64).expect("a queue");
        queue.consumer().subscribe(&["posts"]).expect("a subscription");
        Self { queue, seen: BTreeMap::new() }
    }

    fn serve(&self) {
        while self.queue.has_events() {
            match self.queue.consumer().poll(Duration::ZERO) {
                Some(Ok(_)) => panic!("a record came beside the queue"),
                Some(Err(error)) => eprintln!("{error}"),
                None => {}
            }
        }
    }

    fn turn(&mut self) {
        self.serve();
        let seen = &mut self.seen;
        let owned = self.queue.consumer().context().owned.lock().expect("not poisoned").clone();
        let mut each = |message: Result<postroom_dequeue::Message<'_>, _>| {
            let message = message.expect("a record");
            assert!(owned.contains(&message.partition()), "a record of a partition that was revoked");
            seen.entry(message.partition()).or_default().push(message.offset());
        };
        self.queue.wait(Duration::from_millis(20), &mut each);
        self.queue.take(&mut each);
    }

    fn owns(&self) -> usize {
        self.queue.consumer().context().owned.lock().expect("not poisoned").len()
    }

    fn until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !enough(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
            self.turn();
        }
    }
}

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("posts", partitions, 1).expect("a topic");
    cluster
}

fn fill(cluster: &Cluster, partitions: i32, each: i32) {
    let producer = producer(cluster);
    for number in 0..partitions * each {
        let value = number.to_string();
        let record = BaseRecord::<[u8], _>::to("posts").payload(&value).partition(number % partitions);
        producer.send(record).map_err(|(error, _)| error).expect("room");
    }
    producer.flush(Duration::from_secs(20)).expect("delivery");
}

fn producer(cluster: &Cluster) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    config.create().expect("a producer")
}

#[test]
fn every_part_of_a_record_is_handed_over() {
    let cluster = cluster(1);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "empty", value: Some("") })
        .insert(Header { key: "null", value: None::<&str> })
        .insert(Header { key: "twice", value: Some("1") })
        .insert(Header { key: "twice", value: Some("2") });
    let producer = producer(&cluster);
    let full = BaseRecord::to("posts").key("key").payload("value").timestamp(1_234).headers(headers);
    producer.send(full).map_err(|(error, _)| error).expect("room");
    producer.send(BaseRecord::<[u8], [u8]>::to("posts")).map_err(|(error, _)| error).expect("room");
    producer.flush(Duration::from_secs(20)).expect("delivery");
    let mut member = Member::join(&cluster, "consumer");
    let mut told = Vec::new();

    while told.len() < 2 {
        member.serve();
        member.queue.wait(Duration::from_millis(20), |message| {
            let message = message.expect("a record");
            let headers: Vec<_> = message
                .headers()
                .map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect();
            assert_eq!((message.topic(), message.partition()), ("posts", 0));
            told.push((
                message.key().map(<[u8]>::to_vec),
                message.payload().map(<[u8]>::to_vec),
                message.timestamp(),
                headers,
            ));
        });
    }

    assert_eq!((told[0].0.as_deref(), told[0].1.as_deref()), (Some(&b"key"[..]), Some(&b"value"[..])));
    assert_eq!(told[0].2, Some(1_234));
    let expected = [("empty", Some("")), ("null", None), ("twice", Some("1")), ("twice", Some("2"))];
    let expected = expected.map(|(name, value)| (name.into(), value.map(Into::into)));
    assert_eq!(told[0].3, expected);
    assert_eq!((told[1].0.as_ref(), told[1].1.as_ref(), told[1].3.len()), (None, None, 0));
}

#[test]
fn partitions_that_go_and_come_back_are_forwarded_again_under_every_protocol() {
    for protocol in ["consumer", "cooperative-sticky", "range"] {
        let cluster = cluster(4);
        fill(&cluster, 4, 300);
        let mut stays = Member::join(&cluster, protocol);
        stays.until("all partitions", |member| member.owns() == 4 && member.seen.len() == 4);

        let mut guest = Member::join(&cluster, protocol);
        while guest.owns() == 0 || stays.owns() + guest.owns() != 4 {
            guest.turn();
            stays.turn();
        }
        guest.until("records of its share", |guest| guest.seen.len() >= guest.owns());
        let closing = thread::spawn(|| drop(guest));
        stays.until("the rest", |member| member.owns() == 4);
        closing.join().expect("a close");
        // No commit was made: what came back is read from its beginning, what stayed went on.
        fill(&cluster, 4, 10);
        let last = |offsets: &Vec<i64>| offsets.last() == Some(&309);
        stays.until("the newest", |member| member.seen.values().all(last));

        for (number, offsets) in &stays.seen {
            let steady = offsets.windows(2).all(|pair| pair[1] == pair[0] + 1 || pair[1] == 0);
            assert!(steady, "{protocol} [{number}]: {offsets:?}");
        }
    }
}

#[test]
fn a_wait_ends_when_it_is_told_to() {
    let cluster = cluster(1);
    let mut member = Member::join(&cluster, "consumer");
    member.until("its partition", |member| member.owns() == 1);
    member.serve();
    let context = Arc::clone(member.queue.consumer().context());
    let waker = thread::spawn(move || context.forward.wake());

    let taken = member.queue.wait(Duration::from_secs(3_600), |_| {});

    assert_eq!(taken, 0);
    waker.join().expect("a wake");
}

#[test]
fn events_end_a_wait() {
    let cluster = cluster(1);
    let mut member = Member::join(&cluster, "consumer");

    while member.owns() == 0 {
        member.queue.wait(Duration::from_secs(3_600), |_| {});
        member.serve();
    }
}

#[test]
fn records_behind_a_panic_are_freed_and_the_consumer_closes() {
    let cluster = cluster(1);
    fill(&cluster, 1, 100);
    let mut member = Member::join(&cluster, "consumer");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut panicked = false;
    while !panicked {
        member.serve();
        let queue = &mut member.queue;
        let taken = catch_unwind(AssertUnwindSafe(|| queue.take(|_| panic!("as intended"))));
        panicked = taken.is_err();
    }
    std::panic::set_hook(hook);
}

#[test]
fn a_dropped_queue_that_is_full_does_not_hold_its_client() {
    let cluster = cluster(2);
    fill(&cluster, 2, 500);
    let mut member = Member::join(&cluster, "consumer");
    member.until("both partitions", |member| member.seen.len() == 2);

    drop(member);
}
