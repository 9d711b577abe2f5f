//! Takes a consumer's records from librdkafka many at a time.
//!
//! The client library of Rust hands out one record a call, each inside an event of its own. `rd_kafka_consume_batch_queue` fills an
//! array instead. On the consumer's own queue it would swallow rebalances, so records get a queue of their own: the one
//! who polls makes a [`Dequeue`] before it subscribes, and in every assignment, *before* the consumer hears of it, each partition
//! that is ours is forwarded there ([`Forward::forward`]). Then, on one thread: `BaseConsumer::poll(0)` for rebalances and errors,
//! [`Dequeue::take`] for records. The `Dequeue` is dropped before the consumer is closed.

mod message;

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafka, RDKafkaMessage, RDKafkaQueue};

use message::Owned;
pub use message::{Header, Message};

/// Where the partitions of one consumer are forwarded to: lives in its context, so that rebalances reach it.
#[derive(Debug, Default)]
pub struct Forward {
    target: Mutex<Option<Target>>,
}

#[derive(Debug)]
struct Target {
    client: NonNull<RDKafka>,
    queue: NonNull<RDKafkaQueue>,
}

// SAFETY: both are handles of librdkafka, whose functions may be called from any thread.
unsafe impl Send for Target {}

impl Forward {
    /// Sends what is fetched of a partition to the consumer's [`Dequeue`] from now on. An assignment that ends undoes it: it is to
    /// be repeated in each rebalance that assigns anything, for every partition that is ours.
    ///
    /// Returns whether there is such a partition and a `Dequeue` of this consumer.
    #[must_use]
    pub fn forward<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        partition: i32,
    ) -> bool {
        let target = self.lock();
        let (Some(target), Ok(topic)) = (&*target, CString::new(topic)) else { return false };
        let client = consumer.client().native_ptr();
        if client != target.client.as_ptr() {
            return false;
        }
        // SAFETY: the client lives as long as `consumer`, and the name is a C string that outlives the call.
        let source = unsafe { native::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        let Some(source) = NonNull::new(source) else { return false };
        // SAFETY: both queues are of this client; ours lives until `Dequeue::drop` has taken this lock.
        unsafe { native::rd_kafka_queue_forward(source.as_ptr(), target.queue.as_ptr()) };
        // SAFETY: the handle is ours alone, and this is its last use. The partition keeps its queue.
        unsafe { native::rd_kafka_queue_destroy(source.as_ptr()) };
        true
    }

    fn lock(&self) -> MutexGuard<'_, Option<Target>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of one consumer's records. Keeps the consumer alive.
pub struct Dequeue<C: ConsumerContext> {
    queue: NonNull<RDKafkaQueue>,
    forward: fn(&C) -> &Forward,
    array: Vec<*mut RDKafkaMessage>,
    consumer: Arc<BaseConsumer<C>>,
}

impl<C: ConsumerContext> Dequeue<C> {
    /// Makes the queue, from which at most `most` records are taken at once. `forward` finds the consumer's [`Forward`] in its
    /// context. `None`: the client gave no queue, or it has one already.
    pub fn new(consumer: &Arc<BaseConsumer<C>>, forward: fn(&C) -> &Forward, most: usize) -> Option<Self> {
        let client = NonNull::new(consumer.client().native_ptr())?;
        let mut target = forward(consumer.context()).lock();
        if target.is_some() {
            return None;
        }
        // SAFETY: the client lives as long as the consumer, which is kept here.
        let queue = NonNull::new(unsafe { native::rd_kafka_queue_new(client.as_ptr()) })?;
        *target = Some(Target { client, queue });
        drop(target);
        let array = vec![std::ptr::null_mut(); most.max(1)];
        Some(Self { queue, forward, array, consumer: Arc::clone(consumer) })
    }

    /// Returns the consumer.
    pub fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Hands over the records that are there, in the order of each partition, and returns how many of them and of errors
    /// there were: as many as fit says that there may be more.
    pub fn take(&mut self, each: impl FnMut(Result<Message<'_>, KafkaError>)) -> usize {
        self.take_some(Duration::ZERO, usize::MAX, each)
    }

    /// Waits for one record or error, `patience` at most. Returns how many there were.
    pub fn wait(&mut self, patience: Duration, each: impl FnMut(Result<Message<'_>, KafkaError>)) -> usize {
        self.take_some(patience, 1, each)
    }

    fn take_some(
        &mut self,
        patience: Duration,
        most: usize,
        mut each: impl FnMut(Result<Message<'_>, KafkaError>),
    ) -> usize {
        let most = most.min(self.array.len());
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let array = self.array.as_mut_ptr();
        // SAFETY: the queue is ours until `drop`, and the array has room for `most` pointers.
        let taken =
            unsafe { native::rd_kafka_consume_batch_queue(self.queue.as_ptr(), patience, array, most) };
        let taken = usize::try_from(taken).unwrap_or(0);
        // What is behind a record at which `each` panics is freed as well.
        let mut messages = Messages(self.array.get(..taken).unwrap_or_default());
        while let Some(message) = messages.next() {
            each(message.read());
        }
        taken
    }
}

struct Messages<'a>(&'a [*mut RDKafkaMessage]);

impl Messages<'_> {
    fn next(&mut self) -> Option<Owned> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        // SAFETY: librdkafka filled the array with messages that are ours to free, and each is passed on once.
        unsafe { Owned::new(*first) }
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        while let Some(message) = self.next() {
            drop(message);
        }
    }
}

impl<C: ConsumerContext> Drop for Dequeue<C> {
    /// Frees the queue, with the records that it holds; the consumer goes afterwards.
    fn drop(&mut self) {
        let mut target = (self.forward)(self.consumer.context()).lock();
        *target = None;
        // SAFETY: the handle is ours alone, nobody forwards to it any more, and its client still lives. Partitions that were
        // forwarded keep the queue itself, which takes nothing from here on.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}
