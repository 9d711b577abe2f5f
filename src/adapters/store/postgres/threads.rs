//! The tables of `notify`: who takes part in which thread, and who is to hear of what.
//!
//! Whoever works on a thread holds its row, so that a comment and its post, which come from different topics, see each
//! other. The threads of a unit are loaded together, followed in memory, and saved together.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use super::mails::{self, About};
use super::notices::Notices;
use super::pipe::{Pipe, column};
use super::unit::Thread;
use crate::ports::{Arrival, MailSource, Origin, SubscriptionChange, ThreadComment, ThreadPost};

/// Carries out what happened in threads, to subscriptions, and who is welcomed.
pub(super) async fn apply(tx: &Transaction<'_>, changes: &[Thread<'_>]) -> Result<(), Trouble> {
    let mut threads = Threads::load(tx, changes).await?;
    let mut notices = Notices::default();
    let mut sources: Vec<(&MailSource, &Origin, About<'_>)> = Vec::new();
    let mut subscriptions = BTreeMap::new();
    for change in changes {
        match change {
            Thread::Comment(comment) => {
                let ThreadComment { post, comment: id, author, origin, mail } = comment;
                let about = About { post: Some(post), comment: Some(id), author: Some(author) };
                sources.extend(mail.as_ref().map(|mail| (mail, origin, about)));
                threads.comment(comment, &mut notices);
            }
            Thread::Post(post) => {
                if threads.post(post, &mut notices) {
                    let ThreadPost { post, author, origin, mail } = post;
                    let about = About { post: Some(post), author: Some(author), ..About::default() };
                    sources.extend(mail.as_ref().map(|mail| (mail, origin, about)));
                }
            }
            Thread::Subscription(change) => {
                let SubscriptionChange { user, time, subscribed } = change;
                subscriptions.insert((user.as_str(), *time), *subscribed);
            }
            Thread::Welcome(welcome) => {
                let about = About::default();
                sources.extend(welcome.mail.as_ref().map(|mail| (mail, &welcome.origin, about)));
                let (event, time) = (welcome.origin.event.as_str(), welcome.origin.time);
                notices.tell(&welcome.user, "welcome", &welcome.user, event, time);
            }
        }
        if notices.are_many() {
            mails::sources(tx, &std::mem::take(&mut sources)).await?;
            std::mem::take(&mut notices).write(tx).await?;
        }
    }
    mails::sources(tx, &sources).await?;
    threads.save(tx).await?;
    subscribe(tx, &subscriptions).await?;
    notices.write(tx).await?;
    Ok(())
}

/// The threads that a unit is about.
struct Threads<'a> {
    threads: BTreeMap<&'a str, State>,
    announced: Vec<&'a ThreadPost>,
}

/// One thread.
#[derive(Default)]
struct State {
    author: Option<String>,
    /// Who commented, since when.
    participants: BTreeMap<String, i64>,
    moved: BTreeSet<String>,
    /// Comments that wait for the post's author, by their arrival; those of this unit come last.
    waiting: Vec<Waiting>,
    /// Whether those that waited before were told.
    is_told: bool,
}

struct Waiting {
    is_new: bool,
    comment: String,
    author: String,
    event: String,
    time: i64,
}

