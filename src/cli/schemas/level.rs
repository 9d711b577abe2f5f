//! Levels of compatibility, as registries name them.

use clap::ValueEnum;

/// What a newest schema and those before it can do with each other's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Nothing is asked.
    None,
    /// It reads what the one before wrote.
    Backward,
    /// It reads what all before wrote.
    BackwardTransitive,
    /// The one before reads what it writes.
    Forward,
    /// All before read what it writes.
    ForwardTransitive,
    /// It and the one before read each other.
    Full,
    /// It and all before read each other.
    FullTransitive,
}

/// Which pairs read each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) last: bool,
    pub(crate) all: bool,
}

impl Level {
    /// The strongest level that holds: what reads all before counts more than who is read by the one before.
    pub(crate) fn of(backward: Reads, forward: Reads) -> Self {
        match (backward, forward) {
            (Reads { all: true, .. }, Reads { all: true, .. }) => Self::FullTransitive,
            (Reads { all: true, .. }, _) => Self::BackwardTransitive,
            (_, Reads { all: true, .. }) => Self::ForwardTransitive,
            (Reads { last: true, .. }, Reads { last: true, .. }) => Self::Full,
            (Reads { last: true, .. }, _) => Self::Backward,
            (_, Reads { last: true, .. }) => Self::Forward,
            _ => Self::None,
        }
    }

    /// Says whether the newest must read what was written before, and by how many.
    pub(crate) fn asks_backward(self) -> Option<Span> {
        match self {
            Self::None | Self::Forward | Self::ForwardTransitive => None,
            Self::Backward | Self::Full => Some(Span::Last),
            Self::BackwardTransitive | Self::FullTransitive => Some(Span::All),
        }
    }

    /// Says whether those before must read what the newest writes, and how many.
    pub(crate) fn asks_forward(self) -> Option<Span> {
        match self {
            Self::None | Self::Backward | Self::BackwardTransitive => None,
            Self::Forward | Self::Full => Some(Span::Last),
            Self::ForwardTransitive | Self::FullTransitive => Some(Span::All),
        }
    }

    /// Returns its name as registries write it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }
}

/// Which of the versions before are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Last,
    All,
}
