//! A unit: its guard, then its changes.

use rusqlite::Connection;

use super::position::{self, Pass};
use super::{documents, mails, outbox, project, statement, threads, thumbnails, webhooks};
use crate::ports::{Applied, Change, Claim, StoreError, Unit};

/// Applies a unit inside the open transaction. After an error the caller undoes what was done.
pub(super) fn apply(connection: &Connection, claim: &Claim, unit: &Unit) -> Result<Applied, StoreError> {
    if let Pass::Stop(applied) = position::pass(connection, claim, &unit.guard)? {
        return Ok(applied);
    }
    for change in &unit.changes {
        carry_out(connection, change)?;
    }
    Ok(Applied::Committed)
}

fn carry_out(connection: &Connection, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Active { user, time } => project::active(connection, user, *time),
        Change::Comment(change) => project::comment(connection, change),
        Change::Contact(change) => mails::contact(connection, change),
        Change::Document(change) => documents::apply(connection, change),
        Change::Person(change) => project::person(connection, change),
        Change::Post(change) => project::post(connection, change),
        Change::RequestClosed { id, ending, reply, time } => {
            outbox::close(connection, id, *ending, reply, *time)
        }
        Change::Statement { sql, params } => statement::run(connection, sql, params),
        Change::Subscription(change) => threads::subscription(connection, change),
        Change::ThreadComment(comment) => threads::comment(connection, comment),
        Change::ThreadPost(post) => threads::post(connection, post),
        Change::ThreadText(change) => mails::thread_text(connection, change),
        Change::Webhooks(event) => webhooks::event(connection, event),
        Change::Thumbnails(made) => thumbnails::made(connection, made),
        Change::Welcome(welcome) => threads::welcome(connection, welcome),
    }
}
