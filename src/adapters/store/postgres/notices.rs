//! Notifications that a unit writes, and the mail that each leaves.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;

use super::error::Trouble;
use super::mails;
use super::pipe::{Pipe, column};

/// Notifications in the order in which they were asked for.
#[derive(Default)]
pub(super) struct Notices {
    notices: Vec<Notice>,
}

struct Notice {
    /// Whether it takes the place of one that is there.
    replaces: bool,
    recipient: String,
    reason: &'static str,
    subject: String,
    event: String,
    time: i64,
}

impl Notices {
    /// Tells somebody, unless they know.
    pub(super) fn tell(
        &mut self,
        recipient: &str,
        reason: &'static str,
        subject: &str,
        event: &str,
        time: i64,
    ) {
        self.add(false, [recipient, subject, event], reason, time);
    }

    /// Tells somebody; where they know, by this event from now on.
    pub(super) fn tell_anew(
        &mut self,
        recipient: &str,
        reason: &'static str,
        subject: &str,
        event: &str,
        time: i64,
    ) {
        self.add(true, [recipient, subject, event], reason, time);
    }

    fn add(&mut self, replaces: bool, texts: [&str; 3], reason: &'static str, time: i64) {
        let [recipient, subject, event] = texts.map(str::to_owned);
        self.notices.push(Notice { replaces, recipient, reason, subject, event, time });
    }

    /// Says whether they should be written before there are more.
    pub(super) fn are_many(&self) -> bool {
        self.notices.len() >= MANY
    }

    /// Writes them, and leaves a mail for each that is new. Returns how many were written.
    pub(super) async fn write(self, tx: &Transaction<'_>) -> Result<usize, Trouble> {
        let mut written = 0;
        for same in self.notices.chunk_by(|one, next| one.replaces == next.replaces) {
            let is_anew = same.first().is_some_and(|notice| notice.replaces);
            let sql = if is_anew { TELL_ANEW } else { TELL };
            // A statement may not write a row twice: of repeats the last one counts where it replaces, else the first.
            let mut rows: BTreeMap<(&str, &str, &str), &Notice> = BTreeMap::new();
            for notice in same {
                let key = (notice.recipient.as_str(), notice.reason, notice.subject.as_str());
                if is_anew {
                    rows.insert(key, notice);
                } else {
                    rows.entry(key).or_insert(notice);
                }
            }
            let mut pipe = Pipe::default();
            let values = vec![
                column!(rows, (_, notice) => notice.recipient.as_str()),
                column!(rows, (_, notice) => notice.reason),
                column!(rows, (_, notice) => notice.subject.as_str()),
                column!(rows, (_, notice) => notice.event.as_str()),
                column!(rows, (_, notice) => notice.time),
            ];
            pipe.add(sql, values);
            let mut new = BTreeMap::new();
            for row in pipe.run(tx).await?.into_iter().flatten() {
                new.insert(
                    (
                        row.try_get::<_, String>(0)?,
                        row.try_get::<_, String>(1)?,
                        row.try_get::<_, String>(2)?,
                    ),
                    (),
                );
            }
            written += new.len();
            // Mails are asked for in the order of what they tell.
            let mut told: Vec<[String; 4]> = Vec::with_capacity(new.len());
            for notice in same {
                let key = (notice.recipient.clone(), notice.reason.to_owned(), notice.subject.clone());
                if new.remove(&key).is_some() {
                    told.push([key.0, key.1, key.2, notice.event.clone()]);
                }
            }
            mails::leave(tx, &told).await?;
        }
        Ok(written)
    }
}

// Sorted: units that write the same rows wait for each other instead of blocking each other.
const TELL: &str = "INSERT INTO notifications (recipient, reason, subject, event, time)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
    ON CONFLICT DO NOTHING RETURNING recipient, reason, subject";

const TELL_ANEW: &str = "INSERT INTO notifications (recipient, reason, subject, event, time)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
    ON CONFLICT (recipient, reason, subject) DO UPDATE SET event = excluded.event, time = excluded.time
    RETURNING recipient, reason, subject";

/// What is kept in memory at once.
const MANY: usize = 20_000;
