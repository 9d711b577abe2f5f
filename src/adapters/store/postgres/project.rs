//! The tables of `project`: loads rows, lets the rule decide, saves them, and moves the counts with them.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;

use super::error::Trouble;
use super::held::{Held, life};
use super::people::{self, Expected, PEOPLE};
use super::pipe::{Pipe, column};
use super::unit::Project;
use crate::adapters::store::rows::{CommentRow, PersonRow, PostRow};
use crate::ports::PostContent;

/// Something happened to posts, comments and people: two round trips for all of it.
pub(super) async fn apply(tx: &Transaction<'_>, changes: &[Project<'_>]) -> Result<(), Trouble> {
    let mut tables = Tables::of(changes);
    tables.load(tx).await?;
    let mut counts = Counts::default();
    for change in changes {
        tables.change(*change, &mut counts);
    }
    tables.save(tx, &counts).await
}

/// The rows that a unit is about.
struct Tables {
    posts: Held<PostRow>,
    comments: Held<CommentRow>,
    people: Held<PersonRow>,
}

impl Tables {
    fn of(changes: &[Project<'_>]) -> Self {
        let posts = changes.iter().filter_map(|change| {
            let Project::Post(change) = change else { return None };
            Some(change.post.as_str())
        });
        let comments = changes.iter().filter_map(|change| {
            let Project::Comment(change) = change else { return None };
            Some(change.comment.as_str())
        });
        let people = changes.iter().filter_map(|change| {
            let Project::Person(change) = change else { return None };
            Some(change.user.as_str())
        });
        Self { posts: Held::of(posts), comments: Held::of(comments), people: Held::of(people) }
    }

    async fn load(&mut self, tx: &Transaction<'_>) -> Result<(), Trouble> {
        let Self { posts, comments, people } = self;
        let mut pipe = Pipe::default();
        let of_posts = (!posts.is_empty()).then(|| pipe.add(LOAD_POSTS, vec![posts.ids()]));
        let of_comments = (!comments.is_empty()).then(|| pipe.add(LOAD_COMMENTS, vec![comments.ids()]));
        let of_people = (!people.is_empty()).then(|| people::load_in(&PEOPLE, people, &mut pipe));
        for (place, rows) in pipe.run(tx).await?.into_iter().enumerate() {
            let place = Some(place);
            if place == of_posts {
                posts.fill(rows, |row| {
                    let content = PostContent {
                        title: row.try_get(5)?,
                        slug: row.try_get(6)?,
                        section: row.try_get(7)?,
                    };
                    let author = row.try_get(4)?;
                    Ok(PostRow { life: life(row)?, author, content, content_time: row.try_get(8)? })
                })?;
            } else if place == of_comments {
                comments.fill(rows, |row| {
                    Ok(CommentRow { life: life(row)?, post: row.try_get(4)?, author: row.try_get(5)? })
                })?;
            } else if place == of_people {
                people.fill(rows, people::of_row)?;
            }
        }
        Ok(())
    }

    fn change(&mut self, change: Project<'_>, counts: &mut Counts) {
        match change {
            Project::Active(user, time) => counts.active(user, time),
            Project::Comment(change) => {
                let changed =
                    self.comments.change(&change.comment, CommentRow::stub, |row| row.after(change));
                if let Some((old, new)) = changed
                    && old.counted() != new.counted()
                {
                    counts.comment(old.counted(), -1);
                    counts.comment(new.counted(), 1);
                }
            }
            Project::Person(change) => {
                self.people.change(&change.user, PersonRow::stub, |row| row.after(change));
            }
            Project::Post(change) => {
                let changed = self.posts.change(&change.post, PostRow::stub, |row| row.after(change));
                if let Some((old, new)) = changed
                    && old.counted() != new.counted()
                {
                    counts.post(old.counted(), -1);
                    counts.post(new.counted(), 1);
                }
            }
        }
    }

    async fn save(&self, tx: &Transaction<'_>, counts: &Counts) -> Result<(), Trouble> {
        let mut pipe = Pipe::default();
        let mut expected = Expected::nothing();
        for (sql, rows, is_new) in
            [(INSERT_POSTS, self.posts.made(), true), (UPDATE_POSTS, self.posts.changed(), false)]
        {
            if rows.is_empty() {
                continue;
            }
            let values = vec![
                column!(rows, (id, _) => *id),
                column!(rows, (_, row) => row.life.state.code()),
                column!(rows, (_, row) => row.life.since),
                column!(rows, (_, row) => row.life.created_by.as_deref()),
                column!(rows, (_, row) => row.author.as_deref()),
                column!(rows, (_, row) => row.content.title.as_deref()),
                column!(rows, (_, row) => row.content.slug.as_deref()),
                column!(rows, (_, row) => row.content.section.as_deref()),
                column!(rows, (_, row) => row.content_time),
            ];
            let place = pipe.add(sql, values);
            if is_new {
                expected.add(place, rows.len());
            }
        }
        for (sql, rows, is_new) in
            [(INSERT_COMMENTS, self.comments.made(), true), (UPDATE_COMMENTS, self.comments.changed(), false)]
        {
            if rows.is_empty() {
                continue;
            }
            let values = vec![
                column!(rows, (id, _) => *id),
                column!(rows, (_, row) => row.life.state.code()),
                column!(rows, (_, row) => row.life.since),
                column!(rows, (_, row) => row.life.created_by.as_deref()),
                column!(rows, (_, row) => row.post.as_deref()),
                column!(rows, (_, row) => row.author.as_deref()),
            ];
            let place = pipe.add(sql, values);
            if is_new {
                expected.add(place, rows.len());
            }
        }
        let of_people = people::save_in(&PEOPLE, &self.people, &mut pipe);
        counts.save_in(&mut pipe);
        let answers = pipe.run(tx).await?;
        expected.check(&answers)?;
        of_people.check(&answers)
    }
}

/// What counts move by.
#[derive(Default)]
struct Counts {
    posts: BTreeMap<String, i64>,
    authors: BTreeMap<String, Author>,
}

#[derive(Default)]
struct Author {
    posts: i64,
    comments: i64,
    last: Option<i64>,
}

impl Counts {
    /// Somebody did something: the last activity never goes back.
    fn active(&mut self, user: &str, time: i64) {
        let author = self.author(user);
        author.last = author.last.max(Some(time));
    }

