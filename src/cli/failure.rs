//! What a command failed of: what, how to mend it, and the code. The one place where errors become codes.

use std::fmt;
use std::io;

use crate::adapters::registry::ServerError;
use crate::cli::exit::Exit;
use crate::config::Problems;
use crate::ports::{EdgeError, StoreError};
use crate::telemetry::MetricsError;
use crate::telemetry::http::HttpError;
use crate::telemetry::log::LogError;

/// Why a command did not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    what: String,
    fix: Option<String>,
}

impl Failure {
    /// Says what failed.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), fix: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Returns the code to end with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns what to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.fix.as_deref()
    }

    /// Says whether nobody reads the output any more, as after `| head`: no reason to complain.
    pub fn is_reader_gone(&self) -> bool {
        self.what == READER_GONE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::new(Exit::Configuration, problems.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, READER_GONE);
        }
        Self::new(Exit::Io, format!("writing failed: {error}"))
    }
}

impl From<EdgeError> for Failure {
    fn from(error: EdgeError) -> Self {
        let what = error.to_string();
        match error {
            EdgeError::Unreachable(_) => Self::new(Exit::Unavailable, what).fix(
                "check kafka.brokers and the broker's advertised listeners; `postroom demo` needs no broker at all",
            ),
            EdgeError::NotAuthorised(_) => Self::new(Exit::NotAuthorised, what)
                .fix("run what is named above as an administrator of Kafka, or correct [kafka.sasl]"),
            EdgeError::NoSuchTopic { .. } => {
                Self::new(Exit::NotFound, what).fix("`postroom topics plan` shows what is missing, `topics apply` makes it")
            }
            EdgeError::FencedInstance(_) => {
                Self::new(Exit::Configuration, what).fix("give each process its own kafka.instance_id")
            }
            EdgeError::PositionGone { .. } => Self::new(Exit::Configuration, what).fix(
                "look at what was removed; then set effects.NAME.on_gap = \"continue\" to go on at what is left",
            ),
            EdgeError::Configuration(_) => Self::new(Exit::Configuration, what),
            EdgeError::CloseTimedOut => Self::new(Exit::Unfinished, what),
            EdgeError::Client(_) => Self::new(Exit::Internal, what),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let what = error.to_string();
        match error {
            ServerError::Away(_) => {
                Self::new(Exit::Unavailable, what).fix("start the registry, or correct registry.url")
            }
            ServerError::Unauthorised(_) => Self::new(Exit::NotAuthorised, what),
            ServerError::Refused(_) => Self::new(Exit::Configuration, what)
                .fix("`postroom schemas check` says what is not compatible"),
            ServerError::Unregistered { .. } => Self::new(Exit::Configuration, what)
                .fix("run `postroom schemas register`, or set registry.auto_register = true"),
            ServerError::Foreign(_) | ServerError::Unusable(_) => Self::new(Exit::Data, what),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let what = error.to_string();
        match error {
            StoreError::Away(_) => {
                Self::new(Exit::Unavailable, what).fix("start the database, or correct store.url")
            }
            StoreError::Refused(_) => Self::new(Exit::Internal, what),
            StoreError::Unusable(_) => Self::new(Exit::Configuration, what)
                .fix("check store.url, and store.password if it is PostgreSQL"),
        }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Listen { .. } => Self::new(Exit::CannotCreate, error.to_string()),
            HttpError::Thread(_) => Self::new(Exit::Internal, error.to_string()),
        }
    }
}

impl From<MetricsError> for Failure {
    fn from(error: MetricsError) -> Self {
        Self::new(Exit::Internal, error.to_string())
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Level(_) => Self::new(Exit::Configuration, error.to_string()),
            LogError::Already => Self::new(Exit::Internal, error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => io::Error::from(kind).into(),
            None => Self::new(Exit::Internal, format!("cannot be written as JSON: {error}")),
        }
    }
}

const READER_GONE: &str = "nobody reads the output";
