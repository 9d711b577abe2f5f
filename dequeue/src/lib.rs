//! Takes a consumer's records from librdkafka many at a time.
//!
//! The client library of Rust hands out one record a call, each inside an event of its own. `rd_kafka_consume_batch_queue` fills an
//! array instead. On the consumer's own queue it would swallow rebalances, so records get a queue of their own: the one
//! who polls makes a [`Dequeue`] before it subscribes, and in every assignment, *before* the consumer hears of it, each partition
//! that is ours is forwarded there ([`Forward::forward`]). Then, on one thread: `BaseConsumer::poll(0)` while there are events,
//! [`Dequeue::wait`], [`Dequeue::take`]. At the end the `Dequeue` is dropped: first the queue goes, for which a client that is freed
//! would wait for ever, then the consumer, which leaves its group as it always does when it is dropped.
//!
//! # Why it is sound
//!
//! All that is unsafe is calls of librdkafka with handles of four kinds, and each has one owner here:
//!
//! - the **client** is the consumer's; a `Dequeue` holds the consumer while it has any other handle of that client;
//! - the **queues** are the `Dequeue`'s. A [`Forward`] has the same pointers, but only as long as the `Dequeue` stands: both hold one lock
//!   over their use and their end, and a `Dequeue` owns *its* `Forward`, so that no other can be left with them. A `Dequeue` that is
//!   leaked leaks its consumer with it;
//! - a **partition's queue** is held for the length of one call;
//! - a **message** is an `Owned`, freed once, on the thread that took it or where the `Dequeue` is dropped, in any case before its
//!   client. What is handed out of it borrows from it, and cannot leave the closure it is given to.

mod message;
#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::{RDKafka, RDKafkaQueue};

use message::Owned;
pub use message::{Failed, Header, Message};

/// Where the partitions of one consumer are forwarded to: lives in its context, so that rebalances reach it.
#[derive(Debug, Default)]
pub struct Forward {
    target: RwLock<Option<Target>>,
}

#[derive(Debug)]
struct Target {
    client: NonNull<RDKafka>,
    queue: NonNull<RDKafkaQueue>,
}

// SAFETY: both are handles of librdkafka, whose functions may be called from any thread. They are used under the lock of `Forward`.
unsafe impl Send for Target {}
// SAFETY: as above; the functions lock what they change.
unsafe impl Sync for Target {}

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
        let target = self.target.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(target), Ok(topic)) = (&*target, CString::new(topic)) else { return false };
        let client = consumer.client().native_ptr();
        if client != target.client.as_ptr() {
            return false;
        }
        // SAFETY: the client lives as long as `consumer`, and the name is a C string that outlives the call.
        let source = unsafe { native::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        let Some(source) = NonNull::new(source) else { return false };
        // SAFETY: both queues are of this client; ours lives until `Dequeue::drop` has taken the lock that is held here.
        unsafe { native::rd_kafka_queue_forward(source.as_ptr(), target.queue.as_ptr()) };
        // SAFETY: the handle is ours alone, and this is its last use. The partition keeps its queue.
        unsafe { native::rd_kafka_queue_destroy(source.as_ptr()) };
        true
    }

    /// Ends the [`Dequeue::wait`] that is under way, or else the next one, unless a record comes first. From any thread.
    pub fn wake(&self) {
        // Never waits: librdkafka calls this with a lock of its own. The queue is locked to write only while nobody waits for it.
        if let Ok(target) = self.target.try_read()
            && let Some(target) = &*target
        {
            // SAFETY: the queue lives until `Dequeue::drop` has taken the lock that is held here.
            unsafe { native::rd_kafka_queue_yield(target.queue.as_ptr()) };
        }
    }
}

