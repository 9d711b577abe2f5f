//! The headers that other programs write on dead letters. They are read, never written.

use crate::dead_letters::entry::Origin;
use crate::event::RawRecord;

/// Whose headers a dead letter carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// Kafka Connect.
    Connect,
    /// Our own.
    Postroom,
    /// Kafka's share groups (KIP-1191).
    ShareGroup,
    /// SmallRye Reactive Messaging.
    SmallRye,
    /// Spring Kafka: its numbers are big-endian bytes.
    Spring,
    /// Spring Cloud Stream.
    SpringCloudStream,
    /// Kafka Streams (KIP-1034).
    Streams,
    /// Nobody's that is known.
    Unknown,
}

/// What foreign headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) origin: Option<Origin>,
    pub(crate) group: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) attempts: Option<u32>,
}

struct Names {
    dialect: Dialect,
    topic: &'static str,
    partition: &'static str,
    offset: &'static str,
    timestamp: &'static str,
    group: &'static str,
    error: &'static str,
    message: &'static str,
    attempts: &'static str,
}

impl Dialect {
    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "Kafka Connect",
            Self::Postroom => "Postroom",
            Self::ShareGroup => "share group",
            Self::SmallRye => "SmallRye",
            Self::Spring => "Spring Kafka",
            Self::SpringCloudStream => "Spring Cloud Stream",
            Self::Streams => "Kafka Streams",
            Self::Unknown => "unknown",
        }
    }
}

/// Reads the headers of the first dialect that the record carries.
pub(crate) fn read(record: &RawRecord) -> (Dialect, Foreign) {
    let Some(names) = NAMES.iter().find(|names| record.header(names.topic).is_some()) else {
        return (Dialect::Unknown, Foreign::default());
    };
    let number = |name: &str| number(names.dialect, record.header(name)?);
    let text = |name: &str| record.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let origin = text(names.topic).and_then(|topic| {
        Some(Origin {
            topic,
            partition: i32::try_from(number(names.partition)?).ok()?,
            offset: number(names.offset)?,
            timestamp: number(names.timestamp).or_else(|| record.timestamp()),
        })
    });
    let foreign = Foreign {
        origin,
        group: text(names.group),
        error: text(names.error),
        message: text(names.message),
        attempts: number(names.attempts).and_then(|number| u32::try_from(number).ok()),
    };
    (names.dialect, foreign)
}

fn number(dialect: Dialect, value: &[u8]) -> Option<i64> {
    if dialect == Dialect::Spring {
        return match value.len() {
            4 => Some(i64::from(i32::from_be_bytes(value.try_into().ok()?))),
            8 => Some(i64::from_be_bytes(value.try_into().ok()?)),
            _ => None,
        };
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

const NAMES: [Names; 6] = [
    Names {
        dialect: Dialect::Spring,
        topic: "kafka_dlt-original-topic",
        partition: "kafka_dlt-original-partition",
        offset: "kafka_dlt-original-offset",
        timestamp: "kafka_dlt-original-timestamp",
        group: "kafka_dlt-original-consumer-group",
        error: "kafka_dlt-exception-fqcn",
        message: "kafka_dlt-exception-message",
        attempts: "kafka_deliveryAttempt",
    },
    Names {
        dialect: Dialect::Connect,
        topic: "__connect.errors.topic",
        partition: "__connect.errors.partition",
        offset: "__connect.errors.offset",
        timestamp: "",
        group: "__connect.errors.connector.name",
        error: "__connect.errors.exception.class.name",
        message: "__connect.errors.exception.message",
        attempts: "",
    },
    Names {
        dialect: Dialect::Streams,
        topic: "__streams.errors.topic",
        partition: "__streams.errors.partition",
        offset: "__streams.errors.offset",
        timestamp: "",
        group: "",
        error: "__streams.errors.exception",
        message: "__streams.errors.message",
        attempts: "",
    },
    Names {
        dialect: Dialect::ShareGroup,
        topic: "__dlq.errors.topic",
        partition: "__dlq.errors.partition",
        offset: "__dlq.errors.offset",
        timestamp: "",
        group: "__dlq.errors.group",
        error: "",
        message: "__dlq.errors.message",
        attempts: "__dlq.errors.delivery.count",
    },
    Names {
        dialect: Dialect::SpringCloudStream,
        topic: "x-original-topic",
        partition: "x-original-partition",
        offset: "x-original-offset",
        timestamp: "x-original-timestamp",
        group: "",
        error: "x-exception-fqcn",
        message: "x-exception-message",
        attempts: "",
    },
    Names {
        dialect: Dialect::SmallRye,
        topic: "dead-letter-topic",
        partition: "dead-letter-partition",
        offset: "dead-letter-offset",
        timestamp: "",
        group: "",
        error: "dead-letter-exception-class-name",
        message: "dead-letter-reason",
        attempts: "",
    },
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::dead_letters::entry::tests::record;

    #[test]
    fn springs_binary_numbers_are_read() {
        let record = record(
            &[
                ("kafka_dlt-original-topic", Some(b"orders")),
                ("kafka_dlt-original-partition", Some(&[0, 0, 0, 2])),
                ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 1, 0])),
                ("kafka_dlt-original-timestamp", Some(&[0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0x7b])),
                ("kafka_dlt-exception-fqcn", Some(b"java.lang.IllegalStateException")),
            ],
            5,
        );

        let (dialect, foreign) = read(&record);

        assert_eq!(dialect, Dialect::Spring);
        let origin = foreign.origin.unwrap();
        assert_eq!((origin.topic.as_str(), origin.partition, origin.offset), ("orders", 2, 256));
        assert_eq!(origin.timestamp, Some(1_700_000_000_123));
        assert_eq!(foreign.error.as_deref(), Some("java.lang.IllegalStateException"));
    }

    #[test]
    fn texts_of_connect_are_read() {
        let record = record(
            &[
                ("__connect.errors.topic", Some(b"orders")),
                ("__connect.errors.partition", Some(b"3")),
                ("__connect.errors.offset", Some(b"77")),
                ("__connect.errors.exception.message", Some(b"no")),
            ],
            5,
        );

        let (dialect, foreign) = read(&record);

        assert_eq!(dialect, Dialect::Connect);
        assert_eq!(foreign.origin.unwrap().offset, 77);
        assert_eq!(foreign.message.as_deref(), Some("no"));
    }

    #[test]
    fn broken_numbers_are_no_origin() {
        let record =
            record(&[("x-original-topic", Some(b"orders")), ("x-original-partition", Some(b"three"))], 5);

        assert_eq!(read(&record).1.origin, None);
    }
}
