//! The outbox: which requests are due, and what a relay publishes of them.
//!
//! Any number of relays on any number of hosts take rows at once: each passes over what another one holds.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use super::pipe::Pipe;
use super::queue::{self, clock, execute, withdrawn};
use super::{PostgresStore, in_snapshot, in_transaction, ledger};
use crate::adapters::store::requests::{
    LOOK, LOST_AFTER, MAIL, MOST_BYTES, MOST_OUT, ROW_BYTES, WEBHOOK, ending_code, withdrawal,
};
use crate::event::{MailRequested, WebhookRequested, time};
use crate::ports::{DueRow, Outbox, OutboxBacklog, Request, RequestEnding, StoreFuture};

impl Outbox for PostgresStore {
    fn take_due(&self, now: i64, limit: u32, lease: Duration) -> StoreFuture<'_, Vec<DueRow>> {
        let until = now.saturating_add(time::millis(lease));
        Box::pin(async move { in_transaction!(self, tx => take(&tx, now, limit, until)) })
    }

    fn published(&self, rows: Vec<i64>, now: i64, patience: Duration) -> StoreFuture<'_, ()> {
        let until = now.saturating_add(time::millis(patience));
        Box::pin(async move { in_transaction!(self, tx => published(&tx, &rows, until)) })
    }

    fn given_back(&self, rows: Vec<i64>, not_before: i64) -> StoreFuture<'_, ()> {
        Box::pin(async move { in_transaction!(self, tx => given_back(&tx, &rows, not_before)) })
    }

    fn given_up(&self, row: i64, now: i64, why: &str) -> StoreFuture<'_, ()> {
        let why = why.to_owned();
        Box::pin(
            async move { in_transaction!(self, tx => queue::end(&tx, row, RequestEnding::Dead, &why, now)) },
        )
    }

    fn made_way(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.inner.made_way.notified())
    }

    fn backlog(&self, now: i64) -> StoreFuture<'_, OutboxBacklog> {
        Box::pin(async move { in_snapshot!(self, tx => backlog(&tx, now)) })
    }
}

async fn published(tx: &Transaction<'_>, rows: &[i64], until: i64) -> Result<(), Trouble> {
    execute(tx, PUBLISHED, &[&rows, &until]).await.map(drop)
}

async fn given_back(tx: &Transaction<'_>, rows: &[i64], not_before: i64) -> Result<(), Trouble> {
    execute(tx, GIVEN_BACK, &[&rows, &not_before]).await.map(drop)
}

/// Takes what is due of both kinds, one row an addressee, and no more than fits into memory at once. Neither kind
/// waits for the other.
async fn take(tx: &Transaction<'_>, now: i64, limit: u32, until: i64) -> Result<Vec<DueRow>, Trouble> {
    let mut pipe = Pipe::default();
    pipe.add(EXPIRED, vec![Box::new(now)]);
    pipe.add(LAPSE, vec![Box::new(now), Box::new(i64::from(LOOK))]);
    let lost_before = now.saturating_sub(LOST_AFTER);
    pipe.add(ASK_AGAIN, vec![Box::new(lost_before), Box::new(i64::from(LOOK)), Box::new(now)]);
    pipe.run(tx).await?;
    let settles = queue::may_settle(tx).await?;
    if settles {
        queue::settle(tx).await?;
    }
    let mut taken = Vec::new();
    for (kind, most) in [(WEBHOOK, limit.div_ceil(2)), (MAIL, limit)] {
        let room = MOST_OUT.saturating_sub(out(tx, kind).await?);
        let most = most.min(room).saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        let step = Step { kind, now, until, settles };
        step.take(tx, most, &mut taken).await?;
    }
    Ok(taken)
}

/// Taking rows of a kind.
struct Step {
    kind: &'static str,
    now: i64,
    until: i64,
    settles: bool,
}

impl Step {
    async fn take(&self, tx: &Transaction<'_>, limit: u32, taken: &mut Vec<DueRow>) -> Result<(), Trouble> {
        let (mut left, mut bytes, mut looks) = (limit, 0, LOOK.max(limit));
        // What is withdrawn makes room for what was queued behind it.
        while left > 0 && looks > 0 && bytes < MOST_BYTES {
            let sorted = self.sorted(tx, left, &mut bytes).await?;
            looks = looks.saturating_sub(sorted.looked_at);
            let due = self.mark(tx, &sorted).await?;
            left = left.saturating_sub(u32::try_from(due.len()).unwrap_or(u32::MAX));
            taken.extend(due);
            if sorted.withdrawn.is_empty() {
                break;
            }
            if self.settles {
                queue::settle(tx).await?;
            }
        }
        Ok(())
    }

