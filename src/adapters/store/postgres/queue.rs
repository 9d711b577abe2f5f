//! The life of a row of the outbox: queued, head of its addressee, closed.
//!
//! SQLite's only writer makes heads on the spot. Here many write at once, so whoever adds a row, or takes a head away,
//! leaves a mark (`unsettled`), and one relay at a time makes the heads. So nobody waits for somebody else's queue, and
//! what relays do waits for nobody: they pass over rows that are held.

use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::error::Trouble;
use super::pipe::{Pipe, column};
use crate::adapters::store::requests::{LOOK, MAIL, WEBHOOK, capped, ending_code, id, withdrawal};
use crate::ports::RequestEnding;

/// The store's time, in milliseconds.
macro_rules! clock {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}
pub(super) use clock;

/// Adds the rows of mails in their order, by recipient, reason, subject and event; not where one is there, its recipient
/// is gone, or the event is too old for mail.
pub(super) async fn add_mails(tx: &Transaction<'_>, told: &[[String; 4]]) -> Result<(), Trouble> {
    if told.is_empty() {
        return Ok(());
    }
    let mut pipe = Pipe::default();
    let values = vec![
        column!(told, [recipient, reason, subject, _] => id([MAIL, reason, subject, recipient])),
        column!(told, [recipient, ..] => recipient.as_str()),
        column!(told, [_, reason, ..] => reason.as_str()),
        column!(told, [_, _, subject, _] => subject.as_str()),
        column!(told, [_, _, _, event] => event.as_str()),
    ];
    pipe.add(ADD_MAILS, values);
    pipe.run(tx).await.map(drop)
}

/// Adds the rows of an event's deliveries, where they are not there.
pub(super) async fn add_webhooks(
    tx: &Transaction<'_>,
    endpoints: &[String],
    event: &str,
) -> Result<(), Trouble> {
    if endpoints.is_empty() {
        return Ok(());
    }
    let requests: Vec<_> = endpoints.iter().map(|endpoint| id([WEBHOOK, event, endpoint, ""])).collect();
    execute(tx, ADD_WEBHOOKS, &[&requests, &endpoints, &event]).await.map(drop)
}

/// Says of a request that the outbox knows why it is no longer wanted, if so, and whether it was withdrawn already.
pub(super) async fn wanted(tx: &Transaction<'_>, request: &str) -> Result<Option<Wanted>, Trouble> {
    let statement = tx.prepare_cached(WANTED).await?;
    let Some(row) = tx.query_opt(&statement, &[&request]).await? else { return Ok(None) };
    let why: Option<i64> = row.try_get(1)?;
    Ok(Some(Wanted { row: row.try_get(0)?, why: why.map(withdrawal), is_withdrawn: row.try_get(2)? }))
}

/// How a request stands.
pub(super) struct Wanted {
    pub(super) row: i64,
    pub(super) why: Option<&'static str>,
    pub(super) is_withdrawn: bool,
}

/// Ends a row. What is done stays done.
pub(super) async fn end(
    tx: &Transaction<'_>,
    row: i64,
    ending: RequestEnding,
    reply: &str,
    now: i64,
) -> Result<(), Trouble> {
    execute(tx, END, &[&row, &ending_code(ending), &capped(reply), &now]).await.map(drop)
}

/// Ends the row of a request, where there is one. What is done stays done.
pub(super) async fn end_request(
    tx: &Transaction<'_>,
    request: &str,
    ending: RequestEnding,
    reply: &str,
    now: i64,
) -> Result<(), Trouble> {
    execute(tx, END_REQUEST, &[&request, &ending_code(ending), &capped(reply), &now]).await.map(drop)
}

/// Says whether there is a row of a request.
pub(super) async fn knows(tx: &Transaction<'_>, request: &str) -> Result<bool, Trouble> {
    let statement = tx.prepare_cached("SELECT 1 FROM requests WHERE request = $1").await?;
    Ok(tx.query_opt(&statement, &[&request]).await?.is_some())
}

/// Whether what is a dead letter may be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reopen {
    Yes,
    No,
}

/// A row goes back to its queue, until a time. One that was done or withdrawn stays so.
pub(super) async fn put_back(
    tx: &Transaction<'_>,
    request: &str,
    not_before: i64,
    reply: &str,
    reopen: Reopen,
) -> Result<(), Trouble> {
    let reopens = reopen == Reopen::Yes;
    execute(tx, PUT_BACK, &[&request, &not_before, &capped(reply), &reopens]).await.map(drop)
}

/// Recipients have an address: what waited for it is due.
pub(super) async fn unpark(tx: &Transaction<'_>, recipients: &[&str]) -> Result<(), Trouble> {
    execute(tx, UNPARK, &[&recipients]).await.map(drop)
}

