//! A broker of our own, in memory, for demonstrations and tests: librdkafka's mock cluster.
//!
//! It is not a Kafka: it keeps some 5 MiB a partition and cuts the rest in silence, and it has no admin API.
//! Other processes can reach it over loopback.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::kafka::config::is_topic_name;
use crate::ports::EdgeError;

/// The embedded broker. Drop it last: its clients would wait for it in vain.
#[derive(Debug)]
pub struct Embedded {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    address: String,
}

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Something to do with the cluster, which must stay on its thread, and where the answer goes.
struct Request {
    act: Act,
    answer: mpsc::SyncSender<KafkaResult<()>>,
}

enum Act {
    CreateTopic {
        name: String,
        partitions: i32,
    },
    GoDown,
    ComeUp,
    #[cfg(test)]
    HideTopic {
        name: String,
        hidden: bool,
    },
    #[cfg(test)]
    RefuseRecords {
        batches: usize,
    },
}

impl Act {
    fn run(self, cluster: &Cluster) -> KafkaResult<()> {
        match self {
            Self::CreateTopic { name, partitions } => cluster.create_topic(&name, partitions, 1),
            Self::GoDown => cluster.broker_down(BROKER),
            Self::ComeUp => cluster.broker_up(BROKER),
            #[cfg(test)]
            Self::HideTopic { name, hidden } => {
                use rdkafka::types::RDKafkaRespErr as Answer;
                let answer = if hidden {
                    Answer::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                } else {
                    Answer::RD_KAFKA_RESP_ERR_NO_ERROR
                };
                cluster.topic_error(&name, answer)
            }
            #[cfg(test)]
            Self::RefuseRecords { batches } => {
                use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
                let answers = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD; batches];
                cluster.request_errors(RDKafkaApiKey::Produce, &answers);
                Ok(())
            }
        }
    }
}

impl Embedded {
    /// Starts a cluster of one broker on a free port of the loopback interface.
    ///
    /// # Errors
    /// Says why the library could not start it.
    pub fn start() -> Result<Self, EdgeError> {
        let (requests, asked) = mpsc::channel::<Request>();
        let (started, address) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("kafka-embedded".to_owned()).spawn(move || {
            let cluster = MockCluster::new(1);
            let address = cluster.as_ref().map(Cluster::bootstrap_servers).map_err(ToString::to_string);
            if started.send(address).is_err() {
                return;
            }
            let Ok(cluster) = cluster else { return };
            for request in asked {
                if request.answer.send(request.act.run(&cluster)).is_err() {
                    tracing::debug!("nobody waited for the embedded broker");
                }
            }
        });
        let thread =
            thread.map_err(|error| EdgeError::Client(format!("no thread for the broker: {error}")))?;
        let address =
            address.recv().map_err(|_| EdgeError::Client("the embedded broker ended".to_owned()))?;
        let address = address.map_err(EdgeError::Client)?;
        Ok(Self { requests: Some(requests), thread: Some(thread), address })
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
        self.ask(&format!("topic {name}"), Act::CreateTopic { name: name.to_owned(), partitions })
    }

    /// Takes the broker off the network.
    ///
    /// # Errors
    /// Says why the library could not.
    pub fn go_down(&self) -> Result<(), EdgeError> {
        self.ask("going down", Act::GoDown)
    }

    /// Brings it back.
    ///
    /// # Errors
    /// Says why the library could not.
    pub fn come_up(&self) -> Result<(), EdgeError> {
        self.ask("coming up", Act::ComeUp)
    }

    /// Answers as if a topic were not there, or no longer.
    #[cfg(test)]
    pub(crate) fn hide_topic(&self, name: &str, hidden: bool) -> Result<(), EdgeError> {
        self.ask("a topic's error", Act::HideTopic { name: name.to_owned(), hidden })
    }

    /// Refuses the next batches of records because they break a rule of their topic.
    #[cfg(test)]
    pub(crate) fn refuse_records(&self, batches: usize) -> Result<(), EdgeError> {
        self.ask("refused records", Act::RefuseRecords { batches })
    }

    fn ask(&self, what: &str, act: Act) -> Result<(), EdgeError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let gone = || EdgeError::Client(format!("{what}: the embedded broker ended"));
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(Request { act, answer }).map_err(|_| gone())?;
        let result = answered.recv().map_err(|_| gone())?;
        result.map_err(|error| EdgeError::Client(format!("{what}: {error}")))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the embedded broker ended badly");
        }
    }
}

/// The only broker of the cluster.
const BROKER: i32 = 1;
