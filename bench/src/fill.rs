//! Fills the topic: plain Confluent-framed Avro, keyed, in batches as a busy producer sends them.

use std::time::Duration;

use postroom::codec::{Codec, Framing, Limits};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::Work;
use crate::event::{SCHEMA, SCHEMA_ID, TOPIC, event, sum};
use crate::failure::Failure;

/// Makes the topic and fills it. Prints how large a record is.
pub(crate) fn fill(work: &Work) -> Result<(), Failure> {
    create(&work.kafka)?;
    let codec = codec()?;
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &work.kafka)
        .set("linger.ms", "20")
        .set("acks", "all")
        .create()?;

    let mut bytes = 0;
    for number in 0..work.events {
        let outgoing = codec
            .encode(&event(number), Framing::ConfluentV0)
            .map_err(|error| Failure::Codec(error.to_string()))?;
        let (key, value) = (outgoing.key.unwrap_or_default(), outgoing.value.unwrap_or_default());
        bytes += value.len();
        send(&producer, &key, &value)?;
    }
    producer.flush(Duration::from_secs(60))?;

    say(work.events, bytes);
    Ok(())
}

/// Returns what the checksum of all events is.
pub(crate) fn checksum(events: u64) -> u64 {
    (0..events).map(|number| sum(&event(number))).sum()
}

/// A codec that knows the benchmark's schema.
pub(crate) fn codec() -> Result<Codec, Failure> {
    let codec = Codec::without_schemas(Limits::default());
    codec.add_schema(Some(SCHEMA_ID), None, SCHEMA).map_err(|error| Failure::Codec(error.to_string()))?;
    Ok(codec)
}

fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    key: &[u8],
    value: &[u8],
) -> Result<(), Failure> {
    let mut record = BaseRecord::to(TOPIC).key(key).payload(value);
    loop {
        record = match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.flush(Duration::from_millis(200)).or_else(still_busy)?;
                back
            }
            Err((error, _)) => return Err(error.into()),
        };
    }
}

fn still_busy(error: KafkaError) -> Result<(), Failure> {
    let busy = error == KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut);
    if busy { Ok(()) } else { Err(error.into()) }
}

fn create(kafka: &str) -> Result<(), Failure> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka).create()?;
    let topics = [
        NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1)),
        NewTopic::new("dlq.postroom.batch.bench.pages", PARTITIONS, TopicReplication::Fixed(1)),
        NewTopic::new("dlq.postroom.record.bench.pages", PARTITIONS, TopicReplication::Fixed(1)),
        NewTopic::new("retry.postroom.batch", PARTITIONS, TopicReplication::Fixed(1)),
        NewTopic::new("retry.postroom.record", PARTITIONS, TopicReplication::Fixed(1)),
    ];
    let runtime = tokio::runtime::Runtime::new()?;
    let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new()))?;
    for result in made {
        result.map_err(|(_, code)| KafkaError::AdminOp(code))?;
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a message for whoever runs it")]
fn say(events: u64, bytes: usize) {
    let mean = u64::try_from(bytes).unwrap_or_default() / events.max(1);
    eprintln!("{events} events of {mean} bytes in {PARTITIONS} partitions");
}

const PARTITIONS: i32 = 8;
