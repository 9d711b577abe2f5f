//! Kafka: everything that names the client library.
//!
//! One OS thread a group polls and owns the callbacks ([`KafkaEdge`]); one producer a process publishes events
//! and dead letters ([`Producer`]); [`Embedded`] is a broker of its own for demonstrations and tests.

#![expect(clippy::disallowed_methods, reason = "the edge waits for the outside world, by its clock")]

mod access;
mod admin;
mod assignment;
mod client;
mod commands;
mod committer;
mod config;
mod consumer;
mod context;
mod dead_letter;
mod deliveries;
mod direct;
mod edge;
mod embedded;
mod errors;
mod fetched;
mod flaws;
mod follow;
mod grant;
mod metadata;
mod open;
mod outgoing;
mod positions;
mod producer;
mod properties;
mod reach;
mod rebalance;
mod retention;
mod scan;
mod stalled;
mod standing;
mod start;
mod topics;

pub use access::missing as missing_rights;
pub use admin::Admin;
pub use config::{Connection, ConsumerConfig, Gap, Memory, Protocol, Start};
pub use context::EdgeCounters;
pub use dead_letter::{DEFAULT_TEMPLATE, DeadLetterRoute, PREFIX, REPLAY_OF, REPLAY_PREFIX, retry_topic};
pub use direct::Obstacle;
pub use edge::KafkaEdge;
pub use embedded::Embedded;
pub use flaws::{Aspect, Flaw, Letters, flaws};
pub use follow::{ReadFrom, follow};
pub use grant::{Need, Operation, Resource, grants, lacking};
pub use open::{Open, OpenLetters};
pub use producer::{Delivery, Producer, ProducerConfig, Publication, PublishError, Published};
pub use reach::{certificate_days, identity, obstacle_at};
pub use scan::{ReadTo, read_at, scan, scan_on};
pub use standing::{GroupPosition, GroupPositions};
pub use topics::{ActualTopic, Conflict, DesiredTopic, Plan, Step, TopicDefaults, TopicRole, desired_topics};

/// Returns the version of librdkafka.
pub fn client_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
