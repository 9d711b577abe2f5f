//! What can be found: the texts of posts and comments.
//!
//! A document lives as its post or comment does. Removed ones are not found and their texts are forgotten; the
//! comments of a removed post are not found either until it is published again, though they count. An update that
//! does not tell the text leaves it as it is.

use postroom_core::Failure;

use super::origin::{named, origin};
use super::{Changes, StoreEffect};
use crate::event::{
    BlogEvent, CommentCreated, CommentRemoved, CommentUpdated, Envelope, EventRecord, EventType,
    PostPublished, PostRemoved, PostUpdated,
};
use crate::ports::{
    Change, DocumentBody, DocumentChange, DocumentContent, DocumentFact, DocumentKind, Origin,
};

/// Keeps the table `documents` and the index of its words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search;

impl StoreEffect for Search {
    type Event = BlogEvent;

    fn name(&self) -> &'static str {
        "search"
    }

    fn types(&self) -> &'static [EventType] {
        &TYPES
    }

    fn apply(&self, envelope: &Envelope<BlogEvent>, changes: &mut Changes) -> Result<(), Failure> {
        let origin = origin(envelope)?;
        match &envelope.event {
            BlogEvent::PostPublished(event) => {
                let fact = DocumentFact::Created {
                    post: None,
                    author: named("author", &event.author)?,
                    format: event.format.clone(),
                    content: DocumentContent {
                        title: event.title.as_deref().map(title),
                        slug: path(&event.slug),
                        section: event.section.clone(),
                        tags: Some(event.tags.iter().take(MOST_TAGS).map(|tag| title(tag)).collect()),
                        body: event.body.as_deref().map(body),
                    },
                };
                post(changes, &event.post_id, origin, fact)
            }
            BlogEvent::PostUpdated(event) => {
                let fact = DocumentFact::Updated(DocumentContent {
                    title: event.title.as_deref().map(title),
                    slug: event.slug.clone(),
                    section: event.section.clone(),
                    tags: None,
                    body: event.body.as_deref().map(body),
                });
                post(changes, &event.post_id, origin, fact)
            }
            BlogEvent::PostRemoved(event) => post(changes, &event.post_id, origin, DocumentFact::Removed),
            BlogEvent::CommentCreated(event) => {
                let fact = DocumentFact::Created {
                    post: Some(named("post_id", &event.post_id)?),
                    author: named("author", &event.author)?,
                    format: event.format.clone(),
                    content: DocumentContent {
                        title: event.title.as_deref().map(title),
                        slug: path(&event.slug),
                        section: event.section.clone(),
                        tags: None,
                        body: event.body.as_deref().map(body),
                    },
                };
                comment(changes, &event.comment_id, origin, fact)
            }
            BlogEvent::CommentUpdated(event) => {
                let fact = DocumentFact::Updated(DocumentContent {
                    title: event.title.as_deref().map(title),
                    body: event.body.as_deref().map(body),
                    ..DocumentContent::default()
                });
                comment(changes, &event.comment_id, origin, fact)
            }
            BlogEvent::CommentRemoved(event) => {
                comment(changes, &event.comment_id, origin, DocumentFact::Removed)
            }
            BlogEvent::ImageUploaded(_)
            | BlogEvent::UserRegistered(_)
            | BlogEvent::UserRemoved(_)
            | BlogEvent::UserUpdated(_) => Ok(()),
        }
    }
}

fn post(changes: &mut Changes, id: &str, origin: Origin, fact: DocumentFact) -> Result<(), Failure> {
    document(changes, DocumentKind::Post, named("post_id", id)?, origin, fact);
    Ok(())
}

fn comment(changes: &mut Changes, id: &str, origin: Origin, fact: DocumentFact) -> Result<(), Failure> {
    document(changes, DocumentKind::Comment, named("comment_id", id)?, origin, fact);
    Ok(())
}

fn document(changes: &mut Changes, kind: DocumentKind, id: String, origin: Origin, fact: DocumentFact) {
    changes.push(Change::Document(Box::new(DocumentChange { kind, id, origin, fact })));
}

fn path(slug: &str) -> Option<String> {
    Some(slug.to_owned()).filter(|slug| !slug.is_empty())
}

fn title(text: &str) -> String {
    beginning(text, LONGEST_TITLE).to_owned()
}

fn body(text: &str) -> DocumentBody {
    let kept = beginning(text, LONGEST_BODY);
    DocumentBody { text: kept.to_owned(), is_cut: kept.len() < text.len() }
}

/// Returns up to so many bytes of a text, cut between characters.
fn beginning(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

const TYPES: [EventType; 6] = [
    CommentCreated::TYPE,
    CommentRemoved::TYPE,
    CommentUpdated::TYPE,
    PostPublished::TYPE,
    PostRemoved::TYPE,
    PostUpdated::TYPE,
];

/// Bytes of a text that are searched.
const LONGEST_BODY: usize = 256 * 1024;

/// Bytes of a title or of a tag that are searched and shown.
const LONGEST_TITLE: usize = 2_048;

const MOST_TAGS: usize = 100;