    /// Holds rows that are due, passing over what others hold, and says what is to become of them.
    async fn sorted(&self, tx: &Transaction<'_>, limit: u32, bytes: &mut usize) -> Result<Sorted, Trouble> {
        let due = tx.prepare_cached(DUE).await?;
        let rows = tx.query(&due, &[&self.kind, &self.now, &i64::from(limit)]).await?;
        let rows: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let mut sorted = Sorted::default();
        if rows.is_empty() {
            return Ok(sorted);
        }
        let look =
            tx.prepare_cached(if self.kind == MAIL { LOOK_AT_MAILS } else { LOOK_AT_WEBHOOKS }).await?;
        for row in tx.query(&look, &[&rows]).await? {
            if *bytes >= MOST_BYTES {
                break;
            }
            sorted.looked_at += 1;
            let number: i64 = row.try_get(0)?;
            if let Some(why) = row.try_get::<_, Option<i64>>(1)? {
                sorted.withdrawn.push((number, withdrawal(why)));
            } else if let Some(size) = row.try_get::<_, Option<i64>>(2)? {
                *bytes += usize::try_from(size).unwrap_or(usize::MAX).saturating_add(ROW_BYTES);
                sorted.whole.push(number);
            } else {
                sorted.parked.push(number);
            }
        }
        Ok(sorted)
    }

    /// Does it, and reads what was taken.
    async fn mark(&self, tx: &Transaction<'_>, sorted: &Sorted) -> Result<Vec<DueRow>, Trouble> {
        if !sorted.withdrawn.is_empty() {
            let (rows, why): (Vec<_>, Vec<_>) = sorted.withdrawn.iter().copied().unzip();
            let ending = ending_code(RequestEnding::Withdrawn);
            execute(tx, WITHDRAWN, &[&rows, &why, &ending, &self.now]).await?;
        }
        if !sorted.parked.is_empty() {
            execute(tx, PARK, &[&sorted.parked]).await?;
        }
        if sorted.whole.is_empty() {
            return Ok(Vec::new());
        }
        // What is no longer whole by now is looked at again the next time.
        let due = requests(tx, self.kind, &sorted.whole).await?;
        let rows: Vec<i64> = due.iter().map(|row| row.row).collect();
        execute(tx, TAKEN, &[&rows, &self.until]).await?;
        Ok(due)
    }
}

