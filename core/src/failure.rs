//! The error classes: decided once, where the error was seen, and carried in the type.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Why one record was not processed, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What follows.
    pub class: Class,
    /// The detail beneath the reason: a word of a closed list, such as `truncated` or `smtp_550`.
    pub detail: Cow<'static, str>,
    /// One sentence for a person: what happened.
    pub message: String,
}

impl Failure {
    /// Makes a failure of `class`.
    pub fn new(class: Class, detail: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.detail, self.message)
    }
}

/// The class of a failure: whether it is retried, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// May succeed later: retried with back-off until the attempt budget is spent, then dead-lettered as
    /// [`Reason::Exhausted`] (or [`Reason::TimedOut`] where the last attempt hit its deadline).
    Transient {
        /// The earliest time of the next attempt that the other side asked for.
        retry_after: Option<Duration>,
        /// Whether the attempt ended by the handler's own deadline.
        ended: Ended,
    },
    /// A configured dependency is away: its circuit opens, the attempt budget is not spent, nothing is
    /// dead-lettered.
    Outage(Dependency),
    /// Will never succeed: dead-lettered at once for the given reason.
    Dead(Reason),
    /// The process cannot go on: the record stays unfinished, the group drains and stops.
    Fatal,
}

/// How an attempt that may be repeated came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The handler returned an error.
    ByError,
    /// The handler's deadline passed and it was cancelled.
    ByDeadline,
}

/// The name of a configured dependency, such as `store` or `smtp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dependency(pub Cow<'static, str>);

/// Why a record is in the dead-letter topic: the one list, used alike in headers, metrics, logs and commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The process died over it again and again.
    CrashLoop,
    /// Transient failures used up the attempts.
    Exhausted,
    /// It decodes, but violates the rules of its schema, of the handler, or of the topic that it is published to.
    Invalid,
    /// The handler panicked.
    Panicked,
    /// The handler refused it for good.
    Rejected,
    /// The last attempt hit the handler's deadline.
    TimedOut,
    /// Larger than `max.record.bytes`: dead-lettered by reference.
    TooLarge,
    /// Its bytes are not what their frame says.
    Undecodable,
    /// Its schema is not known, or not supported.
    UnknownSchema,
}

impl Reason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::CrashLoop,
        Self::Exhausted,
        Self::Invalid,
        Self::Panicked,
        Self::Rejected,
        Self::TimedOut,
        Self::TooLarge,
        Self::Undecodable,
        Self::UnknownSchema,
    ];

    /// Returns the code, as it stands in headers, metrics, logs and commands.
    pub const fn code(self) -> &'static str {
        match self {
            Self::CrashLoop => "crash_loop",
            Self::Exhausted => "exhausted",
            Self::Invalid => "invalid",
            Self::Panicked => "panicked",
            Self::Rejected => "rejected",
            Self::TimedOut => "timed_out",
            Self::TooLarge => "too_large",
            Self::Undecodable => "undecodable",
            Self::UnknownSchema => "unknown_schema",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
