//! What must be there before a group starts: a cluster that answers at the address it gives itself, and all
//! topics.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use crate::kafka::context::EdgeContext;
use crate::kafka::direct::Security;
use crate::kafka::errors::{self, Verdict};
use crate::kafka::grant::lacking;
use crate::kafka::{access, reach};
use crate::ports::EdgeError;

/// Waits until the cluster answers, and checks that every topic is there and its leader can be reached.
/// Gives up when the connection's patience ends, or `go_on` says no.
///
/// # Errors
/// Names what is missing and what to do.
pub(crate) fn check(consumer: &BaseConsumer<EdgeContext>, go_on: impl Fn() -> bool) -> Result<(), EdgeError> {
    let context = consumer.context();
    let deadline = Instant::now() + context.config.connection.patience;
    for topic in context.config.topics.iter().chain(&context.config.dead_letter_topics) {
        loop {
            match look(consumer, topic) {
                Ok(()) => break,
                Err(EdgeError::Unreachable(reason)) => {
                    if let Some(obstacle) = reach::obstacle(&context.config.connection) {
                        return Err(obstacle);
                    }
                    if Instant::now() >= deadline || !go_on() {
                        return Err(EdgeError::Unreachable(reason));
                    }
                    tracing::debug!(topic, reason, "waiting for the cluster");
                }
                Err(EdgeError::NotAuthorised(why)) => return Err(context.refused(why)),
                Err(error) => return Err(error),
            }
        }
    }
    if Security::of(&context.config.connection).protocol() == "plaintext" {
        return Ok(());
    }
    // What is missing is told before any record is taken, and all of it at once.
    access::complaint(&context.config.connection, &context.config.needs()).map_or(Ok(()), Err)
}

fn look(consumer: &BaseConsumer<EdgeContext>, topic: &str) -> Result<(), EdgeError> {
    let context = consumer.context();
    let brokers = &context.config.connection.brokers;
    let metadata = consumer.fetch_metadata(Some(topic), ASK_PATIENCE).map_err(|error| {
        if let Err(error) = listen(consumer) {
            return error;
        }
        errors::explain(errors::of_request(&error), |reason| {
            format!("{brokers}: {}", context.log.last_failure().unwrap_or(reason))
        })
    })?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let error = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
    match error {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            return Err(EdgeError::NotAuthorised(lacking(
                &[context.config.need(topic)],
                &context.config.connection,
            )));
        }
        Some(code)
            if code != RDKafkaErrorCode::UnknownTopicOrPartition
                && code != RDKafkaErrorCode::UnknownTopic =>
        {
            return Err(EdgeError::Unreachable(format!("topic {topic}: {code}")));
        }
        _ => {}
    }
    let partitions = found.map(|found| found.partitions()).unwrap_or_default();
    let Some(partition) = partitions.first() else {
        return Err(EdgeError::NoSuchTopic {
            topic: topic.to_owned(),
            fix: "postroom topics apply creates it".to_owned(),
        });
    };
    consumer.fetch_watermarks(topic, partition.id(), ASK_PATIENCE).map(|_| ()).map_err(|error| {
        let leader = metadata.brokers().iter().find(|broker| broker.id() == partition.leader());
        let address =
            leader.map_or_else(String::new, |leader| format!("{}:{}", leader.host(), leader.port()));
        if let Err(error) = listen(consumer) {
            return error;
        }
        errors::explain(errors::of_request(&error), |reason| {
            format!(
                "the cluster at {brokers} says that its broker is at {address}, which does not answer ({}): \
                 check advertised.listeners",
                context.log.last_failure().unwrap_or(reason)
            )
        })
    })
}

/// Lets the client say what went wrong: its lines and errors come by polling only.
fn listen(consumer: &BaseConsumer<EdgeContext>) -> Result<(), EdgeError> {
    for _ in 0..LINES {
        if let Some(Err(error)) = consumer.poll(Duration::from_millis(1))
            && let Verdict::Stop(error) = errors::of_poll(&error)
        {
            return Err(error);
        }
    }
    Ok(())
}

/// How many lines of the client are listened to after a failed question.
const LINES: usize = 50;
const ASK_PATIENCE: Duration = Duration::from_secs(2);
