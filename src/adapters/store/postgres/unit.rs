//! A unit: its guard, then its changes.
//!
//! Changes of one kind are carried out together, so that a batch costs a handful of round trips. Kinds have tables of
//! their own, so their order among each other does not matter; the order within a kind is kept, and so is everything
//! around statements of users and ends of requests.

use deadpool_postgres::Transaction;

use super::error::Trouble;
use super::position::{self, Pass};
use super::{documents, mails, outbox, project, statement, threads, thumbnails, webhooks};
use crate::ports::{
    Applied, Change, Claim, CommentChange, DocumentChange, PersonChange, PostChange, SubscriptionChange,
    ThreadComment, ThreadPost, ThreadText, ThumbnailsMade, Unit, WebhookEvent, Welcome,
};

/// Applies a unit inside the open transaction. After an error the caller drops the transaction.
pub(super) async fn apply(tx: &Transaction<'_>, claim: &Claim, unit: &Unit) -> Result<Applied, Trouble> {
    if let Pass::Stop(applied) = position::pass(tx, claim, &unit.guard).await? {
        return Ok(applied);
    }
    let mut kinds = Kinds::default();
    for change in &unit.changes {
        match change {
            Change::RequestClosed { id, ending, reply, time } => {
                kinds.carry_out(tx).await?;
                outbox::close(tx, id, *ending, reply, *time).await?;
            }
            Change::Statement { sql, params } => {
                kinds.carry_out(tx).await?;
                statement::run(tx, sql, params).await?;
            }
            Change::Active { user, time } => kinds.project.push(Project::Active(user, *time)),
            Change::Comment(change) => kinds.project.push(Project::Comment(change)),
            Change::Person(change) => kinds.project.push(Project::Person(change)),
            Change::Post(change) => kinds.project.push(Project::Post(change)),
            Change::Contact(change) => kinds.contacts.push(change),
            Change::ThreadText(change) => kinds.texts.push(change),
            Change::Subscription(change) => kinds.threads.push(Thread::Subscription(change)),
            Change::ThreadComment(comment) => kinds.threads.push(Thread::Comment(comment)),
            Change::ThreadPost(post) => kinds.threads.push(Thread::Post(post)),
            Change::Welcome(welcome) => kinds.threads.push(Thread::Welcome(welcome)),
            Change::Webhooks(event) => kinds.webhooks.push(event),
            Change::Document(change) => kinds.documents.push(change),
            Change::Thumbnails(made) => kinds.thumbnails.push(made),
        }
    }
    kinds.carry_out(tx).await?;
    Ok(Applied::Committed)
}

/// A change to the tables of `project`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Project<'a> {
    Active(&'a str, i64),
    Comment(&'a CommentChange),
    Person(&'a PersonChange),
    Post(&'a PostChange),
}

/// A change to the threads of `notify`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Thread<'a> {
    Comment(&'a ThreadComment),
    Post(&'a ThreadPost),
    Subscription(&'a SubscriptionChange),
    Welcome(&'a Welcome),
}

/// Changes that wait to be carried out together, by kind.
#[derive(Default)]
struct Kinds<'a> {
    project: Vec<Project<'a>>,
    contacts: Vec<&'a PersonChange>,
    texts: Vec<&'a ThreadText>,
    threads: Vec<Thread<'a>>,
    webhooks: Vec<&'a WebhookEvent>,
    documents: Vec<&'a DocumentChange>,
    thumbnails: Vec<&'a ThumbnailsMade>,
}

impl Kinds<'_> {
    /// Carries out what waits. Every unit goes through the kinds in this order, so that units that meet wait for each
    /// other instead of blocking each other.
    async fn carry_out(&mut self, tx: &Transaction<'_>) -> Result<(), Trouble> {
        let kinds = std::mem::take(self);
        if !kinds.project.is_empty() {
            project::apply(tx, &kinds.project).await?;
        }
        if !kinds.contacts.is_empty() {
            mails::contacts(tx, &kinds.contacts).await?;
        }
        if !kinds.texts.is_empty() {
            mails::thread_texts(tx, &kinds.texts).await?;
        }
        if !kinds.threads.is_empty() {
            threads::apply(tx, &kinds.threads).await?;
        }
        if !kinds.webhooks.is_empty() {
            webhooks::events(tx, &kinds.webhooks).await?;
        }
        if !kinds.documents.is_empty() {
            documents::apply(tx, &kinds.documents).await?;
        }
        if !kinds.thumbnails.is_empty() {
            thumbnails::made(tx, &kinds.thumbnails).await?;
        }
        Ok(())
    }
}
