//! What `notify` leaves for mail: a row for each notification of an event that is not too old, and what it will say.

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::error::ours;
use super::{project, queue};
use crate::ports::{Arrival, MailSource, Origin, PersonChange, PersonFact, StoreError, ThreadText};

/// What a mail's source is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About<'a> {
    pub(super) post: Option<&'a str>,
    pub(super) comment: Option<&'a str>,
    pub(super) author: Option<&'a str>,
}

/// Keeps what mails about an event say, unless the event is too old for mail: then no mail will be asked for.
pub(super) fn source(
    connection: &Connection,
    source: Option<&MailSource>,
    origin: &Origin,
    about: About<'_>,
) -> Result<(), StoreError> {
    let Some(MailSource { blog, format, text, max_age }) = source else { return Ok(()) };
    let until = origin.time.saturating_add(*max_age);
    let About { post, comment, author } = about;
    execute(
        connection,
        SOURCE,
        params![origin.event.as_str(), blog, post, comment, author, format, text, origin.time, until],
    )
}

/// Writes notifications by a statement that ends in a conflict clause, and leaves a mail for each that is new. Returns
/// how many were written.
pub(super) fn notify(
    connection: &Connection,
    sql: &'static str,
    values: impl Params,
) -> Result<usize, StoreError> {
    debug_assert!(sql.trim_end().ends_with(RETURNING), "a notification is told back");
    let written: Vec<[String; 4]> = connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement
                .query_map(values, |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?
                .collect()
        })
        .map_err(ours)?;
    let mut last: Option<(&str, bool)> = None;
    for [recipient, reason, subject, event] in &written {
        let wanted = match last {
            Some((same, wanted)) if same == event => wanted,
            Some(_) | None => is_wanted(connection, event)?,
        };
        last = Some((event, wanted));
        if wanted {
            queue::add_mail(connection, recipient, reason, subject, event)?;
        }
    }
    Ok(written.len())
}

fn is_wanted(connection: &Connection, event: &str) -> Result<bool, StoreError> {
    connection
        .prepare_cached("SELECT 1 FROM mail_sources WHERE event = ?1 AND until >= unixepoch() * 1000")
        .and_then(|mut statement| statement.query_row([event], |_| Ok(())).optional())
        .map(|found| found.is_some())
        .map_err(ours)
}

/// Somebody can, or can no longer, be written to.
pub(super) fn contact(connection: &Connection, change: &PersonChange) -> Result<(), StoreError> {
    project::person_in(connection, &project::CONTACTS, change)?;
    let (gone, reachable): (bool, bool) = connection
        .prepare_cached("SELECT state IN (2, 3), email IS NOT NULL FROM contacts WHERE id = ?1")
        .and_then(|mut statement| {
            statement.query_row([&change.user], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(ours)?
        .unwrap_or_default();
    match change.fact {
        PersonFact::Removed if gone => queue::withdraw_all(connection, &change.user),
        PersonFact::Registered(_) | PersonFact::Updated(_) if reachable => {
            queue::unpark(connection, &change.user)
        }
        PersonFact::Removed | PersonFact::Registered(_) | PersonFact::Updated(_) => Ok(()),
    }
}

/// What mails say of a post changed.
pub(super) fn thread_text(connection: &Connection, change: &ThreadText) -> Result<(), StoreError> {
    let ThreadText { post, origin, title, slug, format, text } = change;
    let in_order = origin.arrival == Arrival::InOrder;
    execute(connection, THREAD_TEXT, params![post, title, slug, format, text, origin.time, in_order])
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map(drop).map_err(ours)
}

/// How statements that write notifications end.
const RETURNING: &str = "RETURNING recipient, reason, subject, event";

// No mail is asked for after 35 days, so that sources can be removed some time.
const SOURCE: &str =
    "INSERT INTO mail_sources (event, blog, post, comment, author, format, text, time, until)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, min(?9, (unixepoch() + 35 * 86400) * 1000)
    WHERE ?9 >= unixepoch() * 1000 ON CONFLICT DO NOTHING";

// What is newer wins, field by field; in the order of offsets the later one is.
const THREAD_TEXT: &str = "INSERT INTO thread_posts (post, title, slug, format, text, time)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO UPDATE SET
        title = iif(?7 OR excluded.time >= time, coalesce(excluded.title, title), coalesce(title, excluded.title)),
        slug = iif(?7 OR excluded.time >= time, coalesce(excluded.slug, slug), coalesce(slug, excluded.slug)),
        format = iif(?7 OR excluded.time >= time, coalesce(excluded.format, format), coalesce(format, excluded.format)),
        text = iif(?7 OR excluded.time >= time, coalesce(excluded.text, text), coalesce(text, excluded.text)),
        time = iif(?7, excluded.time, max(time, excluded.time))";
