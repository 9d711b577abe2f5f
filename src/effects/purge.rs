//! Takes out of the caches what an event made stale: pages by their address or surrogate key, values by their key.
//!
//! A batch purges each thing once. The position moves after the caches answered, so a purge is never lost; a crash in
//! between repeats it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::{self, Field, Pattern, Piece};
use crate::event::{
    BlogEvent, CommentCreated, CommentRemoved, CommentUpdated, Envelope, EventRecord, EventType,
    PostPublished, PostRemoved, PostUpdated, UserRemoved, UserUpdated,
};
use crate::handler::{BatchContext, BatchHandler, Error};
use crate::ports::{Cache, CacheError, Stale};

/// Purges the caches that are configured.
pub struct Purge {
    urls: Vec<Pattern>,
    surrogate_keys: Vec<Pattern>,
    entries: Vec<Pattern>,
    caches: Vec<Arc<dyn Cache>>,
}

impl std::fmt::Debug for Purge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purge")
            .field("urls", &self.urls)
            .field("surrogate_keys", &self.surrogate_keys)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl Purge {
    /// The events that make something stale.
    pub const TYPES: [EventType; 8] = [
        CommentCreated::TYPE,
        CommentRemoved::TYPE,
        CommentUpdated::TYPE,
        PostPublished::TYPE,
        PostRemoved::TYPE,
        PostUpdated::TYPE,
        UserRemoved::TYPE,
        UserUpdated::TYPE,
    ];

    /// Takes what is to be purged from the settings. The caches are purged one after the other, from the inside outwards:
    /// a page is made anew from values that are new already.
    pub fn new(settings: &config::Purge, caches: Vec<Arc<dyn Cache>>) -> Self {
        Self {
            urls: settings.urls.0.clone(),
            surrogate_keys: settings.surrogate_keys.0.clone(),
            entries: settings.redis_keys.0.clone(),
            caches,
        }
    }

    /// Adds what `event` made stale.
    fn collect(&self, event: &BlogEvent, found: &mut Found) {
        let facts = Facts::of(event);
        let Found { urls, surrogate_keys, entries, bad } = found;
        for (patterns, keys, kind) in [
            (&self.urls, urls, Kind::Url),
            (&self.surrogate_keys, surrogate_keys, Kind::Key),
            (&self.entries, entries, Kind::Key),
        ] {
            for filled in patterns.iter().flat_map(|pattern| facts.fill(pattern, kind)) {
                match filled {
                    Ok(key) => {
                        keys.insert(key);
                    }
                    Err(why) => bad.push(why),
                }
            }
        }
    }
}

impl BatchHandler for Purge {
    type Event = BlogEvent;

    async fn handle(&self, events: &[Envelope<BlogEvent>], context: &mut BatchContext) -> Result<(), Error> {
        let mut found = Found::default();
        for envelope in events {
            self.collect(&envelope.event, &mut found);
        }
        let bad = found.bad.first().map(|why| Error::invalid(why.clone()).detail("bad_key"));
        match bad {
            // The batch is cut until the event stands alone; its good keys are purged then.
            Some(bad) if events.len() > 1 => return Err(bad),
            Some(_) | None => {}
        }
        let stale = found.stale();
        for cache in &self.caches {
            context.request("cache", cache.purge(&stale)).await.map_err(error)?;
        }
        bad.map_or(Ok(()), Err)
    }
}

fn error(error: CacheError) -> Error {
    let said = error.to_string();
    match error {
        CacheError::Away(_) => Error::outage("cache", said),
        CacheError::Refused { .. } => Error::dead(said).detail("cache_refused"),
    }
}

/// What a batch made stale, each thing once.
#[derive(Debug, Default)]
struct Found {
    urls: BTreeSet<String>,
    surrogate_keys: BTreeSet<String>,
    entries: BTreeSet<String>,
    bad: Vec<String>,
}

impl Found {
    fn stale(self) -> Stale {
        Stale {
            urls: self.urls.into_iter().collect(),
            surrogate_keys: self.surrogate_keys.into_iter().collect(),
            entries: self.entries.into_iter().collect(),
        }
    }
}

/// What a filled pattern is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Url,
    Key,
}

/// What an event says; empty: it does not.
#[derive(Clone, Copy, Debug, Default)]
struct Facts<'e> {
    author: &'e str,
    blog: &'e str,
    comment_id: &'e str,
    post_id: &'e str,
    section: &'e str,
    slug: &'e str,
    tags: &'e [String],
}

