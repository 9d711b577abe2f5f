//! A group without Kafka and without waiting: the real core, the real worker, a store in memory, virtual time.

use postroom_core::{Offset, Partition, Topic, TopicPartition};

use crate::codec::{Codec, Framing, Limits};
use crate::event::{EventRecord, RawBatchBuilder, RawHeader, RawParts, RawRecord};
use crate::runtime::Group;
use crate::testkit::Report;
use crate::testkit::play::Play;

/// Plays events to a group's handler and reports what became of them.
///
/// Back-off passes in virtual time: a budget of hours is spent in milliseconds. The handler's own waits are real.
/// Records of one topic are those of one partition; runs follow one another, and their order is always the same.
///
/// ```
/// use postroom::event::{Envelope, EventRecord, EventType};
/// use postroom::handler::{Context, Error, Handler};
/// use postroom::testkit::TestBench;
/// use postroom::Group;
///
/// #[derive(serde::Deserialize, serde::Serialize)]
/// struct Ping {
///     number: i32,
/// }
///
/// impl EventRecord for Ping {
///     const TYPE: EventType = EventType {
///         name: "ping",
///         record: "Ping",
///         topic: "pings",
///         schema: r#"{"type": "record", "name": "Ping", "fields": [{"name": "number", "type": "int"}]}"#,
///     };
/// }
///
/// struct Positive;
///
/// impl Handler for Positive {
///     type Event = Ping;
///
///     async fn handle(&self, ping: &Envelope<Ping>, _: &mut Context) -> Result<(), Error> {
///         if ping.event.number < 0 { Err(Error::dead("below zero")) } else { Ok(()) }
///     }
/// }
///
/// let bench = TestBench::new(Group::each("pings", Positive));
/// let report = bench.given(&Ping { number: 1 }).given(&Ping { number: -1 }).fails(1).run();
///
/// assert_eq!((report.committed(), report.retries(), report.dead_letters().len()), (2, 1, 1));
/// ```
#[derive(Debug)]
pub struct TestBench {
    pub(super) group: Group,
    pub(super) codec: Codec,
    pub(super) events: Vec<(Topic, RawRecord)>,
    pub(super) failures: u32,
    next_id: u32,
}

impl TestBench {
    /// Sets a group up, with a codec that knows Postroom's own schemas and those of the group.
    pub fn new(group: Group) -> Self {
        Self {
            group,
            codec: Codec::new(Limits::default()),
            events: Vec::new(),
            failures: 0,
            next_id: 1_000_000,
        }
    }

    /// Puts an event at the end of its topic's log.
    ///
    /// # Panics
    /// Where the event's schema is broken or does not fit its struct: the test itself is at fault.
    #[must_use]
    #[expect(clippy::panic, reason = "a test's own mistake should stop the test")]
    pub fn given<E: EventRecord + serde::Serialize>(mut self, event: &E) -> Self {
        let id = self.next_id;
        self.next_id += 1;
        let encoded = match self.codec.add_schema(Some(id), None, E::TYPE.schema) {
            Ok(()) => self.codec.encode(event, Framing::ConfluentV0),
            Err(error) => panic!("the schema of {} cannot be used: {error}", E::TYPE.name),
        };
        let outgoing = match encoded {
            Ok(outgoing) => outgoing,
            Err(error) => panic!("the event does not fit the schema of {}: {error}", E::TYPE.name),
        };
        let topic = Topic::new(&outgoing.topic);
        let headers: Vec<(&str, Option<&[u8]>)> =
            outgoing.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        self.push(topic, outgoing.key.as_deref(), outgoing.value.as_deref(), &headers);
        self
    }

    /// Puts raw bytes at the end of a topic's log: what a broken producer would send.
    #[must_use]
    pub fn given_bytes(mut self, topic: &str, value: Option<&[u8]>) -> Self {
        self.push(Topic::new(topic), None, value, &[]);
        self
    }

    /// Makes the first `attempts` attempts fail before they reach the handler.
    #[must_use]
    pub fn fails(mut self, attempts: u32) -> Self {
        self.failures = attempts;
        self
    }

    /// Plays until everything is finished or the group stops itself.
    ///
    /// # Panics
    /// Where nothing gets on: a dependency that a handler reports as away never comes back. Within a runtime, whose
    /// thread it would block: use `#[test]`, not `#[tokio::test]`.
    pub fn run(self) -> Report {
        block_on(Play::new(self).run())
    }

    fn push(
        &mut self,
        topic: Topic,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let offset = self.events.iter().filter(|(other, _)| *other == topic).count();
        let offset = Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        let mut builder = RawBatchBuilder::new(TopicPartition::new(topic.clone(), Partition(0)));
        let parts = RawParts { offset, timestamp: Some(0), key, value };
        builder.push(parts, headers.iter().map(|(name, value)| RawHeader { name, value: *value }));
        self.events.extend(builder.finish().into_iter().map(|record| (topic.clone(), record)));
    }
}

/// Waits for something on a runtime of its own.
#[expect(clippy::expect_used, reason = "a machine without threads or memory cannot test anything")]
pub(super) fn block_on<V>(future: impl Future<Output = V>) -> V {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("because a runtime needs no more than memory and a file descriptor");
    runtime.block_on(future)
}
