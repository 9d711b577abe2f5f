//! What `notify` leaves for mail: a row for each notification of an event that is not too old, and what it will say.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;

use super::error::Trouble;
use super::people::{self, CONTACTS};
use super::pipe::{Pipe, column};
use super::queue::{self, clock};
use crate::adapters::store::life::State;
use crate::ports::{Arrival, MailSource, Origin, PersonChange, PersonFact, ThreadText};

/// What a mail's source is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About<'a> {
    pub(super) post: Option<&'a str>,
    pub(super) comment: Option<&'a str>,
    pub(super) author: Option<&'a str>,
}

/// Keeps what mails about events say, unless an event is too old for mail: then no mail will be asked for.
pub(super) async fn sources(
    tx: &Transaction<'_>,
    sources: &[(&MailSource, &Origin, About<'_>)],
) -> Result<(), Trouble> {
    if sources.is_empty() {
        return Ok(());
    }
    // Sorted, so that units with the same events do not block each other. Of repeats the first counts.
    let mut by_event = BTreeMap::new();
    for (source, origin, about) in sources {
        by_event.entry(origin.event.as_str()).or_insert((*source, *origin, *about));
    }
    let mut pipe = Pipe::default();
    let values = vec![
        column!(by_event, (event, _) => *event),
        column!(by_event, (_, (source, _, _)) => source.blog.as_str()),
        column!(by_event, (_, (_, _, about)) => about.post),
        column!(by_event, (_, (_, _, about)) => about.comment),
        column!(by_event, (_, (_, _, about)) => about.author),
        column!(by_event, (_, (source, _, _)) => source.format.as_deref()),
        column!(by_event, (_, (source, _, _)) => source.text.as_deref()),
        column!(by_event, (_, (_, origin, _)) => origin.time),
        column!(by_event, (_, (source, origin, _)) => origin.time.saturating_add(source.max_age)),
    ];
    pipe.add(SOURCES, values);
    pipe.run(tx).await.map(drop)
}

/// Leaves a mail for each notification that was written: recipient, reason, subject and event.
pub(super) async fn leave(tx: &Transaction<'_>, told: &[[String; 4]]) -> Result<(), Trouble> {
    queue::add_mails(tx, told).await
}

/// People can, or can no longer, be written to.
pub(super) async fn contacts(tx: &Transaction<'_>, changes: &[&PersonChange]) -> Result<(), Trouble> {
    let is_removal = |change: &PersonChange| matches!(change.fact, PersonFact::Removed);
    // What waits at a removal is withdrawn, also where the same person comes back at once.
    for run in changes.chunk_by(|one, next| is_removal(one) == is_removal(next)) {
        let rows = people::apply(tx, &CONTACTS, run).await?;
        if run.first().is_some_and(|change| is_removal(change)) {
            let gone =
                rows.iter().filter(|(_, row)| matches!(row.life.state, State::Removed | State::Absent));
            let gone: Vec<_> = gone.map(|(user, _)| user.as_str()).collect();
            queue::withdraw_all(tx, &gone).await?;
        } else {
            let reachable = rows.iter().filter(|(_, row)| row.content.email.is_some());
            let reachable: Vec<_> = reachable.map(|(user, _)| user.as_str()).collect();
            queue::unpark(tx, &reachable).await?;
        }
    }
    Ok(())
}

/// What mails say of posts changed.
pub(super) async fn thread_texts(tx: &Transaction<'_>, changes: &[&ThreadText]) -> Result<(), Trouble> {
    // A statement may not write a row twice: each round has a change of a post at most, in their order.
    let mut rounds: Vec<BTreeMap<&str, &ThreadText>> = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for change in changes {
        let round = seen.entry(change.post.as_str()).or_default();
        if rounds.len() == *round {
            rounds.push(BTreeMap::new());
        }
        if let Some(round) = rounds.get_mut(*round) {
            round.insert(&change.post, change);
        }
        *round += 1;
    }
    let mut pipe = Pipe::default();
    for round in &rounds {
        let values = vec![
            column!(round, (post, _) => *post),
            column!(round, (_, change) => change.title.as_deref()),
            column!(round, (_, change) => change.slug.as_deref()),
            column!(round, (_, change) => change.format.as_deref()),
            column!(round, (_, change) => change.text.as_deref()),
            column!(round, (_, change) => change.origin.time),
            column!(round, (_, change) => change.origin.arrival == Arrival::InOrder),
        ];
        pipe.add(THREAD_TEXTS, values);
    }
    pipe.run(tx).await.map(drop)
}

// No mail is asked for after 35 days, so that sources can be removed some time.
const SOURCES: &str = concat!(
    "INSERT INTO mail_sources (event, blog, post, comment, author, format, text, time, until)
    SELECT n.event, n.blog, n.post, n.comment, n.author, n.format, n.text, n.time,
        least(n.until, clock.now + 35 * 86400000::bigint)
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
            $9::bigint[]) AS n(event, blog, post, comment, author, format, text, time, until),
        (SELECT ",
    clock!(),
    " AS now) clock
    WHERE n.until >= clock.now ON CONFLICT DO NOTHING"
);

// What is newer wins, field by field; in the order of offsets the later one is.
const THREAD_TEXTS: &str = "INSERT INTO thread_posts AS t (post, title, slug, format, text, time)
    SELECT n.post, n.title, n.slug, n.format, n.text, n.time
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
        AS n(post, title, slug, format, text, time)
    ON CONFLICT (post) DO UPDATE SET (title, slug, format, text, time) = (
        SELECT CASE WHEN later THEN coalesce(excluded.title, t.title) ELSE coalesce(t.title, excluded.title) END,
            CASE WHEN later THEN coalesce(excluded.slug, t.slug) ELSE coalesce(t.slug, excluded.slug) END,
            CASE WHEN later THEN coalesce(excluded.format, t.format) ELSE coalesce(t.format, excluded.format) END,
            CASE WHEN later THEN coalesce(excluded.text, t.text) ELSE coalesce(t.text, excluded.text) END,
            CASE WHEN in_order THEN excluded.time ELSE greatest(t.time, excluded.time) END
        FROM (SELECT in_order, in_order OR excluded.time >= t.time AS later
            FROM unnest($1::text[], $7::bool[]) AS o(post, in_order) WHERE o.post = excluded.post) o)";
