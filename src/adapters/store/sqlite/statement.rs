//! A user's own statement.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::error::{Whose, classify};
use crate::ports::{Param, StoreError};

/// Runs a statement inside the unit's transaction; rows that it returns are dropped.
pub(super) fn run(connection: &Connection, sql: &str, params: &[Param]) -> Result<(), StoreError> {
    check(sql)?;
    let execute = || {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(params))?;
        while rows.next()?.is_some() {}
        Ok(())
    };
    execute().map_err(|error| classify(&error, Whose::Theirs))
}

/// The transaction is not the statement's to end, nor is the connection's setting its to change.
fn check(sql: &str) -> Result<(), StoreError> {
    let verb = sql.split_whitespace().next().unwrap_or_default();
    if VERBS.iter().any(|known| known.eq_ignore_ascii_case(verb)) {
        return Ok(());
    }
    let verbs = VERBS.join(", ");
    Err(StoreError::Refused(format!("a statement begins with one of {verbs}, not with {verb:?}")))
}

impl ToSql for Param {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(integer) => ToSqlOutput::Owned(Value::Integer(*integer)),
            Self::Real(real) => ToSqlOutput::Owned(Value::Real(*real)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

impl From<ValueRef<'_>> for Param {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(integer) => Self::Integer(integer),
            ValueRef::Real(real) => Self::Real(real),
            ValueRef::Text(text) => Self::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

const VERBS: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "CREATE"];