/// Recipients are gone, and all that waits for them is withdrawn.
pub(super) async fn withdraw_all(tx: &Transaction<'_>, recipients: &[&str]) -> Result<(), Trouble> {
    for sql in [WITHDRAW_HEADS, WITHDRAW_QUEUED] {
        execute(tx, sql, &[&recipients]).await?;
    }
    Ok(())
}

/// Says whether this transaction is the one that may settle now; until its end.
pub(super) async fn may_settle(tx: &Transaction<'_>) -> Result<bool, Trouble> {
    let statement = tx.prepare_cached(SETTLER).await?;
    Ok(tx.query_one(&statement, &[]).await?.try_get(0)?)
}

/// Makes the first in the queue of each addressee that has none its head. What somebody holds is left for the next
/// time.
pub(super) async fn settle(tx: &Transaction<'_>) -> Result<(), Trouble> {
    // An address that came while its mail was being parked was not seen by whoever parked it.
    execute(tx, PARKED_IN_ERROR, &[]).await?;
    // What makes way first: there may be very much that is new.
    for (from, to) in [(5_i64, 6_i64), (0, 0)] {
        for _ in 0..MOST_ROUNDS {
            let marked = marked(tx, from, to).await?;
            let found = marked.rows.len();
            if found == 0 {
                break;
            }
            execute(tx, PROMOTE, &[&marked.kinds, &marked.addressees]).await?;
            execute(tx, SETTLED, &[&marked.rows]).await?;
            if found < usize::try_from(LOOK).unwrap_or(usize::MAX) {
                break;
            }
        }
    }
    Ok(())
}

/// Rows with a mark.
#[derive(Default)]
struct Marked {
    rows: Vec<i64>,
    kinds: Vec<String>,
    addressees: Vec<String>,
}

async fn marked(tx: &Transaction<'_>, from: i64, to: i64) -> Result<Marked, Trouble> {
    let statement = tx.prepare_cached(MARKED).await?;
    let mut marked = Marked::default();
    for row in tx.query(&statement, &[&from, &to, &i64::from(LOOK)]).await? {
        marked.rows.push(row.try_get(0)?);
        marked.kinds.push(row.try_get(1)?);
        marked.addressees.push(row.try_get(2)?);
    }
    Ok(marked)
}

pub(super) async fn execute(
    tx: &Transaction<'_>,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<u64, Trouble> {
    let statement = tx.prepare_cached(sql).await?;
    Ok(tx.execute(&statement, values).await?)
}

/// 1: removed; 2: taken back; 3: unsubscribed; 4: no endpoint. By the state of the tables now, of the row `r`.
macro_rules! withdrawn {
    () => {
        "CASE
        WHEN r.kind = 'webhook' THEN CASE WHEN NOT EXISTS
            (SELECT 1 FROM webhooks w WHERE w.id = r.addressee AND w.disabled_at IS NULL) THEN 4::bigint END
        WHEN EXISTS (SELECT 1 FROM contacts c WHERE c.id = r.addressee AND c.state IN (2, 3)) THEN 1::bigint
        WHEN NOT EXISTS (SELECT 1 FROM notifications n
            WHERE n.recipient = r.addressee AND n.reason = r.reason AND n.subject = r.subject) THEN 2::bigint
        WHEN r.reason = 'post' AND NOT coalesce((SELECT s.subscribed FROM subscriptions s
            WHERE s.subscriber = r.addressee ORDER BY s.since DESC LIMIT 1), false) THEN 3::bigint
        END"
    };
}
pub(super) use withdrawn;

const WANTED: &str = concat!(
    "SELECT r.id, ",
    withdrawn!(),
    ", coalesce(r.ending = 1, false) FROM requests r WHERE r.request = $1"
);

const ADD_MAILS: &str = concat!(
    "INSERT INTO requests (request, kind, addressee, reason, subject, event, state, unsettled, due, not_before,
        requested_at)
    SELECT a.request, 'mail', a.recipient, a.reason, a.subject, a.event, 0, true, now, now, now
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
            WITH ORDINALITY AS a(request, recipient, reason, subject, event, place),
        (SELECT ",
    clock!(),
    " AS now) clock
    WHERE NOT EXISTS (SELECT 1 FROM contacts c WHERE c.id = a.recipient AND c.state IN (2, 3))
        AND EXISTS (SELECT 1 FROM mail_sources m WHERE m.event = a.event AND m.until >= now)
    ORDER BY a.place
    ON CONFLICT (request) DO NOTHING"
);