impl<'a> Threads<'a> {
    /// Loads the threads, and holds them until the transaction ends.
    async fn load(tx: &Transaction<'_>, changes: &[Thread<'a>]) -> Result<Self, Trouble> {
        let commented = of_threads(changes, |change| {
            let Thread::Comment(comment) = change else { return None };
            Some(comment.post.as_str())
        });
        let published = of_threads(changes, |change| {
            let Thread::Post(post) = change else { return None };
            Some(post.post.as_str())
        });
        let all: BTreeSet<&str> = commented.union(&published).copied().collect();
        let mut threads: BTreeMap<&str, State> = all.iter().map(|post| (*post, State::default())).collect();
        if !all.is_empty() {
            let mut pipe = Pipe::default();
            pipe.add(MAKE, vec![column!(all, post => *post)]);
            let authors = pipe.add(HOLD, vec![column!(all, post => *post)]);
            let participants = pipe.add(PARTICIPANTS, vec![column!(commented, post => *post)]);
            pipe.add(WAITING, vec![column!(published, post => *post)]);
            for (place, rows) in pipe.run(tx).await?.into_iter().enumerate() {
                for row in rows {
                    let Some(state) = threads.get_mut(row.try_get::<_, &str>(0)?) else { continue };
                    if place == authors {
                        state.author = row.try_get(1)?;
                    } else if place == participants {
                        state.participants.insert(row.try_get(1)?, row.try_get(2)?);
                    } else {
                        state.waiting.push(waiting(&row)?);
                    }
                }
            }
        }
        Ok(Self { threads, announced: Vec::new() })
    }

    /// A comment was written: tells those who commented before, and the post's author or, where the post has not come
    /// yet, remembers to tell them.
    fn comment(&mut self, comment: &ThreadComment, notices: &mut Notices) {
        let ThreadComment { post, comment, author, origin, .. } = comment;
        let Some(state) = self.threads.get_mut(post.as_str()) else { return };
        let (event, time) = (origin.event.as_str(), origin.time);
        // In the order of offsets everybody who is there came before; else the source time says who did.
        let until = match origin.arrival {
            Arrival::InOrder => i64::MAX,
            Arrival::OutOfOrder => time,
        };
        for (other, since) in &state.participants {
            if other != author && *since <= until {
                notices.tell(other, "comment", comment, event, time);
            }
        }
        if state.participants.get(author).is_none_or(|since| time < *since) {
            state.participants.insert(author.clone(), time);
            state.moved.insert(author.clone());
        }
        match &state.author {
            Some(recipient) if recipient == author => {}
            Some(recipient) => notices.tell(recipient, "comment", comment, event, time),
            None => {
                let (comment, author, event) = (comment.clone(), author.clone(), event.to_owned());
                state.waiting.push(Waiting { is_new: true, comment, author, event, time });
            }
        }
    }

    /// A post was published. Only its first publication makes an author and an announcement: says whether it is.
    fn post(&mut self, post: &'a ThreadPost, notices: &mut Notices) -> bool {
        let Some(state) = self.threads.get_mut(post.post.as_str()) else { return false };
        if state.author.is_some() {
            return false;
        }
        state.author = Some(post.author.clone());
        state.is_told = true;
        // A comment that was written twice is told of by its first event, also where the author has heard of the
        // second as one who commented in between.
        let mut told = BTreeSet::new();
        for waiting in std::mem::take(&mut state.waiting) {
            let Waiting { comment, author, event, time, .. } = waiting;
            if author != post.author && told.insert(comment.clone()) {
                notices.tell_anew(&post.author, "comment", &comment, &event, time);
            }
        }
        self.announced.push(post);
        true
    }

    async fn save(&self, tx: &Transaction<'_>) -> Result<(), Trouble> {
        let mut pipe = Pipe::default();
        let moved: Vec<(&str, &str, i64)> = self
            .threads
            .iter()
            .flat_map(|(post, state)| {
                let since = |author: &str| state.participants.get(author).copied().unwrap_or_default();
                state.moved.iter().map(move |author| (*post, author.as_str(), since(author)))
            })
            .collect();
        if !moved.is_empty() {
            let values = vec![
                column!(moved, (post, _, _) => *post),
                column!(moved, (_, author, _) => *author),
                column!(moved, (_, _, since) => *since),
            ];
            pipe.add(PARTICIPATE, values);
        }
        let told: Vec<_> = self.threads.iter().filter(|(_, state)| state.is_told).collect();
        if !told.is_empty() {
            pipe.add(TOLD, vec![column!(told, (post, _) => **post)]);
            let values = vec![
                column!(told, (post, _) => **post),
                column!(told, (_, state) => state.author.as_deref()),
            ];
            pipe.add(AUTHORS, values);
        }
        self.save_waiting(&mut pipe);
        if !self.announced.is_empty() {
            let values = vec![
                column!(self.announced, post => post.post.as_str()),
                column!(self.announced, post => post.author.as_str()),
                column!(self.announced, post => post.origin.event.as_str()),
                column!(self.announced, post => post.origin.time),
            ];
            pipe.add(ANNOUNCE, values);
        }
        pipe.run(tx).await?;
        Ok(())
    }

    fn save_waiting<'p>(&'p self, pipe: &mut Pipe<'p>) {
        let waiting: Vec<(&str, &Waiting)> = self
            .threads
            .iter()
            .flat_map(|(post, state)| state.waiting.iter().map(move |waiting| (*post, waiting)))
            .filter(|(_, waiting)| waiting.is_new)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let values = vec![
            column!(waiting, (post, _) => *post),
            column!(waiting, (_, waiting) => waiting.comment.as_str()),
            column!(waiting, (_, waiting) => waiting.author.as_str()),
            column!(waiting, (_, waiting) => waiting.event.as_str()),
            column!(waiting, (_, waiting) => waiting.time),
        ];
        pipe.add(WAIT, values);
    }
}

