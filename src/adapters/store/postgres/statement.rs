//! A user's own statement.

use std::error::Error;

use deadpool_postgres::Transaction;
use tokio_postgres::Statement;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::error::{Trouble, Unfit, Whose, classify};
use crate::ports::{Param, StoreError};

/// Runs a statement inside the unit's transaction; rows that it returns are dropped.
pub(super) async fn run(tx: &Transaction<'_>, sql: &str, params: &[Param]) -> Result<(), Trouble> {
    check(sql)?;
    let theirs = |error: tokio_postgres::Error| classify(&error, Whose::Theirs);
    let statement = tx.prepare_cached(&numbered(sql)).await.map_err(theirs)?;
    tx.execute(&statement, &fitting(&statement, params)?).await.map_err(theirs)?;
    Ok(())
}

/// Runs a user's question inside a transaction that only reads.
pub(super) async fn query(
    tx: &Transaction<'_>,
    sql: &str,
    params: &[Param],
) -> Result<Vec<Vec<Param>>, Trouble> {
    let theirs = |error: tokio_postgres::Error| classify(&error, Whose::Theirs);
    let statement = tx.prepare_cached(&numbered(sql)).await.map_err(theirs)?;
    if statement.columns().is_empty() {
        return Err(StoreError::Refused("a question only reads".to_owned()).into());
    }
    let rows = tx.query(&statement, &fitting(&statement, params)?).await.map_err(theirs)?;
    rows.iter()
        .map(|row| (0..row.len()).map(|column| row.try_get(column).map_err(theirs)).collect())
        .collect()
}

/// Returns the parameters as the driver takes them, which panics where the number differs.
fn fitting<'p>(
    statement: &Statement,
    params: &'p [Param],
) -> Result<Vec<&'p (dyn ToSql + Sync)>, StoreError> {
    let (wanted, given) = (statement.params().len(), params.len());
    if wanted != given {
        return Err(StoreError::Refused(format!("{wanted} parameters are wanted and {given} are there")));
    }
    Ok(params.iter().map(|param| -> &(dyn ToSql + Sync) { param }).collect())
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

/// Writes `?1` as `$1`, but not in quotes.
pub(super) fn numbered(sql: &str) -> String {
    let mut written = String::with_capacity(sql.len());
    let mut quote: Option<char> = None;
    let mut chars = sql.chars().peekable();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (None, '?') if chars.peek().is_some_and(char::is_ascii_digit) => written.push('$'),
            (None, '\'' | '"') => {
                quote = Some(char);
                written.push(char);
            }
            (Some(open), _) if open == char => {
                quote = None;
                written.push(char);
            }
            _ => written.push(char),
        }
    }
    written
}

impl ToSql for Param {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(value) => integer(*value, kind, out),
            Self::Real(value) => real(*value, kind, out),
            Self::Text(value) => value.as_str().to_sql_checked(kind, out),
            Self::Blob(value) => value.as_slice().to_sql_checked(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn integer(value: i64, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
    let unfit = || Box::new(Unfit(format!("{value} does not fit a parameter of type {kind}")));
    match *kind {
        Type::INT8 => value.to_sql(kind, out),
        Type::INT4 => i32::try_from(value).map_err(|_| unfit())?.to_sql(kind, out),
        Type::INT2 => i16::try_from(value).map_err(|_| unfit())?.to_sql(kind, out),
        Type::BOOL if (0..=1).contains(&value) => (value == 1).to_sql(kind, out),
        // A parameter that nothing says the type of is text.
        Type::TEXT | Type::VARCHAR => value.to_string().to_sql(kind, out),
        Type::FLOAT8 => real(i32::try_from(value).map(f64::from).map_err(|_| unfit())?, kind, out),
        _ => Err(unfit()),
    }
}

fn real(value: f64, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
    match *kind {
        Type::FLOAT8 => value.to_sql(kind, out),
        Type::TEXT | Type::VARCHAR => value.to_string().to_sql(kind, out),
        _ => Err(Box::new(Unfit(format!("{value} does not fit a parameter of type {kind}")))),
    }
}

impl<'a> FromSql<'a> for Param {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Self::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Integer(i32::from_sql(kind, raw)?.into()),
            Type::INT2 => Self::Integer(i16::from_sql(kind, raw)?.into()),
            Type::BOOL => Self::Integer(bool::from_sql(kind, raw)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(kind, raw)?),
            Type::FLOAT4 => Self::Real(f32::from_sql(kind, raw)?.into()),
            Type::BYTEA => Self::Blob(raw.to_vec()),
            _ => Self::Text(String::from_sql(kind, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        let numbers =
            [Type::INT8, Type::INT4, Type::INT2, Type::BOOL, Type::FLOAT8, Type::FLOAT4, Type::BYTEA];
        numbers.contains(kind) || <String as FromSql<'_>>::accepts(kind)
    }
}

const VERBS: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "CREATE"];