const ADD_WEBHOOKS: &str = concat!(
    "INSERT INTO requests (request, kind, addressee, event, state, unsettled, due, not_before, requested_at)
    SELECT a.request, 'webhook', a.endpoint, $3, 0, true, now, now, now
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS a(request, endpoint, place),
        (SELECT ",
    clock!(),
    " AS now) clock
    ORDER BY a.place
    ON CONFLICT (request) DO NOTHING"
);

macro_rules! end {
    ($row:literal) => {
        concat!(
            "UPDATE requests SET state = 6, unsettled = unsettled OR state BETWEEN 1 AND 4, due = $4,
                reply = CASE WHEN ending = 0 THEN reply ELSE $3 END,
                ending = CASE WHEN ending = 0 THEN 0 ELSE $2::bigint END
            WHERE ",
            $row,
            " = $1"
        )
    };
}
const END: &str = end!("id");
const END_REQUEST: &str = end!("request");

const PUT_BACK: &str = "UPDATE requests SET due = $2, not_before = $2, reply = $3, ending = NULL,
        unsettled = unsettled OR state NOT BETWEEN 1 AND 4,
        state = CASE WHEN state BETWEEN 1 AND 4 THEN 1 ELSE 0 END
    WHERE request = $1 AND (ending IS NULL OR ending = 2 AND $4)";

const UNPARK: &str = "UPDATE requests SET state = 1, due = not_before
    WHERE kind = 'mail' AND addressee = ANY($1::text[]) AND state BETWEEN 1 AND 4 AND state = 4";

const WITHDRAW_HEADS: &str = concat!(
    "UPDATE requests SET state = 6, ending = 1, reply = 'the recipient is gone', due = ",
    clock!(),
    " WHERE kind = 'mail' AND addressee = ANY($1::text[]) AND state BETWEEN 1 AND 4"
);

const WITHDRAW_QUEUED: &str = concat!(
    "UPDATE requests SET state = 6, ending = 1, reply = 'the recipient is gone', due = ",
    clock!(),
    " WHERE kind = 'mail' AND addressee = ANY($1::text[]) AND state = 0"
);

const SETTLER: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 1886352245))";

const PARKED_IN_ERROR: &str = concat!(
    "UPDATE requests SET state = 1, due = not_before WHERE id = ANY(ARRAY(
        SELECT r.id FROM requests r
        WHERE r.state = 4 AND r.kind = 'mail' AND r.due >= ",
    clock!(),
    " - 600000
            AND EXISTS (SELECT 1 FROM contacts c WHERE c.id = r.addressee AND c.email IS NOT NULL)
            AND EXISTS (SELECT 1 FROM mail_sources m WHERE m.event = r.event)
        FOR UPDATE SKIP LOCKED))"
);

const MARKED: &str = "SELECT id, kind, addressee FROM requests
    WHERE unsettled AND state BETWEEN $1 AND $2 ORDER BY state, due LIMIT $3 FOR UPDATE SKIP LOCKED";

// Each addressee is looked up by itself, whatever the planner thinks of how many there are.
const PROMOTE: &str = concat!(
    "WITH first AS MATERIALIZED (
        SELECT q.id, q.kind, q.addressee FROM requests q
        WHERE q.state + 0 = 0 AND q.id = ANY(ARRAY(
            SELECT (SELECT f.id FROM requests f WHERE f.kind = k.kind AND f.addressee = k.addressee AND f.state = 0
                    ORDER BY f.id LIMIT 1)
            FROM (SELECT DISTINCT kind, addressee FROM unnest($1::text[], $2::text[]) AS u(kind, addressee)) k
            WHERE (SELECT h.id FROM requests h
                WHERE h.kind = k.kind AND h.addressee = k.addressee AND h.state BETWEEN 1 AND 4 LIMIT 1) IS NULL))
        FOR UPDATE SKIP LOCKED),
    placed AS MATERIALIZED (
        SELECT id, kind = 'webhook' OR
            (SELECT c.email FROM contacts c WHERE c.id = first.addressee) IS NOT NULL AS reachable
        FROM first)
    UPDATE requests r SET unsettled = false, state = CASE WHEN p.reachable THEN 1 ELSE 4 END,
        due = CASE WHEN p.reachable THEN r.due ELSE ",
    clock!(),
    " END
    FROM placed p WHERE r.id = p.id"
);

const SETTLED: &str = "UPDATE requests r SET unsettled = false
    WHERE r.id = ANY($1::bigint[]) AND r.unsettled AND CASE
        WHEN (SELECT h.id FROM requests h
            WHERE h.kind = r.kind AND h.addressee = r.addressee AND h.state BETWEEN 1 AND 4 LIMIT 1) IS NOT NULL
            THEN true
        ELSE (SELECT q.id FROM requests q
            WHERE q.kind = r.kind AND q.addressee = r.addressee AND q.state = 0 LIMIT 1) IS NULL END";

/// How often [`LOOK`] rows are settled in one transaction.
const MOST_ROUNDS: u32 = 4;
