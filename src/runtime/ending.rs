//! Why a group, or what runs beside the groups, ended.

use std::fmt;

use postroom_core::HaltCause;

use crate::ports::EdgeError;
use crate::runtime::claims::Refusal;

/// Why a group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to, and nothing was abandoned.
    Drained,
    /// It was asked to, and runs were abandoned at the deadline: the next owner repeats them.
    DeadlinePassed {
        /// How many.
        abandoned: usize,
    },
    /// The core stopped it.
    Halted(HaltCause),
    /// It may not start where it would have to.
    Refused(Refusal),
    /// The Kafka client cannot go on.
    Edge(EdgeError),
    /// Not a group: something that runs beside the groups ended unasked, and why.
    Lost(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("drained"),
            Self::DeadlinePassed { abandoned } => {
                write!(
                    f,
                    "the shutdown deadline passed with {abandoned} runs in flight: the next owner repeats them"
                )
            }
            Self::Halted(HaltCause::Fatal(failure)) => write!(f, "{}", failure.message),
            Self::Halted(HaltCause::DeadLetterFlood { dead, finished }) => write!(
                f,
                "{dead} of the last {finished} records were dead letters: look at them (`postroom dlq ls`), \
                 then raise `dead_letter_limit` or mend the handler"
            ),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Edge(error) => error.fmt(f),
            Self::Lost(why) => f.write_str(why),
        }
    }
}
