//! Ways in which a record is spoilt on its way, as they happen in real life.

use crate::codec::Outgoing;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// Somebody wrote JSON to the topic.
    BadMagic,
    /// The value was cut off.
    Truncated,
    /// The schema's id is in no registry.
    UnknownSchema,
    /// The event id is not clean text.
    Invalid,
    /// Bytes follow the event.
    TrailingBytes,
}

impl Poison {
    /// All ways.
    pub const ALL: [Self; 5] =
        [Self::BadMagic, Self::Truncated, Self::UnknownSchema, Self::Invalid, Self::TrailingBytes];

    /// Spoils a record.
    #[must_use]
    pub fn spoil(self, mut record: Outgoing) -> Outgoing {
        let value = record.value.take().unwrap_or_default();
        record.value = Some(match self {
            Self::BadMagic => br#"{"type":"comment.created","post":"hello"}"#.to_vec(),
            Self::Truncated => value.get(..value.len() / 2).unwrap_or_default().to_vec(),
            Self::UnknownSchema => {
                let datum = value.get(FRAME..).unwrap_or_default();
                [&[0], UNKNOWN_ID.to_be_bytes().as_slice(), datum].concat()
            }
            Self::Invalid => value,
            Self::TrailingBytes => [value.as_slice(), b"oops"].concat(),
        });
        if self == Self::Invalid {
            for (name, value) in &mut record.headers {
                if name == "ce_id" {
                    *value = Some(b"two\nlines".to_vec());
                }
            }
        }
        record
    }
}

/// The length of Confluent's frame: the magic byte and the id.
const FRAME: usize = 5;

const UNKNOWN_ID: u32 = 4_000_000;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use postroom_core::{Offset, Partition, Reason, Topic, TopicPartition};

    use super::*;
    use crate::codec::{Codec, Framing, Limits};
    use crate::event::{BlogEvent, CommentCreated, RawBatchBuilder, RawHeader, RawParts};

    #[test]
    fn each_way_ends_as_the_dead_letter_that_it_is_meant_for() {
        let codec = Codec::new(Limits::default());
        let event = CommentCreated {
            event_id: "e1".to_owned(),
            post_id: "p1".to_owned(),
            ..CommentCreated::default()
        };
        let record = codec.encode(&event, Framing::ConfluentV0).unwrap();

        for poison in Poison::ALL {
            let spoilt = poison.spoil(record.clone());
            let mut builder =
                RawBatchBuilder::new(TopicPartition::new(Topic::new("blog.comments"), Partition(0)));
            let parts = RawParts {
                offset: Offset(0),
                timestamp: spoilt.timestamp,
                key: spoilt.key.as_deref(),
                value: spoilt.value.as_deref(),
            };
            let headers =
                spoilt.headers.iter().map(|(name, value)| RawHeader { name, value: value.as_deref() });
            builder.push(parts, headers);
            let raw = builder.finish().remove(0);

            let error = codec.envelope::<BlogEvent>(&raw).unwrap_err();

            let expected = match poison {
                Poison::BadMagic | Poison::Truncated | Poison::TrailingBytes => Reason::Undecodable,
                Poison::UnknownSchema => Reason::UnknownSchema,
                Poison::Invalid => Reason::Invalid,
            };
            assert_eq!(error.reason(), expected, "{poison:?}: {error}");
        }
    }
}
