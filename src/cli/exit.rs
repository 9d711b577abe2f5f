//! The codes that the process ends with.

use std::process::ExitCode;

/// Why the process ends: the codes of `sysexits.h`, and a few of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `run`: drained.
    Ok,
    /// The command ran, and the answer is no.
    No,
    /// Changes are pending, with `--detailed-exitcode` only.
    Pending,
    /// The command line is not understood.
    Usage,
    /// The data are bad.
    Data,
    /// No such topic, group or file.
    NotFound,
    /// A broker, a running instance or another dependency does not answer.
    Unavailable,
    /// A bug.
    Internal,
    /// Something cannot be created.
    CannotCreate,
    /// Reading or writing failed.
    Io,
    /// The drain's deadline passed: work is left for the next owner.
    Unfinished,
    /// The broker refused our rights.
    NotAuthorised,
    /// The configuration cannot be used.
    Configuration,
    /// A second SIGINT.
    Interrupted,
    /// A second SIGTERM.
    Terminated,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::No,
        Self::Pending,
        Self::Usage,
        Self::Data,
        Self::NotFound,
        Self::Unavailable,
        Self::Internal,
        Self::CannotCreate,
        Self::Io,
        Self::Unfinished,
        Self::NotAuthorised,
        Self::Configuration,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// Returns the number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::No => 1,
            Self::Pending => 2,
            Self::Usage => 64,
            Self::Data => 65,
            Self::NotFound => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::Unfinished => 75,
            Self::NotAuthorised => 77,
            Self::Configuration => 78,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// Returns the code for the system.
    pub fn code(self) -> ExitCode {
        ExitCode::from(self.number())
    }
}
