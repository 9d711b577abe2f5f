//! What PostgreSQL's errors mean for the store.

use std::error::Error as _;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::ports::StoreError;

/// Why a transaction did not happen.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// It met another one: nothing was changed, and the same transaction may do better at once.
    Conflict(String),
    /// The store's own answer.
    Store(StoreError),
}

impl Trouble {
    /// Returns what callers of the store are told: a conflict that does not end counts as the store being away.
    pub(super) fn told(self) -> StoreError {
        match self {
            Self::Conflict(text) => StoreError::Away(text),
            Self::Store(error) => error,
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Of one of our own statements.
impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        classify(&error, Whose::Ours)
    }
}

impl From<PoolError> for Trouble {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => connecting(&error),
            PoolError::Timeout(_)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => {
                Self::Store(StoreError::Away(format!("no connection to the database: {error}")))
            }
        }
    }
}

/// Whose statement failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// One of ours: that it does not compile says that the tables are not what we made.
    Ours,
    /// A user's: that it does not compile is the user's error.
    Theirs,
}

/// Classes an error, once and for all.
pub(super) fn classify(error: &tokio_postgres::Error, whose: Whose) -> Trouble {
    let text = text(error);
    let Some(code) = error.code() else {
        let gone = error.is_closed() || error.source().is_some_and(is_of_the_wire);
        // The rest are the driver's own complaints: parameters or columns that do not fit.
        return match (gone, whose) {
            (true, _) => StoreError::Away(text).into(),
            (false, Whose::Theirs) => StoreError::Refused(text).into(),
            (false, Whose::Ours) => StoreError::Unusable(text).into(),
        };
    };
    if CONFLICTS.contains(code) || is_made_by_another(error) {
        return Trouble::Conflict(text);
    }
    let by_owner = match whose {
        Whose::Ours => StoreError::Unusable,
        Whose::Theirs => StoreError::Refused,
    };
    // The first two characters are the class: https://www.postgresql.org/docs/current/errcodes-appendix.html
    let store = match code.code().get(..2).unwrap_or_default() {
        // A plan that was made before somebody changed a table: it is forgotten, and made anew the next time.
        "0A" if text.contains("cached plan") => StoreError::Away(text),
        // Data that do not fit, violated constraints, limits.
        "21" | "22" | "23" | "44" | "54" => StoreError::Refused(text),
        // Its words, names and rights.
        "0A" | "26" | "2F" | "34" | "38" | "39" | "3F" | "42" | "P0" => by_owner(text),
        // Login and database.
        "28" | "3D" => StoreError::Unusable(text),
        // Read-only: a standby, for the moment of a change-over. Connections, resources, operators, locks, and what
        // PostgreSQL adds later: tried again rather than lost.
        _ => StoreError::Away(text),
    };
    store.into()
}

/// Says whether somebody else made the same table at the same moment: `IF NOT EXISTS` does not see it yet, and the catalogue's
/// own index then refuses it.
fn is_made_by_another(error: &tokio_postgres::Error) -> bool {
    let catalogue = error.as_db_error().and_then(|error| error.schema()) == Some("pg_catalog");
    catalogue && error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

/// Classes an error of connecting: a wrong password or certificate is a wrong configuration, but a server that is not
/// there, or goes while it is spoken to, is away.
pub(super) fn connecting(error: &tokio_postgres::Error) -> Trouble {
    match error.code() {
        Some(code) if WRONG_LOGIN.contains(code) => StoreError::Unusable(text(error)).into(),
        Some(_) => classify(error, Whose::Ours),
        None if is_refusal(error) => StoreError::Unusable(text(error)).into(),
        None => StoreError::Away(text(error)).into(),
    }
}

/// Classes an error of a connection that is made anew, when one has been taken before: a server whose certificate is not
/// in order may get another one, and is away until then.
pub(super) fn connecting_again(error: PoolError) -> Trouble {
    if let PoolError::Backend(error) = &error
        && error.code().is_none()
        && error.to_string().starts_with(NO_TLS)
    {
        let why = "the database is no longer trusted, as it was before: mend its certificate or sslrootcert";
        return StoreError::Away(format!("{why} ({})", text(error))).into();
    }
    error.into()
}

/// Says whether the two sides talked to each other and will not agree the next time either: no password, no TLS, a
/// certificate that is not trusted. The driver names the kind of an error only in its words.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let kind = error.to_string();
    let talked = REFUSALS.iter().any(|words| kind.starts_with(words));
    let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
    // OpenSSL tells an end in the middle of the handshake as one of its own errors.
    talked && !causes().any(|cause| is_of_the_wire(cause) || is_of_an_end(cause))
}

fn is_of_an_end(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.to_string().to_ascii_lowercase().contains("unexpected eof")
}

fn is_of_the_wire(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() != std::io::ErrorKind::InvalidInput)
}

/// A value that does not fit its parameter.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfit(pub(super) String);

/// Says what went wrong in one line, with the server's own words.
fn text(error: &tokio_postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        // Of data that do not fit the detail shows the data: addresses of people, whole rows.
        let shows_data = ["22", "23", "44"].iter().any(|class| server.code().code().starts_with(class));
        let detail = server.detail().filter(|_| !shows_data);
        let detail = detail.map(|detail| format!(" ({})", detail.replace('\n', " "))).unwrap_or_default();
        return format!("{}{detail} [{}]", server.message(), server.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

const CONFLICTS: [SqlState; 3] =
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::TRANSACTION_ROLLBACK];

const NO_TLS: &str = "error performing TLS handshake";
const REFUSALS: [&str; 3] = [NO_TLS, "authentication error", "invalid configuration"];

const WRONG_LOGIN: [SqlState; 3] =
    [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION, SqlState::UNDEFINED_DATABASE];
