//! What is read for status pages and reports, each from one moment of the tables.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use super::pipe::Pipe;
use crate::adapters::store::{AuthorLine, PostLine, ReasonCount, Summary};

/// Counts what the tables hold.
pub(super) async fn summary(tx: &Transaction<'_>, top: u32) -> Result<Summary, Trouble> {
    let top = i64::from(top);
    let mut pipe = Pipe::default();
    pipe.add(COUNTS, Vec::new());
    pipe.add("SELECT reason, count(*) FROM notifications GROUP BY reason ORDER BY reason", Vec::new());
    pipe.add(TOP_POSTS, vec![Box::new(top)]);
    pipe.add(TOP_AUTHORS, vec![Box::new(top)]);
    let mut answers = pipe.run(tx).await?.into_iter();
    let mut next = || answers.next().unwrap_or_default();
    let counts = next();
    let count = |column| counts.first().map_or(Ok(0), |row| unsigned(row, column));
    Ok(Summary {
        posts: count(0)?,
        comments: count(1)?,
        people: count(2)?,
        authors: count(3)?,
        fan_outs_open: count(4)?,
        requests_under_way: count(5)?,
        notifications: next().iter().map(reason).collect::<Result<_, _>>()?,
        top_posts: next().iter().map(post).collect::<Result<_, _>>()?,
        top_authors: next().iter().map(author).collect::<Result<_, _>>()?,
    })
}

fn reason(row: &Row) -> Result<ReasonCount, Trouble> {
    Ok(ReasonCount { reason: row.try_get(0)?, count: unsigned(row, 1)? })
}

fn post(row: &Row) -> Result<PostLine, Trouble> {
    Ok(PostLine { post: row.try_get(0)?, title: row.try_get(1)?, comments: unsigned(row, 2)? })
}

fn author(row: &Row) -> Result<AuthorLine, Trouble> {
    Ok(AuthorLine {
        author: row.try_get(0)?,
        posts: unsigned(row, 1)?,
        comments: unsigned(row, 2)?,
        last_activity: row.try_get(3)?,
    })
}

/// Reads a count: the tables hold none below zero.
fn unsigned(row: &Row, column: usize) -> Result<u64, Trouble> {
    Ok(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or_default())
}

// Under way is what is due by the store's clock, with a relay, or out.
const COUNTS: &str = "SELECT
    (SELECT coalesce(sum(posts), 0)::bigint FROM author_stats),
    (SELECT coalesce(sum(comments), 0)::bigint FROM post_stats),
    (SELECT count(*) FROM people WHERE state = 1),
    (SELECT count(*) FROM author_stats),
    (SELECT count(*) FROM fan_outs WHERE expanded_to IS NOT NULL) + (SELECT count(*) FROM catch_ups)
        + (SELECT count(*) FROM webhook_fan_outs WHERE expanded_to IS NOT NULL),
    (SELECT count(*) FROM requests WHERE state IN (2, 3)
        OR (state = 1 AND due <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint))
        + (SELECT count(*) FROM requests r WHERE unsettled AND (
            (state = 0 AND due <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
            OR (state IN (5, 6) AND EXISTS (SELECT 1 FROM requests q
                WHERE q.kind = r.kind AND q.addressee = r.addressee AND q.state = 0))))";

const TOP_POSTS: &str =
    "SELECT s.post, p.title, s.comments FROM post_stats s LEFT JOIN posts p ON p.id = s.post
    ORDER BY s.comments DESC, s.post LIMIT $1";

const TOP_AUTHORS: &str = "SELECT author, posts, comments, last_activity FROM author_stats
    ORDER BY posts + comments DESC, author LIMIT $1";
