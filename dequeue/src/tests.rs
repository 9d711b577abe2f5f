//! What can only be seen from inside.

#![expect(clippy::disallowed_methods, clippy::expect_used, reason = "tests")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList, bindings as native};

use crate::{Dequeue, Forward};

type Cluster = MockCluster<'static, DefaultProducerContext>;

#[derive(Default)]
struct Context {
    forward: Arc<Forward>,
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            for element in list.elements() {
                assert!(self.forward.forward(consumer, element.topic(), element.partition()));
            }
        }
    }
}

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("posts", partitions, 1).expect("a topic");
    cluster
}

fn fill(cluster: &Cluster, partitions: i32, records: i32) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: BaseProducer = config.create().expect("a producer");
    for number in 0..records {
        let record = BaseRecord::<[u8], [u8]>::to("posts").payload(b"value").partition(number % partitions);
        producer.send(record).map_err(|(error, _)| error).expect("room");
    }
    producer.flush(Duration::from_secs(20)).expect("delivery");
}

/// A queue that holds so many fetched records of each partition, from offset 1 on, and nothing else.
fn filled(cluster: &Cluster, partitions: i32, records: i32) -> Dequeue<Context> {
    fill(cluster, partitions, partitions);
    let mut queue = queue(cluster);
    let mut first = 0;
    until("the first records", || {
        drop(queue.consumer().poll(Duration::ZERO));
        queue.wait(Duration::from_millis(1), |message| first += i32::from(message.is_ok()));
        first == partitions
    });
    fill(cluster, partitions, partitions * records);
    let forward = Arc::clone(&queue.forward);
    until("records", || waiting(&forward) == usize::try_from(partitions * records).expect("few"));
    queue
}

fn consumer(cluster: &Cluster) -> BaseConsumer<Context> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
    config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("fetch.wait.max.ms", "10").set("group.protocol", "consumer");
    config.create_with_context(Context::default()).expect("a consumer")
}

fn queue(cluster: &Cluster) -> Dequeue<Context> {
    let consumer = consumer(cluster);
    let forward = Arc::clone(&consumer.context().forward);
    let queue = Dequeue::new(consumer, forward, 64).expect("a queue");
    queue.consumer().subscribe(&["posts"]).expect("a subscription");
    queue
}

/// How many records wait in the queue.
fn waiting(queue: &Forward) -> usize {
    let target = queue.target.read().expect("not poisoned");
    let target = target.as_ref().expect("a queue");
    // SAFETY: the queue lives while the lock is held.
    unsafe { native::rd_kafka_queue_length(target.queue.as_ptr()) }
}

fn until(what: &str, mut enough: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !enough() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn messages_that_the_client_frees_while_more_are_waited_for_are_not_freed_twice() {
    let cluster = cluster(1);
    let mut queue = filled(&cluster, 1, 30);
    let consumer = Arc::clone(queue.consumer());
    let forward = Arc::clone(&consumer.context().forward);
    let mut posts = TopicPartitionList::new();
    posts.add_partition("posts", 0);

    let (taken, seen) = thread::scope(|scope| {
        let taker = scope.spawn(|| {
            let mut seen = 0;
            // The array has room for more: they are waited for.
            (queue.take_some(Duration::from_secs(60), 64, |_| seen += 1), seen)
        });
        until("all records in the array", || waiting(&forward) == 0);
        // A barrier comes into the queue, at which the client frees what it had put into the array.
        consumer.pause(&posts).expect("a pause");
        until("the barrier taken", || waiting(&forward) == 0);
        forward.wake();
        taker.join().expect("no panic")
    });

    assert_eq!((taken, seen), (0, 0), "all of them were freed");
    assert!(queue.array.iter().all(Option::is_none), "and none of them is ours");
    consumer.resume(&posts).expect("a resume");
    let mut offsets = Vec::new();
    until("the records again", || {
        queue.wait(Duration::from_millis(10), |message| {
            offsets.push(message.map(|message| message.offset()).expect("a record"));
        });
        offsets.len() == 30
    });
    assert_eq!(offsets, (1..31).collect::<Vec<_>>());
}

#[test]
fn messages_freed_in_part_leave_those_of_other_partitions_whole() {
    let cluster = cluster(2);
    let mut queue = filled(&cluster, 2, 20);
    let consumer = Arc::clone(queue.consumer());
    let forward = Arc::clone(&consumer.context().forward);
    let mut paused = TopicPartitionList::new();
    paused.add_partition("posts", 0);

    let seen = thread::scope(|scope| {
        let taker = scope.spawn(|| {
            let mut seen = Vec::new();
            queue.take_some(Duration::from_secs(60), 64, |message| {
                let message = message.expect("a record");
                assert_eq!(message.payload(), Some(&b"value"[..]));
                seen.push((message.partition(), message.offset()));
            });
            seen
        });
        until("all records in the array", || waiting(&forward) == 0);
        consumer.pause(&paused).expect("a pause");
        until("the barrier taken", || waiting(&forward) == 0);
        forward.wake();
        taker.join().expect("no panic")
    });

    assert_eq!(seen, (1..21).map(|offset| (1, offset)).collect::<Vec<_>>());
    queue.take(|_| {});
}

#[test]
fn a_consumer_may_outlive_its_queue_and_a_forward_both() {
    let cluster = cluster(1);
    let queue = filled(&cluster, 1, 10);
    let consumer = Arc::clone(queue.consumer());
    let forward = Arc::clone(&consumer.context().forward);

    drop(queue);
    forward.wake();
    assert!(!forward.forward(&consumer, "posts", 0), "there is nowhere to forward to");
    assert!(consumer.poll(Duration::from_millis(50)).is_none(), "what is fetched of it is freed");
    drop(consumer);
    forward.wake();
}

#[test]
fn a_forward_belongs_to_one_client_at_a_time() {
    let cluster = cluster(1);
    let one = consumer(&cluster);
    let forward = Arc::clone(&one.context().forward);
    let queue = Dequeue::new(one, Arc::clone(&forward), 1).expect("a queue");
    let other = consumer(&cluster);

    assert!(!forward.forward(&other, "posts", 0));
    assert!(Dequeue::new(other, Arc::clone(&forward), 1).is_none());
    drop(queue);
    assert!(Dequeue::new(consumer(&cluster), forward, 1).is_some());
}
