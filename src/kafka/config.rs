//! How a client reaches Kafka, and how a group reads.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::kafka::direct::check_files;
use crate::kafka::grant::{Need, Operation};
use crate::kafka::{errors, properties};
use crate::ports::{EdgeError, StoreId};

/// How clients reach the cluster; shared by consumers, the producer and the admin client.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Addresses to start from (`bootstrap.servers`), such as `localhost:9092`.
    pub brokers: String,
    /// The name that the broker's logs and quotas see (`client.id`).
    pub client_id: String,
    /// Properties of librdkafka that are passed through: security, sockets, buffers. Those that would
    /// break a promise are refused by name.
    pub properties: BTreeMap<String, String>,
    /// How long to wait for a first answer of the cluster at start. Default 30 s.
    pub patience: Duration,
}

impl Connection {
    /// Makes a connection to `brokers` with the defaults.
    pub fn to(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: "postroom".to_owned(),
            properties: BTreeMap::new(),
            patience: Duration::from_secs(30),
        }
    }

    /// Checks the properties that are passed through, without a network.
    ///
    /// # Errors
    /// Names the property that librdkafka does not know, or whose value it refuses, or that would break a promise.
    pub fn check(&self) -> Result<(), EdgeError> {
        for role in [Role::Consumer, Role::Producer] {
            self.base(role)?.create_native_config().map_err(|error| errors::of_request(&error))?;
        }
        Ok(())
    }

    /// Returns what every client is built with.
    pub(crate) fn base(&self, role: Role) -> Result<ClientConfig, EdgeError> {
        properties::check(&self.properties)?;
        check_files(self)?;
        let mut config = ClientConfig::new();
        // With the client's property `debug` its lines are many: they are made only where they are wanted.
        let wanted = tracing::enabled!(tracing::Level::DEBUG);
        config.set_log_level(if wanted { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", &self.client_id);
        config.set("topic.metadata.refresh.interval.ms", "60000");
        config.set("reconnect.backoff.max.ms", "2000");
        for (key, value) in &self.properties {
            if role.takes(key) {
                config.set(key, value);
            }
        }
        Ok(config)
    }
}

/// What a client is for. Properties of the other side are not passed on: the library would warn of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It reads.
    Consumer,
    /// It writes, or administers.
    Producer,
}

impl Role {
    fn takes(self, key: &str) -> bool {
        match self {
            Self::Consumer => !PRODUCER_ONLY.contains(&key),
            Self::Producer => {
                !CONSUMER_ONLY.contains(&key) && !key.starts_with("fetch.") && !key.starts_with("queued.")
            }
        }
    }
}

/// How one consumer group reads.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// How to reach the cluster.
    pub connection: Connection,
    /// The consumer group's name.
    pub group: String,
    /// The topics to read. All must exist at start.
    pub topics: Vec<String>,
    /// How the group shares partitions. Default [`Protocol::Cooperative`].
    pub protocol: Protocol,
    /// The static membership id (`group.instance.id`), unique among the running members. Default none.
    pub instance_id: Option<String>,
    /// Where a group without a commit begins. Default [`Start::Earliest`].
    pub start: Start,
    /// What happens where the next record was removed before it was read. Default [`Gap::Stop`].
    pub on_gap: Gap,
    /// After how long without a heartbeat a member counts as dead (`session.timeout.ms`). Default 45 s.
    /// Not used with [`Protocol::Kip848`]: there the broker decides.
    pub session: Duration,
    /// After how long without a poll a member leaves (`max.poll.interval.ms`). Default 5 min.
    pub max_poll_interval: Duration,
    /// How long a revoked partition may finish what is in flight. Below the session. Default 20 s.
    pub drain: Duration,
    /// What the client's queues may hold.
    pub memory: Memory,
    /// How long the broker holds an empty fetch (`fetch.wait.max.ms`). Default 500 ms; 10 ms on the
    /// embedded broker, which does not wake a waiting fetch.
    pub fetch_wait: Duration,
    /// The store whose id commits carry, if the group's effects have one.
    pub store: Option<StoreId>,
    /// Topics that must exist besides; filled from the dead-letter route.
    pub(crate) dead_letter_topics: Vec<String>,
}

