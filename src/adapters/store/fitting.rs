//! What every engine can keep: one rule for all tables, so that an event ends the same wherever it is applied.
//!
//! PostgreSQL knows no NUL and indexes no more than 2,704 bytes; two ids of [`LONGEST_ID`] fit into that.

use std::borrow::Cow;

use crate::ports::{
    Change, CommentChange, CommentFact, DocumentChange, DocumentContent, DocumentFact, LONGEST_ID,
    MailSource, Param, PersonChange, PersonContent, PersonFact, PostChange, PostContent, PostFact,
    StoreError, SubscriptionChange, ThreadComment, ThreadPost, ThreadText, ThumbnailsMade, Unit,
    WebhookEvent, Welcome,
};

/// Returns a unit as every engine can keep it: NUL becomes U+FFFD.
///
/// # Errors
/// `Refused` where an id is longer than [`LONGEST_ID`].
pub(crate) fn fitting(mut unit: Unit) -> Result<Unit, StoreError> {
    unit.changes.iter_mut().try_for_each(change)?;
    Ok(unit)
}

/// Returns a text as every engine can keep it.
pub(crate) fn stored(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

fn change(change: &mut Change) -> Result<(), StoreError> {
    match change {
        Change::Active { user, .. } => id("user", user)?,
        Change::Comment(CommentChange { comment, fact, .. }) => {
            id("comment", comment)?;
            match fact {
                CommentFact::Created { post, author } => {
                    id("post", post)?;
                    id("author", author)?;
                }
                CommentFact::Removed => {}
            }
        }
        Change::Contact(change) | Change::Person(change) => person(change)?,
        Change::Document(change) => document(change)?,
        Change::Post(change) => post(change)?,
        // Replies are cut where they are written.
        Change::RequestClosed { id: request, .. } => id("request", request)?,
        Change::Statement { params, .. } => {
            for param in params {
                match param {
                    Param::Text(value) => text(value),
                    Param::Null | Param::Integer(_) | Param::Real(_) | Param::Blob(_) => {}
                }
            }
        }
        Change::Subscription(SubscriptionChange { user, .. }) => id("user", user)?,
        Change::ThreadComment(ThreadComment { post, comment, author, mail, .. }) => {
            id("post", post)?;
            id("comment", comment)?;
            id("author", author)?;
            source(mail);
        }
        Change::ThreadPost(ThreadPost { post, author, mail, .. }) => {
            id("post", post)?;
            id("author", author)?;
            source(mail);
        }
        Change::ThreadText(ThreadText { post, title, slug, format, text, .. }) => {
            id("post", post)?;
            texts([title, slug, format, text]);
        }
        Change::Webhooks(WebhookEvent { event_type, blog, body, .. }) => {
            [event_type, blog, body].into_iter().for_each(text);
        }
        Change::Thumbnails(made) => thumbnails(made)?,
        Change::Welcome(Welcome { user, mail, .. }) => {
            id("user", user)?;
            source(mail);
        }
    }
    Ok(())
}

fn post(PostChange { post, fact, .. }: &mut PostChange) -> Result<(), StoreError> {
    id("post", post)?;
    let (PostContent { title, slug, section }, author) = match fact {
        PostFact::Published { author, content } => (content, Some(author)),
        PostFact::Updated(content) => (content, None),
        PostFact::Removed => return Ok(()),
    };
    texts([title, slug, section]);
    author.map_or(Ok(()), |author| id("author", author))
}

fn person(PersonChange { user, fact, .. }: &mut PersonChange) -> Result<(), StoreError> {
    id("user", user)?;
    match fact {
        PersonFact::Registered(content) | PersonFact::Updated(content) => {
            let PersonContent { name, email, locale, .. } = content;
            texts([name, email, locale]);
        }
        PersonFact::Removed => {}
    }
    Ok(())
}

fn document(DocumentChange { id: own, fact, .. }: &mut DocumentChange) -> Result<(), StoreError> {
    id("document", own)?;
    let content = match fact {
        DocumentFact::Created { post, author, format, content } => {
            post.as_mut().map_or(Ok(()), |post| id("post", post))?;
            id("author", author)?;
            texts([format]);
            content
        }
        DocumentFact::Updated(content) => content,
        DocumentFact::Removed => return Ok(()),
    };
    let DocumentContent { title, slug, section, tags, body } = content;
    texts([title, slug, section]);
    tags.iter_mut().flatten().for_each(text);
    body.iter_mut().for_each(|body| text(&mut body.text));
    Ok(())
}

fn thumbnails(made: &mut ThumbnailsMade) -> Result<(), StoreError> {
    let ThumbnailsMade { object_key, post, media_type, placeholder, files, .. } = made;
    id("object", object_key)?;
    post.as_mut().map_or(Ok(()), |post| id("post", post))?;
    text(media_type);
    text(placeholder);
    for file in files {
        id("thumbnail", &mut file.name)?;
        text(&mut file.media_type);
    }
    Ok(())
}

fn source(mail: &mut Option<MailSource>) {
    let Some(MailSource { blog, format, text: own, .. }) = mail else { return };
    text(blog);
    texts([format, own]);
}

fn texts<const N: usize>(fields: [&mut Option<String>; N]) {
    fields.into_iter().flatten().for_each(text);
}

fn text(text: &mut String) {
    if let Cow::Owned(fitting) = stored(text) {
        *text = fitting;
    }
}

fn id(of: &str, id: &mut String) -> Result<(), StoreError> {
    text(id);
    if id.len() <= LONGEST_ID {
        return Ok(());
    }
    let (bytes, begin) = (id.len(), id.get(..id.floor_char_boundary(40)).unwrap_or_default());
    let why = format!("the id of the {of}, {begin:?}…, has {bytes} bytes, and ids have at most {LONGEST_ID}");
    Err(StoreError::Refused(why))
}
