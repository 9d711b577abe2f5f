//! The base of the comparison: one thread, one poll loop, the same decoder, a commit each second.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, error::KafkaError, error::RDKafkaErrorCode};

use crate::Work;
use crate::event::{PageViewed, TOPIC, sum};
use crate::failure::Failure;
use crate::fill::codec;
use crate::measure::{Measured, Meter};

/// Reads and decodes all events; orders, retries and keeps nothing.
#[expect(clippy::disallowed_methods, reason = "a raw loop reads its clock itself")]
pub(crate) fn run(work: &Work) -> Result<Measured, Failure> {
    let codec = codec()?;
    let meter = Meter::new(work);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &work.kafka)
        .set("group.id", format!("bench.raw.{}", std::process::id()))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("queued.max.messages.kbytes", work.queue_kib.to_string())
        .set("fetch.message.max.bytes", "524288")
        .set("fetch.queue.backoff.ms", "5")
        .create()?;
    consumer.subscribe(&[TOPIC])?;

    let mut committed = Instant::now();
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message?;
            let value = message.payload().unwrap_or_default();
            let event: PageViewed = codec.value(value).map_err(|error| Failure::Codec(error.to_string()))?;
            if meter.count(1, sum(&event)) {
                break;
            }
        }
        if committed.elapsed() >= Duration::from_secs(1) {
            committed = Instant::now();
            consumer.commit_consumer_state(CommitMode::Async).or_else(nothing_yet)?;
        }
    }
    meter.measured()
}

fn nothing_yet(error: KafkaError) -> Result<(), Failure> {
    let nothing = error == KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset);
    if nothing { Ok(()) } else { Err(error.into()) }
}