/// What becomes of rows that are due.
#[derive(Default)]
struct Sorted {
    looked_at: u32,
    withdrawn: Vec<(i64, &'static str)>,
    /// Something that they need is not there (yet).
    parked: Vec<i64>,
    whole: Vec<i64>,
}

/// Counts what is out of a kind, up to what may be.
async fn out(tx: &Transaction<'_>, kind: &str) -> Result<u32, Trouble> {
    let statement = tx.prepare_cached(OUT).await?;
    let count: i64 = tx.query_one(&statement, &[&kind, &i64::from(MOST_OUT)]).await?.try_get(0)?;
    Ok(u32::try_from(count).unwrap_or(MOST_OUT))
}

async fn requests(tx: &Transaction<'_>, kind: &str, rows: &[i64]) -> Result<Vec<DueRow>, Trouble> {
    let statement = tx.prepare_cached(if kind == MAIL { MAILS } else { WEBHOOKS }).await?;
    let found = tx.query(&statement, &[&rows]).await?;
    let read = |row: &Row| {
        let request = if kind == MAIL {
            Request::Mail(Box::new(mail(row)?))
        } else {
            Request::Webhook(Box::new(webhook(row)?))
        };
        Ok(DueRow { row: row.try_get("id")?, request })
    };
    found.iter().map(read).collect()
}

fn mail(row: &Row) -> Result<MailRequested, tokio_postgres::Error> {
    Ok(MailRequested {
        event_id: row.try_get("request")?,
        blog: row.try_get("blog")?,
        recipient: row.try_get("recipient")?,
        address: row.try_get("address")?,
        name: row.try_get("name")?,
        locale: row.try_get::<_, Option<String>>("locale")?.unwrap_or_else(|| "en".to_owned()),
        reason: row.try_get("reason")?,
        source_event: row.try_get("event")?,
        post_id: row.try_get("post")?,
        post_title: row.try_get("title")?,
        post_slug: row.try_get("slug")?,
        comment_id: row.try_get("comment")?,
        author: row.try_get("author")?,
        author_name: row.try_get("author_name")?,
        format: row.try_get("format")?,
        text: row.try_get("text")?,
        occurred_at: row.try_get("time")?,
        requested_at: row.try_get("requested_at")?,
    })
}

fn webhook(row: &Row) -> Result<WebhookRequested, tokio_postgres::Error> {
    Ok(WebhookRequested {
        event_id: row.try_get("request")?,
        blog: row.try_get("blog")?,
        endpoint: row.try_get("endpoint")?,
        source_event: row.try_get("event")?,
        source_type: row.try_get("type")?,
        body: row.try_get("body")?,
        occurred_at: row.try_get("time")?,
        requested_at: row.try_get("requested_at")?,
    })
}

async fn backlog(tx: &Transaction<'_>, now: i64) -> Result<OutboxBacklog, Trouble> {
    let statement = tx.prepare_cached(BACKLOG).await?;
    let row = tx.query_one(&statement, &[&now]).await?;
    let pending: i64 = row.try_get(0)?;
    let deferred: i64 = row.try_get(2)?;
    Ok(OutboxBacklog {
        pending: u64::try_from(pending).unwrap_or_default(),
        oldest_due: row.try_get(1)?,
        deferred: u64::try_from(deferred).unwrap_or_default(),
        next_due: row.try_get(3)?,
    })
}

/// Closes a request. What is done nobody holds any more; else it is whose attempt it was who says that it is over.
pub(super) async fn close(
    tx: &Transaction<'_>,
    id: &str,
    ending: RequestEnding,
    reply: &str,
    time: i64,
) -> Result<(), Trouble> {
    match ending {
        RequestEnding::Unknown => ledger::leave_unknown(tx, id, reply, time).await?,
        RequestEnding::Dead | RequestEnding::Withdrawn => {}
        RequestEnding::Done => {
            ledger::end_attempt(tx, id, None, reply, time).await?;
            ledger::done(tx, id, time).await?;
        }
    }
    queue::end_request(tx, id, ending, reply, time).await
}

// Rows that are held are being ended or put back: then nothing is to be marked. Should that fail, the lease ends.

const PUBLISHED: &str = "UPDATE requests SET state = 3, due = $2 WHERE id = ANY(ARRAY(
    SELECT id FROM requests WHERE id = ANY($1::bigint[]) AND state = 2 FOR UPDATE SKIP LOCKED))";

// To the end of the line: what cannot be published now must not stand before what can.
const GIVEN_BACK: &str = concat!(
    "UPDATE requests SET state = 1, due = greatest(not_before, $2::bigint, ",
    clock!(),
    ") WHERE id = ANY(ARRAY(
        SELECT id FROM requests WHERE id = ANY($1::bigint[]) AND state = 2 FOR UPDATE SKIP LOCKED))"
);

const EXPIRED: &str = "UPDATE requests SET state = 1, due = greatest(not_before, $1) WHERE id = ANY(ARRAY(
    SELECT id FROM requests WHERE state = 2 AND kind IN ('mail', 'webhook') AND due <= $1 FOR UPDATE SKIP LOCKED))";

// Rows that were out for too long are no longer heads.
const LAPSE: &str = "UPDATE requests SET state = 5, due = $1, unsettled = true WHERE id = ANY(ARRAY(
    SELECT id FROM requests WHERE state = 3 AND kind IN ('mail', 'webhook') AND due <= $1 LIMIT $2
    FOR UPDATE SKIP LOCKED))";

// Rows that have been out for a day and more without an end are published again: their records may be gone. The ledger
// knows what was done all the same.
const ASK_AGAIN: &str =
    "UPDATE requests SET state = 0, unsettled = true, due = $3, not_before = $3, ending = NULL,
        reply = 'no end was heard of: asked again'
    WHERE id = ANY(ARRAY(
        SELECT id FROM requests WHERE state = 5 AND kind IN ('mail', 'webhook') AND due <= $1
            AND (ending IS NULL OR ending = 2) LIMIT $2
        FOR UPDATE SKIP LOCKED))";

