//! The tables of `notify`: who takes part in which thread, and who is to hear of what.

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::error::ours;
use super::mails::{self, About};
use crate::ports::{Arrival, StoreError, SubscriptionChange, ThreadComment, ThreadPost, Welcome};

/// A comment was written: tells those who commented before, and the post's author or, where the post has not
/// come yet, remembers to tell them.
pub(super) fn comment(connection: &Connection, comment: &ThreadComment) -> Result<(), StoreError> {
    let ThreadComment { post, comment, author, origin, mail } = comment;
    let about = About { post: Some(post), comment: Some(comment), author: Some(author) };
    mails::source(connection, mail.as_ref(), origin, about)?;
    let (event, time) = (origin.event.as_str(), origin.time);
    // In the order of offsets everybody who is there came before; else the source time says who did.
    let until = match origin.arrival {
        Arrival::InOrder => i64::MAX,
        Arrival::OutOfOrder => time,
    };
    mails::notify(
        connection,
        "INSERT INTO notifications (recipient, reason, subject, event, time)
         SELECT author, 'comment', ?2, ?4, ?5 FROM thread_participants
         WHERE post = ?1 AND author <> ?3 AND since <= ?6 ON CONFLICT DO NOTHING
         RETURNING recipient, reason, subject, event",
        params![post, comment, author, event, time, until],
    )?;
    execute(
        connection,
        "INSERT INTO thread_participants (post, author, since) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET since = min(since, excluded.since)",
        params![post, author, time],
    )?;
    match thread_author(connection, post)? {
        Some(recipient) if recipient == *author => Ok(()),
        Some(recipient) => mails::notify(
            connection,
            "INSERT INTO notifications (recipient, reason, subject, event, time) VALUES (?1, 'comment', ?2, ?3, ?4)
             ON CONFLICT DO NOTHING RETURNING recipient, reason, subject, event",
            params![recipient, comment, event, time],
        )
        .map(drop),
        None => execute(
            connection,
            "INSERT INTO thread_waiting (post, comment, author, event, time) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![post, comment, author, event, time],
        ),
    }
}

fn thread_author(connection: &Connection, post: &str) -> Result<Option<String>, StoreError> {
    connection
        .prepare_cached("SELECT author FROM thread_authors WHERE post = ?1")
        .and_then(|mut statement| statement.query_row([post], |row| row.get(0)).optional())
        .map_err(ours)
}

/// A post was published. Only its first publication makes an author and an announcement.
pub(super) fn post(connection: &Connection, post: &ThreadPost) -> Result<(), StoreError> {
    let ThreadPost { post, author, origin, mail } = post;
    if thread_author(connection, post)?.is_some() {
        return Ok(());
    }
    let about = About { post: Some(post), author: Some(author), ..About::default() };
    mails::source(connection, mail.as_ref(), origin, about)?;
    execute(connection, "INSERT INTO thread_authors (post, author) VALUES (?1, ?2)", params![post, author])?;
    mails::notify(
        connection,
        // A comment that was written twice is told of by its first event, also where the author has heard of the
        // second as one who commented in between.
        "INSERT INTO notifications (recipient, reason, subject, event, time)
         SELECT ?2, 'comment', comment, event, time FROM
             (SELECT comment, event, time, min(arrival) FROM thread_waiting
              WHERE post = ?1 AND author <> ?2 GROUP BY comment) WHERE true
         ON CONFLICT DO UPDATE SET event = excluded.event, time = excluded.time
         RETURNING recipient, reason, subject, event",
        params![post, author],
    )?;
    execute(connection, "DELETE FROM thread_waiting WHERE post = ?1", params![post])?;
    execute(
        connection,
        "INSERT INTO fan_outs (post, author, event, time, expanded_to, arrived_at)
         VALUES (?1, ?2, ?3, ?4, '', unixepoch() * 1000)
         ON CONFLICT DO NOTHING",
        params![post, author, origin.event.as_str(), origin.time],
    )
}

/// Somebody's subscription changed at a time. It holds until their next change, and puts right what was
/// announced for that stretch already.
pub(super) fn subscription(connection: &Connection, change: &SubscriptionChange) -> Result<(), StoreError> {
    let SubscriptionChange { user, time, subscribed } = change;
    execute(
        connection,
        "INSERT INTO subscriptions (subscriber, since, subscribed, arrived_at)
         VALUES (?1, ?2, ?3, unixepoch() * 1000)
         ON CONFLICT DO UPDATE SET subscribed = excluded.subscribed, arrived_at = excluded.arrived_at",
        params![user, time, subscribed],
    )?;
    let end: Option<i64> = connection
        .prepare_cached("SELECT min(since) FROM subscriptions WHERE subscriber = ?1 AND since > ?2")
        .and_then(|mut statement| statement.query_row(params![user, time], |row| row.get(0)))
        .map_err(ours)?;
    if *subscribed {
        // Written in chunks, as announcements are.
        execute(
            connection,
            "INSERT INTO catch_ups (subscriber, next_time, next_post, end_time)
             SELECT ?1, ?2, '', ?3 WHERE EXISTS
                 (SELECT 1 FROM fan_outs WHERE time >= ?2 AND (?3 IS NULL OR time < ?3))",
            params![user, time, end],
        )
    } else {
        execute(
            connection,
            "DELETE FROM notifications WHERE recipient = ?1 AND reason = 'post' AND subject IN
                 (SELECT post FROM fan_outs WHERE time >= ?2 AND (?3 IS NULL OR time < ?3))",
            params![user, time, end],
        )
    }
}

/// Greets somebody, once.
pub(super) fn welcome(connection: &Connection, welcome: &Welcome) -> Result<(), StoreError> {
    let Welcome { user, origin, mail } = welcome;
    mails::source(connection, mail.as_ref(), origin, About::default())?;
    mails::notify(
        connection,
        "INSERT INTO notifications (recipient, reason, subject, event, time) VALUES (?1, 'welcome', ?1, ?2, ?3)
         ON CONFLICT DO NOTHING RETURNING recipient, reason, subject, event",
        params![user, origin.event.as_str(), origin.time],
    )
    .map(drop)
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map(drop).map_err(ours)
}
