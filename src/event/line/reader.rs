//! Events from a file, line by line.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read};

use sha2::{Digest, Sha256};

use crate::event::line::LineError;
use crate::event::line::import::event;
use crate::event::{BlogEvent, EventId, UserRegistered};

/// The longest line, in bytes.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// Reads events, one a line. Empty lines are passed over; a bad line is an error and the next one is read all the
/// same, except after an error of the file itself.
///
/// It remembers which comment belongs to which post, since later lines may name the comment alone.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    line: u64,
    posts: HashMap<String, String>,
    failed: bool,
}

impl<R: BufRead> Lines<R> {
    /// Starts to read.
    pub fn new(source: R) -> Self {
        Self { source, line: 0, posts: HashMap::new(), failed: false }
    }

    /// Returns the number of the line that was read last, from 1; 0 before the first.
    pub fn line(&self) -> u64 {
        self.line
    }

    fn read(&mut self) -> Result<Option<BlogEvent>, String> {
        loop {
            let mut bytes = Vec::new();
            let read = (&mut self.source).take(MAX_LINE).read_until(b'\n', &mut bytes).map_err(|error| {
                self.failed = true;
                format!("the file cannot be read further: {error}")
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.line = self.line.saturating_add(1);
            if !bytes.ends_with(b"\n") && u64::try_from(read).is_ok_and(|read| read == MAX_LINE) {
                self.failed = true;
                return Err(format!("longer than {MAX_LINE} bytes"));
            }
            let text = std::str::from_utf8(&bytes).map_err(|error| format!("not UTF-8: {error}"))?;
            let text = text.trim_start_matches('\u{feff}').trim();
            if text.is_empty() {
                continue;
            }
            let event = event(text, |comment| self.posts.get(comment).cloned())?;
            if let BlogEvent::CommentCreated(created) = &event {
                self.posts.insert(created.comment_id.clone(), created.post_id.clone());
            }
            return Ok(Some(event));
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<BlogEvent, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.read() {
            Ok(event) => event.map(Ok),
            Err(message) => Some(Err(LineError { line: self.line, message })),
        }
    }
}

/// Makes the registrations that events lack: one for each person who does something in them and was not
/// registered by them, at the time of that person's earliest deed, in the order of those times. The ids are
/// the same in every run.
pub fn missing_registrations<'e>(
    events: impl IntoIterator<Item = &'e BlogEvent>,
    subscribed: Subscribed,
) -> Vec<UserRegistered> {
    let mut registered = HashSet::new();
    let mut earliest: HashMap<(&str, &str), i64> = HashMap::new();
    for event in events {
        let Some(user) = event.actor() else { continue };
        let person = (event.blog(), user);
        if matches!(event, BlogEvent::UserRegistered(_)) {
            registered.insert(person);
        }
        let first = earliest.entry(person).or_insert_with(|| event.occurred_at());
        *first = event.occurred_at().min(*first);
    }
    let mut missing: Vec<_> =
        earliest.into_iter().filter(|(person, _)| !registered.contains(person)).collect();
    missing.sort_by_key(|((blog, user), time)| (*time, *blog, *user));
    let registration = |((blog, user), occurred_at): ((&str, &str), i64)| UserRegistered {
        event_id: registration_id(blog, user),
        blog: blog.to_owned(),
        user_id: user.to_owned(),
        name: Some(user.to_owned()),
        occurred_at,
        subscribed: matches!(subscribed, Subscribed::Everybody),
        ..UserRegistered::default()
    };
    missing.into_iter().map(registration).collect()
}

fn registration_id(blog: &str, user: &str) -> String {
    let id = format!("registered:{blog}:{user}");
    if EventId::parse(&id).is_ok() {
        return id;
    }
    let digest = Sha256::digest(id.as_bytes());
    let hexadecimal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("registered:{hexadecimal}")
}

/// Who of the people that [`missing_registrations`] registers hears of new posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// All of them.
    Everybody,
    /// None of them.
    Nobody,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_of_an_odd_name_has_a_clean_id_all_the_same() {
        let names = ["ana", "a\nb", &"x".repeat(300)];

        let ids = names.map(|name| registration_id("b", name));

        assert_eq!(ids.first().map(String::as_str), Some("registered:b:ana"));
        assert!(ids.iter().all(|id| EventId::parse(id).is_ok()), "{ids:?}");
    }
}
