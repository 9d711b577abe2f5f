//! What the blog looks like now: posts with their comment counts, authors with theirs and their last activity,
//! people.
//!
//! A comment counts while it is not removed itself, whatever became of its post: the comments of a removed post
//! are still there when it is published again, and those of a post that never comes count on a stub. An author's
//! last activity is the latest source time of an event of posts or comments that names them, as author or editor.

use postroom_core::Failure;

use super::origin::{named, origin};
use super::{Changes, StoreEffect};
use crate::event::{
    BlogEvent, CommentCreated, CommentRemoved, CommentUpdated, Envelope, EventRecord, EventType,
    PostPublished, PostRemoved, PostUpdated, UserRegistered, UserRemoved, UserUpdated,
};
use crate::ports::{
    Change, CommentChange, CommentFact, Origin, PersonChange, PersonContent, PersonFact, PostChange,
    PostContent, PostFact,
};

/// Keeps the tables `posts`, `post_stats`, `comments`, `author_stats` and `people`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Project;

impl StoreEffect for Project {
    type Event = BlogEvent;

    fn name(&self) -> &'static str {
        "project"
    }

    fn types(&self) -> &'static [EventType] {
        &TYPES
    }

    fn apply(&self, envelope: &Envelope<BlogEvent>, changes: &mut Changes) -> Result<(), Failure> {
        let origin = origin(envelope)?;
        match &envelope.event {
            BlogEvent::PostPublished(event) => {
                let author = named("author", &event.author)?;
                active(changes, &event.author, &origin)?;
                let content = PostContent {
                    title: event.title.clone(),
                    slug: Some(event.slug.clone()).filter(|slug| !slug.is_empty()),
                    section: event.section.clone(),
                };
                post(changes, &event.post_id, origin, PostFact::Published { author, content })
            }
            BlogEvent::PostUpdated(event) => {
                active(changes, &event.editor, &origin)?;
                let content = PostContent {
                    title: event.title.clone(),
                    slug: event.slug.clone(),
                    section: event.section.clone(),
                };
                post(changes, &event.post_id, origin, PostFact::Updated(content))
            }
            BlogEvent::PostRemoved(event) => {
                active(changes, &event.editor, &origin)?;
                post(changes, &event.post_id, origin, PostFact::Removed)
            }
            BlogEvent::CommentCreated(event) => {
                let author = named("author", &event.author)?;
                active(changes, &event.author, &origin)?;
                let post = named("post_id", &event.post_id)?;
                comment(changes, &event.comment_id, origin, CommentFact::Created { post, author })
            }
            BlogEvent::CommentUpdated(event) => {
                active(changes, &event.editor, &origin)?;
                Ok(())
            }
            BlogEvent::CommentRemoved(event) => {
                active(changes, &event.editor, &origin)?;
                comment(changes, &event.comment_id, origin, CommentFact::Removed)
            }
            BlogEvent::UserRegistered(event) => {
                let content = PersonContent {
                    name: event.name.clone(),
                    email: event.email.clone(),
                    subscribed: Some(event.subscribed),
                    locale: Some(event.locale.clone()),
                };
                person(changes, &event.user_id, origin, PersonFact::Registered(content))
            }
            BlogEvent::UserUpdated(event) => {
                let content = PersonContent {
                    name: event.name.clone(),
                    email: event.email.clone(),
                    subscribed: event.subscribed,
                    locale: event.locale.clone(),
                };
                person(changes, &event.user_id, origin, PersonFact::Updated(content))
            }
            BlogEvent::UserRemoved(event) => person(changes, &event.user_id, origin, PersonFact::Removed),
            BlogEvent::ImageUploaded(_) => Ok(()),
        }
    }
}

/// An editor may be unknown: then nobody was active.
fn active(changes: &mut Changes, user: &str, origin: &Origin) -> Result<(), Failure> {
    if !user.is_empty() {
        changes.push(Change::Active { user: named("editor", user)?, time: origin.time });
    }
    Ok(())
}

fn post(changes: &mut Changes, id: &str, origin: Origin, fact: PostFact) -> Result<(), Failure> {
    let post = named("post_id", id)?;
    changes.push(Change::Post(PostChange { post, origin, fact }));
    Ok(())
}

fn comment(changes: &mut Changes, id: &str, origin: Origin, fact: CommentFact) -> Result<(), Failure> {
    let comment = named("comment_id", id)?;
    changes.push(Change::Comment(CommentChange { comment, origin, fact }));
    Ok(())
}

fn person(changes: &mut Changes, id: &str, origin: Origin, fact: PersonFact) -> Result<(), Failure> {
    let user = named("user_id", id)?;
    changes.push(Change::Person(PersonChange { user, origin, fact }));
    Ok(())
}

const TYPES: [EventType; 9] = [
    CommentCreated::TYPE,
    CommentRemoved::TYPE,
    CommentUpdated::TYPE,
    PostPublished::TYPE,
    PostRemoved::TYPE,
    PostUpdated::TYPE,
    UserRegistered::TYPE,
    UserRemoved::TYPE,
    UserUpdated::TYPE,
];
