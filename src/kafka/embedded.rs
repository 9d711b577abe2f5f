//! A broker of our own, in memory, for demonstrations and tests: librdkafka's mock cluster.
//!
//! It is not a Kafka: it keeps some 5 MiB a partition and cuts the rest in silence, and it has no admin API.
//! Other processes can reach it over loopback.

use std::fmt;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::kafka::config::is_topic_name;
use crate::ports::EdgeError;

/// The embedded broker. Drop it last: the library aborts the process where it goes before its clients.
pub struct Embedded {
    cluster: MockCluster<'static, DefaultProducerContext>,
    address: String,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts a cluster of one broker on a free port of the loopback interface.
    ///
    /// # Errors
    /// Says why the library could not start it.
    pub fn start() -> Result<Self, EdgeError> {
        let cluster = MockCluster::new(1).map_err(|error| EdgeError::Client(error.to_string()))?;
        let address = cluster.bootstrap_servers();
        Ok(Self { cluster, address })
    }

    /// Returns its bootstrap address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// Says what is wrong with the name, or that it is there already.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), EdgeError> {
        if !is_topic_name(name) || partitions < 1 {
            return Err(EdgeError::Configuration(format!(
                "{name:?} with {partitions} partitions cannot be a topic"
            )));
        }
        self.cluster
            .create_topic(name, partitions, 1)
            .map_err(|error| EdgeError::Client(format!("topic {name}: {error}")))
    }

    /// Takes the broker off the network.
    ///
    /// # Errors
    /// Says why the library could not.
    pub fn go_down(&self) -> Result<(), EdgeError> {
        self.cluster.broker_down(1).map_err(|error| EdgeError::Client(error.to_string()))
    }

    /// Brings it back.
    ///
    /// # Errors
    /// Says why the library could not.
    pub fn come_up(&self) -> Result<(), EdgeError> {
        self.cluster.broker_up(1).map_err(|error| EdgeError::Client(error.to_string()))
    }
}