/// The queue of one consumer's records, with the consumer.
pub struct Dequeue<C: ConsumerContext> {
    /// The very one whose target is this queue.
    forward: Arc<Forward>,
    records: NonNull<RDKafkaQueue>,
    events: NonNull<RDKafkaQueue>,
    /// Empty but for what a call of [`Dequeue::take`] has not handed over yet.
    array: Vec<Option<Owned>>,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: queues and messages may be used from any thread, one at a time, and the consumer from all of them.
unsafe impl<C: ConsumerContext> Send for Dequeue<C> where BaseConsumer<C>: Send + Sync {}

impl<C: ConsumerContext + 'static> Dequeue<C> {
    /// Makes the queue, from which at most `most` records are taken at once. The consumer's context holds the same `forward`, for
    /// its rebalances. The consumer's non-empty callback is set: its events end a [`Dequeue::wait`].
    ///
    /// `None`: the client has no group, or the `Forward` belongs to another client.
    pub fn new(mut consumer: BaseConsumer<C>, forward: Arc<Forward>, most: usize) -> Option<Self> {
        let mut target = forward.target.write().unwrap_or_else(PoisonError::into_inner);
        let client = NonNull::new(consumer.client().native_ptr()).filter(|_| target.is_none())?;
        // SAFETY: the client lives.
        let events = NonNull::new(unsafe { native::rd_kafka_queue_get_consumer(client.as_ptr()) })?;
        // SAFETY: the client lives. librdkafka gives a queue or ends the process.
        let records = NonNull::new(unsafe { native::rd_kafka_queue_new(client.as_ptr()) })?;
        *target = Some(Target { client, queue: records });
        drop(target);
        let waker = Arc::clone(&forward);
        consumer.set_nonempty_callback(move || waker.wake());
        let array = std::iter::repeat_with(|| None).take(most.max(1)).collect();
        Some(Self { forward, records, events, array, consumer: Arc::new(consumer) })
    }
}

impl<C: ConsumerContext> Dequeue<C> {
    /// Returns the consumer. Whoever holds it longer than the queue keeps it a member of its group, but gets no records: those of
    /// partitions that were forwarded are freed as they come.
    pub fn consumer(&self) -> &Arc<BaseConsumer<C>> {
        &self.consumer
    }

    /// Says whether `BaseConsumer::poll` has anything to serve.
    pub fn has_events(&self) -> bool {
        // SAFETY: the handle is ours until `drop`.
        unsafe { native::rd_kafka_queue_length(self.events.as_ptr()) > 0 }
    }

    /// Hands over the records that are there, in the order of each partition, and returns how many of them and of errors
    /// there were: as many as fit says that there may be more.
    pub fn take(&mut self, each: impl FnMut(Result<Message<'_>, Failed>)) -> usize {
        self.take_some(Duration::ZERO, usize::MAX, each)
    }

    /// Waits for one record or error, for an event, or for [`Forward::wake`]; `patience` at most. Returns how many there were.
    pub fn wait(&mut self, patience: Duration, each: impl FnMut(Result<Message<'_>, Failed>)) -> usize {
        self.take_some(patience, 1, each)
    }

    /// Takes nothing, but tells the group that whoever polls is well (`max.poll.interval.ms`).
    pub fn touch(&mut self) {
        self.take_some(Duration::ZERO, 0, |_| {});
    }

    fn take_some(
        &mut self,
        patience: Duration,
        most: usize,
        mut each: impl FnMut(Result<Message<'_>, Failed>),
    ) -> usize {
        // Only an `each` that panicked can have left anything.
        self.array.fill_with(|| None);
        let most = most.min(self.array.len());
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let array = self.array.as_mut_ptr().cast();
        // SAFETY: the queue is ours until `drop`. The array has room for `most` pointers, which an `Option<Owned>` is, and the first
        // `taken` of them are a message of its own each, for us to free.
        let taken =
            unsafe { native::rd_kafka_consume_batch_queue(self.records.as_ptr(), patience, array, most) };
        let taken = usize::try_from(taken).unwrap_or(0);
        // A pause or a rebalance in the middle makes librdkafka free what it had put here, and close the ranks: what stands behind
        // them is freed already, or stands twice.
        for stale in self.array.iter_mut().take(most).skip(taken) {
            std::mem::forget(stale.take());
        }
        for message in self.array.iter_mut().take(taken).filter_map(Option::take) {
            each(message.read());
        }
        taken
    }
}

impl<C: ConsumerContext> Drop for Dequeue<C> {
    /// Frees the queue, with the records that it holds. The consumer goes afterwards, unless somebody else holds it: with the last who
    /// does it leaves its group, and is freed.
    fn drop(&mut self) {
        let mut target = self.forward.target.write().unwrap_or_else(PoisonError::into_inner);
        *target = None;
        drop(target);
        // Messages hold their client, too.
        self.array.clear();
        // SAFETY: the handle is ours alone, nobody forwards to it or wakes it any more, and its client still lives. Partitions
        // that were forwarded keep the queue itself, which takes nothing from here on.
        unsafe { native::rd_kafka_queue_destroy(self.records.as_ptr()) };
        // SAFETY: the handle is ours alone, and its client still lives. The consumer has one of its own.
        unsafe { native::rd_kafka_queue_destroy(self.events.as_ptr()) };
    }
}