fn of_threads<'a>(changes: &[Thread<'a>], of: impl Fn(&Thread<'a>) -> Option<&'a str>) -> BTreeSet<&'a str> {
    changes.iter().filter_map(of).collect()
}

fn waiting(row: &Row) -> Result<Waiting, Trouble> {
    Ok(Waiting {
        is_new: false,
        comment: row.try_get(1)?,
        author: row.try_get(2)?,
        event: row.try_get(3)?,
        time: row.try_get(4)?,
    })
}

/// Subscriptions changed at times. Each holds until the next change of the same person, and puts right what was
/// announced for that stretch already: nobody expands announcements meanwhile.
async fn subscribe(tx: &Transaction<'_>, changes: &BTreeMap<(&str, i64), bool>) -> Result<(), Trouble> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut pipe = Pipe::default();
    pipe.add("LOCK TABLE fan_out_gate IN ROW EXCLUSIVE MODE", Vec::new());
    let values = vec![
        column!(changes, ((user, _), _) => *user),
        column!(changes, ((_, time), _) => *time),
        column!(changes, (_, subscribed) => *subscribed),
    ];
    pipe.add(SUBSCRIBE, values);
    for (sql, wanted) in [(CATCH_UP, true), (TAKE_BACK, false)] {
        let some: Vec<_> = changes.iter().filter(|(_, subscribed)| **subscribed == wanted).collect();
        if !some.is_empty() {
            let values = vec![column!(some, ((user, _), _) => *user), column!(some, ((_, time), _) => *time)];
            pipe.add(sql, values);
        }
    }
    pipe.run(tx).await?;
    Ok(())
}

const MAKE: &str =
    "INSERT INTO thread_authors (post) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING";

const HOLD: &str =
    "SELECT post, author FROM thread_authors WHERE post = ANY($1) ORDER BY post FOR NO KEY UPDATE";

const PARTICIPANTS: &str = "SELECT post, author, since FROM thread_participants WHERE post = ANY($1)";

const WAITING: &str = "SELECT post, comment, author, event, time FROM thread_waiting WHERE post = ANY($1)
    ORDER BY arrival";

const PARTICIPATE: &str = "INSERT INTO thread_participants (post, author, since)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
    ON CONFLICT (post, author) DO UPDATE SET since = excluded.since";

const TOLD: &str = "DELETE FROM thread_waiting WHERE post = ANY($1)";

const AUTHORS: &str = "UPDATE thread_authors t SET author = n.author
    FROM unnest($1::text[], $2::text[]) AS n (post, author) WHERE t.post = n.post";

const WAIT: &str = "INSERT INTO thread_waiting (post, comment, author, event, time)
    SELECT post, comment, author, event, time
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
        WITH ORDINALITY AS n (post, comment, author, event, time, place) ORDER BY place";

const ANNOUNCE: &str = "INSERT INTO fan_outs (post, author, event, time, expanded_to, arrived_at)
    SELECT n.*, '', (extract(epoch FROM now()) * 1000)::bigint FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS n (post, author, event, time)
    ON CONFLICT DO NOTHING";

const SUBSCRIBE: &str = "INSERT INTO subscriptions (subscriber, since, subscribed, arrived_at)
    SELECT n.*, (extract(epoch FROM now()) * 1000)::bigint FROM unnest($1::text[], $2::bigint[], $3::bool[]) AS n
    ON CONFLICT (subscriber, since)
    DO UPDATE SET subscribed = excluded.subscribed, arrived_at = excluded.arrived_at";

// Written in chunks, as announcements are.
const CATCH_UP: &str = "INSERT INTO catch_ups (subscriber, next_time, next_post, end_time)
    SELECT n.subscriber, n.since, '', n.until FROM (
        SELECT subscriber, since,
            (SELECT min(s.since) FROM subscriptions s WHERE s.subscriber = n.subscriber AND s.since > n.since) AS until
        FROM unnest($1::text[], $2::bigint[]) AS n (subscriber, since)) n
    WHERE EXISTS (SELECT 1 FROM fan_outs f WHERE f.time >= n.since AND (n.until IS NULL OR f.time < n.until))";

const TAKE_BACK: &str = "DELETE FROM notifications t
    USING (SELECT subscriber, since,
            (SELECT min(s.since) FROM subscriptions s WHERE s.subscriber = n.subscriber AND s.since > n.since) AS until
        FROM unnest($1::text[], $2::bigint[]) AS n (subscriber, since)) n, fan_outs f
    WHERE f.time >= n.since AND (n.until IS NULL OR f.time < n.until)
      AND t.recipient = n.subscriber AND t.reason = 'post' AND t.subject = f.post";