const OUT: &str =
    "SELECT count(*) FROM (SELECT 1 FROM requests WHERE state IN (3, 5) AND kind = $1 LIMIT $2) out";

const DUE: &str =
    "SELECT id FROM requests WHERE state = 1 AND kind = $1 AND due <= $2 ORDER BY due, id LIMIT $3
    FOR UPDATE SKIP LOCKED";

const LOOK_AT_MAILS: &str = concat!(
    "SELECT r.id, ",
    withdrawn!(),
    ", CASE WHEN c.email IS NOT NULL AND m.event IS NOT NULL THEN coalesce(octet_length(m.text),
            CASE WHEN m.comment IS NULL THEN octet_length(t.text) END, 0)::bigint END
    FROM requests r LEFT JOIN mail_sources m ON m.event = r.event LEFT JOIN contacts c ON c.id = r.addressee
        LEFT JOIN thread_posts t ON t.post = m.post
    WHERE r.id = ANY($1::bigint[]) ORDER BY r.due, r.id"
);

const LOOK_AT_WEBHOOKS: &str = concat!(
    "SELECT r.id, ",
    withdrawn!(),
    ", octet_length(f.body)::bigint
    FROM requests r LEFT JOIN webhook_fan_outs f ON f.event = r.event
    WHERE r.id = ANY($1::bigint[]) ORDER BY r.due, r.id"
);

const MAILS: &str = "SELECT r.id, r.request, r.addressee AS recipient, r.reason, r.event, r.requested_at,
        c.email AS address, c.name, c.locale, m.blog, m.post, m.comment, m.author, m.time,
        coalesce(m.format, CASE WHEN m.comment IS NULL THEN t.format END) AS format,
        coalesce(m.text, CASE WHEN m.comment IS NULL THEN t.text END) AS text,
        t.title, t.slug, a.name AS author_name
    FROM requests r JOIN mail_sources m ON m.event = r.event JOIN contacts c ON c.id = r.addressee
        LEFT JOIN thread_posts t ON t.post = m.post LEFT JOIN contacts a ON a.id = m.author
    WHERE r.id = ANY($1::bigint[]) AND c.email IS NOT NULL ORDER BY r.due, r.id";

const WEBHOOKS: &str =
    "SELECT r.id, r.request, r.addressee AS endpoint, r.event, r.requested_at, f.blog, f.type, f.body, f.time
    FROM requests r JOIN webhook_fan_outs f ON f.event = r.event
    WHERE r.id = ANY($1::bigint[]) ORDER BY r.due, r.id";

const TAKEN: &str = "UPDATE requests SET state = 2, due = $2 WHERE id = ANY($1::bigint[])";

const WITHDRAWN: &str = "UPDATE requests r SET state = 6, unsettled = true, due = $4,
        reply = CASE WHEN r.ending = 0 THEN r.reply ELSE w.why END,
        ending = CASE WHEN r.ending = 0 THEN 0 ELSE $3::bigint END
    FROM unnest($1::bigint[], $2::text[]) AS w(id, why) WHERE r.id = w.id";

// Unless what it waits for has just come.
const PARK: &str = concat!(
    "UPDATE requests r SET state = 4, due = ",
    clock!(),
    " WHERE r.id = ANY($1::bigint[]) AND CASE r.kind
        WHEN 'mail' THEN NOT EXISTS (SELECT 1 FROM contacts c JOIN mail_sources m ON m.event = r.event
            WHERE c.id = r.addressee AND c.email IS NOT NULL)
        ELSE NOT EXISTS (SELECT 1 FROM webhook_fan_outs f WHERE f.event = r.event) END"
);

// What nobody has settled yet may be due as well.
const BACKLOG: &str = "SELECT (SELECT count(*) FROM requests WHERE state < 6), (SELECT min(due) FROM (
        SELECT min(due) AS due FROM requests WHERE state = 1 AND kind = 'mail' AND due <= $1
        UNION ALL SELECT min(due) FROM requests WHERE state = 1 AND kind = 'webhook' AND due <= $1
        UNION ALL (SELECT due FROM requests WHERE unsettled AND state = 0 AND due <= $1 ORDER BY due LIMIT 1)) oldest),
    (SELECT count(*) FROM requests WHERE state = 1 AND kind IN ('mail', 'webhook') AND due > $1),
    (SELECT min(due) FROM requests WHERE state = 1 AND kind IN ('mail', 'webhook') AND due > $1)";
