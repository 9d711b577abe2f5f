//! Why a record was not decoded, in one closed list.

use std::fmt;

use postroom_core::{Class, Failure, Reason};

/// The detail beneath `undecodable`, `unknown_schema`, `invalid` and `too_large`: a closed list, used alike in
/// dead-letter headers, metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detail {
    /// An array or map whose block header contradicts its content.
    BadBlock,
    /// The value does not begin with a frame that we read.
    BadMagic,
    /// A boolean that is neither 0 nor 1.
    Bool,
    /// More values than a record of this size may stand for.
    Budget,
    /// A value of no bytes: not the same as a null value.
    Empty,
    /// An enum symbol that does not exist, or that the reader does not know.
    Enum,
    /// Too many or too large headers, or one that cannot be read.
    Headers,
    /// Writer and reader schema cannot be reconciled.
    Incompatible,
    /// An event id that is empty, too long, or not clean text.
    InvalidId,
    /// A length below zero or beyond any record.
    Length,
    /// A logical type (decimal, UUID, duration) whose bytes do not fit it.
    Logical,
    /// A text that contains the character NUL.
    Nul,
    /// A number that cannot be.
    Range,
    /// Fewer bytes than a frame has.
    ShortHeader,
    /// A time outside the years 1 to 9999.
    TimeRange,
    /// Larger than the largest record that is read.
    TooLarge,
    /// Bytes after the end.
    TrailingBytes,
    /// The bytes end too early.
    Truncated,
    /// A union branch that does not exist.
    Union,
    /// A schema that nobody knows, or that is not supported.
    UnknownSchema,
    /// Text that is not UTF-8.
    Utf8,
    /// A number of more than ten bytes, or written longer than needed.
    Varint,
    /// The content type names a format that is not Avro.
    WrongFormat,
    /// The schema is one of another event type than the record's `ce_type`.
    WrongType,
}

impl Detail {
    /// All details, in the order of their codes.
    pub const ALL: [Self; 24] = [
        Self::BadBlock,
        Self::BadMagic,
        Self::Bool,
        Self::Budget,
        Self::Empty,
        Self::Enum,
        Self::Headers,
        Self::Incompatible,
        Self::InvalidId,
        Self::Length,
        Self::Logical,
        Self::Nul,
        Self::Range,
        Self::ShortHeader,
        Self::TimeRange,
        Self::TooLarge,
        Self::TrailingBytes,
        Self::Truncated,
        Self::Union,
        Self::UnknownSchema,
        Self::Utf8,
        Self::Varint,
        Self::WrongFormat,
        Self::WrongType,
    ];

    /// Returns the code, as it stands in headers, metrics and logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadBlock => "bad_block",
            Self::BadMagic => "bad_magic",
            Self::Bool => "bool",
            Self::Budget => "budget",
            Self::Empty => "empty",
            Self::Enum => "enum",
            Self::Headers => "headers",
            Self::Incompatible => "incompatible",
            Self::InvalidId => "invalid_id",
            Self::Length => "length",
            Self::Logical => "logical",
            Self::Nul => "nul",
            Self::Range => "range",
            Self::ShortHeader => "short_header",
            Self::TimeRange => "time_range",
            Self::TooLarge => "too_large",
            Self::TrailingBytes => "trailing_bytes",
            Self::Truncated => "truncated",
            Self::Union => "union",
            Self::UnknownSchema => "unknown_schema",
            Self::Utf8 => "utf8",
            Self::Varint => "varint",
            Self::WrongFormat => "wrong_format",
            Self::WrongType => "wrong_type",
        }
    }

    /// Returns the reason under which such a record is dead-lettered.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Headers | Self::InvalidId | Self::Range | Self::TimeRange | Self::WrongType | Self::Nul => {
                Reason::Invalid
            }
            Self::TooLarge => Reason::TooLarge,
            Self::UnknownSchema => Reason::UnknownSchema,
            Self::BadBlock
            | Self::BadMagic
            | Self::Bool
            | Self::Budget
            | Self::Empty
            | Self::Enum
            | Self::Incompatible
            | Self::Length
            | Self::Logical
            | Self::ShortHeader
            | Self::TrailingBytes
            | Self::Truncated
            | Self::Union
            | Self::Utf8
            | Self::Varint
            | Self::WrongFormat => Reason::Undecodable,
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// How a frame names the schema that its datum was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaRef {
    /// A registry's number: Confluent's frame of version 0.
    Id(u32),
    /// A globally unique id: the header `__value_schema_id`.
    Guid([u8; 16]),
}

impl fmt::Display for SchemaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {id}"),
            Self::Guid(guid) => {
                f.write_str("guid ")?;
                for (place, byte) in guid.iter().enumerate() {
                    if matches!(place, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

/// Why a record was not decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Its schema is not among those that were added: fetch it, add it and try again. Where there is nobody to
    /// ask, it is poison: the conversion into [`Failure`] says so.
    #[error("the schema with {0} is not known")]
    NeedsSchema(SchemaRef),
    /// It never will be decoded.
    #[error("{detail}: {message}")]
    Poison {
        /// What is wrong, in one word.
        detail: Detail,
        /// What is wrong, in one sentence.
        message: String,
    },
}

impl DecodeError {
    pub(crate) fn poison(detail: Detail, message: impl Into<String>) -> Self {
        Self::Poison { detail, message: message.into() }
    }

    /// Returns the detail: `unknown_schema` where the schema is needed.
    pub fn detail(&self) -> Detail {
        match self {
            Self::NeedsSchema(_) => Detail::UnknownSchema,
            Self::Poison { detail, .. } => *detail,
        }
    }

    /// Returns the reason under which the record is dead-lettered.
    pub fn reason(&self) -> Reason {
        self.detail().reason()
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        let message = match &error {
            DecodeError::NeedsSchema(_) => error.to_string(),
            DecodeError::Poison { message, .. } => message.clone(),
        };
        Self::new(Class::Dead(error.reason()), error.detail().code(), message)
    }
}

/// Why a schema is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is not an Avro schema.
    #[error("not an Avro schema: {0}")]
    Malformed(String),
    /// It contains itself: data of it can be nested without end.
    #[error("the schema is recursive ({0} contains itself), which is not supported")]
    Recursive(String),
    /// One of its measures is beyond the limit.
    #[error("the schema is too large: {what} is {size}, the limit is {limit}")]
    TooLarge {
        /// What is measured.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The id or GUID stands for another schema already; both never change their meaning.
    #[error("{0} already stands for another schema")]
    Taken(SchemaRef),
}

/// Why an event was not encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The type's schema was not added, or has no id (or GUID) for the framing asked for.
    #[error("the schema of {0} is not registered here")]
    Unregistered(&'static str),
    /// The event does not fit the schema.
    #[error("the event does not fit the schema of {event_type}: {message}")]
    Unfit {
        /// The kind of event.
        event_type: String,
        /// What does not fit.
        message: String,
    },
}