impl<'e> Facts<'e> {
    fn of(event: &'e BlogEvent) -> Self {
        let text = |text: &'e Option<String>| text.as_deref().unwrap_or_default();
        let all = Self { blog: event.blog(), ..Self::default() };
        match event {
            BlogEvent::CommentCreated(event) => Self {
                author: &event.author,
                comment_id: &event.comment_id,
                post_id: &event.post_id,
                section: text(&event.section),
                slug: &event.slug,
                ..all
            },
            BlogEvent::CommentRemoved(event) => {
                Self { comment_id: &event.comment_id, post_id: &event.post_id, ..all }
            }
            BlogEvent::CommentUpdated(event) => {
                Self { comment_id: &event.comment_id, post_id: &event.post_id, ..all }
            }
            BlogEvent::PostPublished(event) => Self {
                author: &event.author,
                post_id: &event.post_id,
                section: text(&event.section),
                slug: &event.slug,
                tags: &event.tags,
                ..all
            },
            BlogEvent::PostRemoved(event) => Self { post_id: &event.post_id, ..all },
            BlogEvent::PostUpdated(event) => Self {
                post_id: &event.post_id,
                section: text(&event.section),
                slug: text(&event.slug),
                ..all
            },
            BlogEvent::UserRemoved(event) => Self { author: &event.user_id, ..all },
            BlogEvent::UserUpdated(event) => Self { author: &event.user_id, ..all },
            BlogEvent::ImageUploaded(_) | BlogEvent::UserRegistered(_) => all,
        }
    }

    /// Fills a pattern: not at all where a value is lacking, once a tag where it names the tag.
    fn fill(&self, pattern: &Pattern, kind: Kind) -> Vec<Result<String, String>> {
        if pattern.names(Field::Tag) {
            let tags = self.tags.iter().filter(|tag| !tag.is_empty());
            tags.filter_map(|tag| self.filled(pattern, kind, tag)).collect()
        } else {
            self.filled(pattern, kind, "").into_iter().collect()
        }
    }

    fn filled(&self, pattern: &Pattern, kind: Kind, tag: &str) -> Option<Result<String, String>> {
        let mut key = String::new();
        for piece in pattern.pieces() {
            match piece {
                Piece::Text(text) => key.push_str(text),
                Piece::Value { field, slashes } => {
                    let value = self.value(*field, tag);
                    if value.is_empty() {
                        return None;
                    }
                    if let Some(why) = unfit(value, kind) {
                        return Some(Err(format!("{pattern}: {value:.64?} {why}")));
                    }
                    match kind {
                        Kind::Url => encode(value, *slashes, &mut key),
                        Kind::Key => key.push_str(value),
                    }
                }
            }
            if key.len() > LONGEST_KEY {
                return Some(Err(format!("{pattern}: the key is longer than {LONGEST_KEY} bytes")));
            }
        }
        if kind == Kind::Url && climbs(&key) {
            return Some(Err(format!("{pattern}: {key:.64?} has . or .. as a part of its path")));
        }
        Some(Ok(key))
    }

    fn value<'v>(&'v self, field: Field, tag: &'v str) -> &'v str {
        match field {
            Field::Author => self.author,
            Field::Blog => self.blog,
            Field::CommentId => self.comment_id,
            Field::PostId => self.post_id,
            Field::Section => self.section,
            Field::Slug => self.slug,
            Field::Tag => tag,
        }
    }
}

/// Says why a value cannot stand in a key: it could stand for many keys, end the key, or end the line.
fn unfit(value: &str, kind: Kind) -> Option<&'static str> {
    if value.contains('*') {
        Some("holds *, which stands for many keys")
    } else if value.chars().any(char::is_control) {
        Some("holds a control character")
    } else if kind == Kind::Key && value.chars().any(char::is_whitespace) {
        Some("holds white space, which separates keys")
    } else {
        None
    }
}

/// Percent-encodes a value, so that it stays in its segment of the path, or in its parameter. Where `slashes` is set it
/// may be several segments, whose leading slash gives way to one that is there.
fn encode(value: &str, slashes: bool, key: &mut String) {
    let value = if slashes && key.ends_with('/') { value.trim_start_matches('/') } else { value };
    let in_query = key.contains('?');
    for byte in value.bytes() {
        let char = char::from(byte);
        let plain = byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || (!in_query && b"!$&'(),;=:@+".contains(&byte))
            || (slashes && byte == b'/');
        if plain {
            key.push(char);
        } else {
            key.push('%');
            for digit in [byte >> 4, byte & 15] {
                key.extend(char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
}

/// Says whether a part of an address's path leads upwards, or nowhere: who parses the address takes it away.
fn climbs(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|part| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

/// The longest address or key, in bytes.
const LONGEST_KEY: usize = 2_048;
