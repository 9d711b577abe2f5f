//! What becomes of records that were handed to the producer, and who is told.

use std::sync::mpsc;

use postroom_core::{Input, Offset, Partition, Ticket};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::kafka::client::ClientLog;
use crate::kafka::commands::Command;
use crate::kafka::config::Connection;
use crate::kafka::grant::{Need, Operation, lacking};
use crate::kafka::producer::{PublishError, Published};
use crate::ports::{EdgeError, EdgeEvent};

/// Who is told of a delivery.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// One who waits for it.
    Answer(oneshot::Sender<Result<Published, PublishError>>),
    /// The driver of a group.
    DeadLetter { events: UnboundedSender<EdgeEvent>, ticket: Ticket, commands: mpsc::Sender<Command> },
}

/// Tells a group that a dead letter was not delivered. It is sent again; but a right that is missing stops the group, with
/// the offset where it is.
pub(crate) fn not_delivered(
    error: PublishError,
    ticket: Ticket,
    events: &UnboundedSender<EdgeEvent>,
    commands: &mpsc::Sender<Command>,
) {
    let told = match error {
        PublishError::NotAuthorised { lacking, .. } => {
            commands.send(Command::Fail(EdgeError::NotAuthorised(lacking))).is_ok()
        }
        PublishError::NoSuchTopic(_)
        | PublishError::TooLarge(_)
        | PublishError::Refused(_)
        | PublishError::TimedOut(_)
        | PublishError::Failed { .. } => {
            events.send(EdgeEvent::Input(Input::DeadLetterFailed { ticket })).is_ok()
        }
    };
    if !told {
        tracing::debug!("nobody listens to the edge any more");
    }
}

/// The context of the producer.
pub(crate) struct ProducerEdge {
    pub(crate) log: ClientLog,
    pub(crate) connection: Connection,
}

impl ClientContext for ProducerEdge {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.log.line(level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            self.log.failed(reason);
        }
        if let Some(suppressed) = self.log.may_log() {
            tracing::warn!(%error, reason, suppressed, "kafka producer error");
        }
    }
}

impl ProducerContext for ProducerEdge {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let result = match delivery {
            Ok(message) => {
                Ok(Published { partition: Partition(message.partition()), offset: Offset(message.offset()) })
            }
            Err((error, message)) => Err(publish_error(message.topic(), error, &self.connection)),
        };
        match *waiting {
            Waiting::Answer(asked) => {
                if asked.send(result).is_err() {
                    tracing::trace!("nobody waited for a delivery");
                }
            }
            Waiting::DeadLetter { events, ticket, commands } => match result {
                Ok(_) => {
                    if events.send(EdgeEvent::Input(Input::DeadLettered { ticket })).is_err() {
                        tracing::debug!("nobody listens to the edge any more");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, offset = ticket.offset.0, "a dead letter was not delivered");
                    not_delivered(error, ticket, &events, &commands);
                }
            },
        }
    }
}

pub(crate) fn publish_error(topic: &str, error: &KafkaError, connection: &Connection) -> PublishError {
    let topic = topic.to_owned();
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            PublishError::NoSuchTopic(topic)
        }
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
            PublishError::NotAuthorised { lacking: lacks_writing(&topic, connection), topic }
        }
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => PublishError::TooLarge(topic),
        Some(Code::InvalidRecord) => PublishError::Refused(topic),
        Some(Code::MessageTimedOut | Code::RequestTimedOut | Code::OperationTimedOut) => {
            PublishError::TimedOut(topic)
        }
        _ => PublishError::Failed { topic, reason: error.to_string() },
    }
}

pub(crate) fn lacks_writing(topic: &str, connection: &Connection) -> String {
    lacking(&[Need::topic(Operation::Write, topic)], connection)
}
