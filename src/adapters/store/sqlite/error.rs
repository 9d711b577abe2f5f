//! What SQLite's errors mean for the store.

use rusqlite::{Error, ErrorCode};

use crate::ports::StoreError;

/// Whose statement failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// One of ours: that it does not compile says that the file is not what we made.
    Ours,
    /// A user's: that it does not compile is the user's error.
    Theirs,
}

/// Classes an error, once and for all.
pub(super) fn classify(error: &Error, whose: Whose) -> StoreError {
    let text = error.to_string();
    let by_owner = match whose {
        Whose::Ours => StoreError::Unusable,
        Whose::Theirs => StoreError::Refused,
    };
    let Some(code) = error.sqlite_error_code() else {
        // The driver's own complaints: wrong number of parameters, a column of another type.
        return by_owner(text);
    };
    match code {
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory
        | ErrorCode::CannotOpen
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::OperationAborted
        | ErrorCode::OperationInterrupted
        | ErrorCode::SchemaChanged => StoreError::Away(text),
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => {
            StoreError::Refused(text)
        }
        ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::InternalMalfunction => StoreError::Unusable(text),
        ErrorCode::ApiMisuse
        | ErrorCode::AuthorizationForStatementDenied
        | ErrorCode::NotFound
        | ErrorCode::ParameterOutOfRange
        | ErrorCode::Unknown => by_owner(text),
        // The list is open: whatever SQLite adds is tried again rather than lost.
        _ => StoreError::Away(text),
    }
}

/// Classes an error of one of our own statements.
pub(super) fn ours(error: Error) -> StoreError {
    classify(&error, Whose::Ours)
}