impl ConsumerConfig {
    /// Makes the configuration of a group with the defaults.
    pub fn new(connection: Connection, group: impl Into<String>, topics: Vec<String>) -> Self {
        Self {
            connection,
            group: group.into(),
            topics,
            protocol: Protocol::Cooperative,
            instance_id: None,
            start: Start::Earliest,
            on_gap: Gap::Stop,
            session: Duration::from_secs(45),
            max_poll_interval: Duration::from_secs(300),
            drain: Duration::from_secs(20),
            memory: Memory::default(),
            fetch_wait: Duration::from_millis(500),
            store: None,
            dead_letter_topics: Vec::new(),
        }
    }

    /// Sets what the embedded broker needs: its classic groups wait for a session's length at each
    /// rebalance, so the group uses KIP-848, whose first record comes within a second; an empty fetch there
    /// is not woken by new records, so it waits 10 ms only.
    #[must_use]
    pub fn for_embedded(mut self) -> Self {
        self.protocol = Protocol::Kip848;
        self.fetch_wait = Duration::from_millis(10);
        self
    }

    /// Returns the interval of heartbeats: a tenth of the session, between 100 ms and 3 s.
    pub(crate) fn heartbeat(&self) -> Duration {
        match self.protocol {
            Protocol::Cooperative | Protocol::Eager => {
                (self.session / 10).clamp(Duration::from_millis(100), Duration::from_secs(3))
            }
            Protocol::Kip848 => Duration::from_secs(5),
        }
    }

    /// Returns the right that is needed of a topic: to write dead letters, to read all others.
    pub(crate) fn need(&self, topic: &str) -> Need {
        let writes = self.dead_letter_topics.iter().any(|letters| letters == topic);
        Need::topic(if writes { Operation::Write } else { Operation::Read }, topic)
    }

    /// Returns the rights that a member of this group needs.
    pub(crate) fn needs(&self) -> Vec<Need> {
        let topics = self.topics.iter().chain(&self.dead_letter_topics).map(|topic| self.need(topic));
        topics.chain([Need::group(Operation::Read, &self.group)]).collect()
    }

    /// Checks the values and returns what the consumer is built with.
    pub(crate) fn client(&self) -> Result<ClientConfig, EdgeError> {
        self.check()?;
        let mut config = self.connection.base(Role::Consumer)?;
        let queue = (self.memory.queue_bytes / 1_024).clamp(64, 2_097_151);
        let fetch = self.memory.fetch_bytes.clamp(16 * 1_024, 1_000_000_000);
        config
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("max.poll.interval.ms", millis(self.max_poll_interval))
            .set("fetch.wait.max.ms", millis(self.fetch_wait));
        for (key, value) in [
            ("queued.max.messages.kbytes", queue.to_string()),
            ("fetch.message.max.bytes", fetch.to_string()),
            ("fetch.queue.backoff.ms", "5".to_owned()),
        ] {
            if !self.connection.properties.contains_key(key) {
                config.set(key, value);
            }
        }
        match self.protocol {
            Protocol::Cooperative => self.classic(&mut config, "cooperative-sticky"),
            Protocol::Eager => self.classic(&mut config, "range"),
            Protocol::Kip848 => {
                config.set("group.protocol", "consumer");
            }
        }
        if let Some(instance_id) = &self.instance_id {
            config.set("group.instance.id", instance_id);
        }
        Ok(config)
    }

    fn classic(&self, config: &mut ClientConfig, strategy: &str) {
        config
            .set("partition.assignment.strategy", strategy)
            .set("session.timeout.ms", millis(self.session))
            .set("heartbeat.interval.ms", millis(self.heartbeat()));
    }