    fn comment(&mut self, of: Option<(&str, &str)>, step: i64) {
        let Some((post, author)) = of else { return };
        *self.posts.entry(post.to_owned()).or_default() += step;
        self.author(author).comments += step;
    }

    fn post(&mut self, author: Option<&str>, step: i64) {
        if let Some(author) = author {
            self.author(author).posts += step;
        }
    }

    fn author(&mut self, id: &str) -> &mut Author {
        self.authors.entry(id.to_owned()).or_default()
    }

    /// Adds what moves the counts: rows are made where they are missing, locked in their order, and moved. The tables
    /// check that none goes below zero.
    fn save_in<'a>(&'a self, pipe: &mut Pipe<'a>) {
        let authors: Vec<_> = self.authors.iter().collect();
        if !authors.is_empty() {
            pipe.add(MAKE_AUTHORS, vec![column!(authors, (id, _) => id.as_str())]);
            pipe.add(HOLD_AUTHORS, vec![column!(authors, (id, _) => id.as_str())]);
            pipe.add(
                MOVE_AUTHORS,
                vec![
                    column!(authors, (id, _) => id.as_str()),
                    column!(authors, (_, author) => author.posts),
                    column!(authors, (_, author) => author.comments),
                    column!(authors, (_, author) => author.last),
                ],
            );
        }
        let posts: Vec<_> = self.posts.iter().collect();
        if !posts.is_empty() {
            pipe.add(MAKE_STATS, vec![column!(posts, (id, _) => id.as_str())]);
            pipe.add(HOLD_STATS, vec![column!(posts, (id, _) => id.as_str())]);
            let values = vec![column!(posts, (id, _) => id.as_str()), column!(posts, (_, step) => **step)];
            pipe.add(MOVE_STATS, values);
        }
    }
}

const LOAD_POSTS: &str =
    "SELECT id, state, since, created_by, author, title, slug, section, content_time FROM posts
    WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

const INSERT_POSTS: &str = "WITH made AS (
    INSERT INTO posts (id, state, since, created_by, author, title, slug, section, content_time)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::bigint[])
    ON CONFLICT DO NOTHING RETURNING 1) SELECT count(*) FROM made";

const UPDATE_POSTS: &str = "UPDATE posts t SET state = n.state, since = n.since, created_by = n.created_by,
        author = n.author, title = n.title, slug = n.slug, section = n.section, content_time = n.content_time
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::bigint[]) AS n (id, state, since, created_by, author, title, slug, section, content_time)
    WHERE t.id = n.id";

const LOAD_COMMENTS: &str = "SELECT id, state, since, created_by, post, author FROM comments
    WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

const INSERT_COMMENTS: &str = "WITH made AS (
    INSERT INTO comments (id, state, since, created_by, post, author)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[])
    ON CONFLICT DO NOTHING RETURNING 1) SELECT count(*) FROM made";

const UPDATE_COMMENTS: &str = "UPDATE comments t
    SET state = n.state, since = n.since, created_by = n.created_by, post = n.post, author = n.author
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[])
        AS n (id, state, since, created_by, post, author)
    WHERE t.id = n.id";

const MAKE_AUTHORS: &str = "INSERT INTO author_stats (author, posts, comments)
    SELECT id, 0, 0 FROM unnest($1::text[]) AS n (id) ON CONFLICT DO NOTHING";

const HOLD_AUTHORS: &str =
    "SELECT 1 FROM author_stats WHERE author = ANY($1) ORDER BY author FOR NO KEY UPDATE";

const MOVE_AUTHORS: &str =
    "UPDATE author_stats t SET posts = t.posts + n.posts, comments = t.comments + n.comments,
        last_activity = greatest(t.last_activity, n.last)
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS n (author, posts, comments, last)
    WHERE t.author = n.author";

const MAKE_STATS: &str = "INSERT INTO post_stats (post, comments)
    SELECT id, 0 FROM unnest($1::text[]) AS n (id) ON CONFLICT DO NOTHING";

const HOLD_STATS: &str = "SELECT 1 FROM post_stats WHERE post = ANY($1) ORDER BY post FOR NO KEY UPDATE";

const MOVE_STATS: &str = "UPDATE post_stats t SET comments = t.comments + n.step
    FROM unnest($1::text[], $2::bigint[]) AS n (post, step) WHERE t.post = n.post";