    fn check(&self) -> Result<(), EdgeError> {
        let refuse = |text: String| Err(EdgeError::Configuration(text));
        if self.group.is_empty() {
            return refuse("the consumer group needs a name".to_owned());
        }
        if self.topics.is_empty() {
            return refuse(format!("group {}: it needs at least one topic", self.group));
        }
        if let Some(topic) = self.topics.iter().find(|topic| !is_topic_name(topic)) {
            return refuse(format!(
                "topic {topic:?}: a name has 1 to 249 of the characters a-z A-Z 0-9 . _ - and is not . or .."
            ));
        }
        if self.protocol != Protocol::Kip848 && self.drain >= self.session {
            return refuse(format!(
                "group {}: drain ({:?}) must be shorter than session ({:?}), or a slow hand-over looks like a death",
                self.group, self.drain, self.session
            ));
        }
        if self.memory.queue_bytes < self.memory.fetch_bytes {
            return refuse(format!(
                "group {}: memory.queue_bytes ({}) must hold one fetch of memory.fetch_bytes ({})",
                self.group, self.memory.queue_bytes, self.memory.fetch_bytes
            ));
        }
        if self.protocol != Protocol::Kip848 && self.session > self.max_poll_interval {
            return refuse(format!(
                "group {}: session ({:?}) must not be longer than max_poll_interval ({:?})",
                self.group, self.session, self.max_poll_interval
            ));
        }
        Ok(())
    }
}

/// How a group shares its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The classic protocol with `cooperative-sticky`: only partitions that move are taken away.
    Cooperative,
    /// The classic protocol with `range`: every rebalance takes everything away first.
    Eager,
    /// The broker assigns (KIP-848, `group.protocol=consumer`): Kafka 4.0 or later.
    Kip848,
}

/// Where a group without a commit begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record that is there.
    Earliest,
    /// With records that come after the group's start. For new groups only.
    Latest,
}

/// What happens where the next record was removed before it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The group stops and names what is missing.
    Stop,
    /// It goes on at the first record that is there, with a warning.
    Continue,
}

/// What one consumer's queues may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Fetched and not yet polled, over all partitions, in bytes; once more as much may be polled and not yet welcome to the driver, and
    /// at most one queue's content above that. Default 8 MiB.
    pub queue_bytes: usize,
    /// One partition's part of a fetch, in bytes. Default 512 KiB.
    pub fetch_bytes: usize,
    /// Records polled and not yet welcome to the driver, while they weigh less than `queue_bytes`. Default 2,048.
    pub handed_over: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { queue_bytes: 8 * 1_024 * 1_024, fetch_bytes: 512 * 1_024, handed_over: 2_048 }
    }
}

/// Says whether Kafka allows `name` for a topic.
pub(crate) fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

pub(crate) fn millis(span: Duration) -> String {
    span.as_millis().to_string()
}

const PRODUCER_ONLY: [&str; 12] = [
    "acks",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.timeout.ms",
    "enable.idempotence",
    "linger.ms",
    "message.timeout.ms",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.ms",
];

const CONSUMER_ONLY: [&str; 8] = [
    "check.crcs",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn config() -> ConsumerConfig {
        ConsumerConfig::new(Connection::to("localhost:9092"), "postroom.test", vec!["blog.posts".to_owned()])
    }

    #[test]
    fn a_drain_as_long_as_the_session_is_refused_with_both_values() {
        let mut config = config();
        config.drain = Duration::from_secs(45);

        let error = config.client().unwrap_err().to_string();

        assert!(error.contains("drain (45s)") && error.contains("session (45s)"), "{error}");
    }

    #[test]
    fn a_topic_name_that_kafka_refuses_is_refused_here() {
        for name in ["", ".", "..", "a b", "é", "a\0b", &"x".repeat(250)] {
            assert!(!is_topic_name(name), "{name}");
        }
        assert!(is_topic_name("blog.posts"));
    }

    #[test]
    fn kip_848_sends_no_property_of_the_classic_protocol() {
        let client = config().for_embedded().client().unwrap();

        assert_eq!(client.get("group.protocol"), Some("consumer"));
        for key in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
            assert_eq!(client.get(key), None, "{key}");
        }
    }

    #[test]
    fn a_property_that_the_client_does_not_know_is_named_without_a_network() {
        for (key, value) in [("nonsense.prop", "x"), ("fetch.wait.max.ms", "banana")] {
            let mut connection = Connection::to("localhost:9092");
            connection.properties.insert(key.to_owned(), value.to_owned());

            let error = connection.check().unwrap_err().to_string();

            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        assert_eq!(Connection::to("localhost:9092").check(), Ok(()));
    }

    #[test]
    fn a_users_own_queue_size_wins() {
        let mut config = config();
        config.connection.properties.insert("queued.max.messages.kbytes".to_owned(), "2048".to_owned());

        assert_eq!(config.client().unwrap().get("queued.max.messages.kbytes"), Some("2048"));
    }
}
