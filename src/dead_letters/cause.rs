//! What dead letters have in common: who failed, how, and what was said, without the numbers and names in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::dead_letters::entry::Entry;

/// Dead letters of one cause: one consumer group, reason, detail, and message without what differs from letter to letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Four or more hexadecimal digits, such as `a3f1`: the same for the same cause in every process, and as many of them as
    /// it takes to tell it from the others.
    pub id: String,
    /// The whole id: sixteen digits.
    pub whole_id: String,
    /// The consumer group.
    pub group: String,
    /// The reason.
    pub reason: String,
    /// The detail beneath it; empty where there is none.
    pub detail: String,
    /// What was said, with `#` for numbers and ids and `…` for quoted texts and addresses.
    pub message: String,
    /// How many letters.
    pub count: usize,
    /// Their source topics.
    pub topics: BTreeSet<String>,
    /// Their event types, as far as their headers say.
    pub event_types: BTreeSet<String>,
    /// The id of the newest.
    pub newest: String,
    /// When one of them first failed, as RFC 3339.
    pub first_failed_at: Option<String>,
    /// When one of them last failed, as RFC 3339.
    pub last_failed_at: Option<String>,
}

impl Cause {
    /// Begins with one letter, the newest.
    pub(super) fn of(entry: &Entry) -> Self {
        let mut cause = Self {
            id: entry.cause.clone(),
            whole_id: entry.cause.clone(),
            group: entry.group.clone(),
            reason: entry.reason.clone(),
            detail: entry.detail.clone().unwrap_or_default(),
            message: normalised(entry.message.as_deref().unwrap_or_default()),
            count: 0,
            topics: BTreeSet::new(),
            event_types: BTreeSet::new(),
            newest: entry.id.clone(),
            first_failed_at: None,
            last_failed_at: entry.failed_at.clone(),
        };
        cause.add(entry);
        cause
    }

    /// Adds an older letter.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.count += 1;
        self.topics.insert(entry.origin.topic.clone());
        self.event_types.extend(entry.event_type.clone());
        let failed = entry.first_failed_at.as_ref().or(entry.failed_at.as_ref());
        if let Some(failed) = failed
            && self.first_failed_at.as_ref().is_none_or(|first| failed < first)
        {
            self.first_failed_at = Some(failed.clone());
        }
    }
}

/// Returns the whole id of a cause: the same for the same parts, whatever their numbers and names.
pub(super) fn whole_id(group: &str, reason: &str, detail: Option<&str>, message: Option<&str>) -> String {
    let message = normalised(message.unwrap_or_default());
    let mut hash = Sha256::new();
    for part in [group, reason, detail.unwrap_or_default(), &message] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(DIGITS / 2).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// Cuts each id down to what tells it from `all` others: four digits, or a few more.
pub(super) fn shortened(id: &str, all: &BTreeSet<String>) -> String {
    let shared = |length: &usize| {
        let start = id.get(..*length);
        all.iter().filter(|other| start.is_some_and(|start| other.starts_with(start))).count() < 2
    };
    let length = (SHORTEST..DIGITS).find(shared).unwrap_or(DIGITS);
    id.get(..length).unwrap_or(id).to_owned()
}

/// Takes out of a message what differs between letters of the same cause: quoted texts, addresses, numbers and ids.
pub(super) fn normalised(message: &str) -> String {
    let start: String = message.chars().take(READ).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let bare = without_quoted(&start);
    let mut text = String::new();
    for word in bare.split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        if word.contains("://") || word.contains('@') {
            text.push('…');
        } else {
            push_without_numbers(word, &mut text);
        }
        if text.len() > LONGEST {
            break;
        }
    }
    text
}

/// Replaces what stands in quotes. A single quote within a word is an apostrophe.
fn without_quoted(message: &str) -> String {
    let mut text = String::new();
    let mut chars = message.chars().peekable();
    let mut before = ' ';
    while let Some(char) = chars.next() {
        let opens = matches!(char, '"' | '`') || (char == '\'' && !before.is_alphanumeric());
        before = char;
        text.push(char);
        if !opens {
            continue;
        }
        let rest: String = chars.clone().collect();
        let Some(end) = closing(&rest, char) else { continue };
        text.push('…');
        text.push(char);
        for _ in 0..=end {
            chars.next();
        }
    }
    text
}

/// Finds the quote that closes; counted in characters.
fn closing(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let mut chars = rest.chars().enumerate().peekable();
    while let Some((place, char)) = chars.next() {
        let ends_word = chars.peek().is_none_or(|(_, next)| !next.is_alphanumeric());
        if char == quote && !escaped && (quote != '\'' || ends_word) {
            return Some(place);
        }
        escaped = char == '\\' && !escaped;
    }
    None
}

/// Writes a word with `#` for each part that holds a digit. Dashes and underscores join parts, as in ids.
fn push_without_numbers(word: &str, text: &mut String) {
    let joins = |char: char| char.is_alphanumeric() || char == '-' || char == '_';
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|char| joins(char) != joins(first)).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(length);
        if joins(first) && part.chars().any(char::is_numeric) {
            text.push('#');
        } else {
            text.push_str(part);
        }
        rest = behind;
    }
}

const DIGITS: usize = 16;
const SHORTEST: usize = 4;

/// How much of a message counts, in characters.
const READ: usize = 1_000;

/// The longest message, about, in bytes.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_letters_of_one_cause_is_taken_out() {
        for (message, normal) in [
            ("550 mailbox unavailable for ada@example.org", "# mailbox unavailable for …"),
            ("post_id \"news/a b\" is empty", "post_id \"…\" is empty"),
            ("\"a \\\"quoted\\\" b\" of 'two words' and `three`", "\"…\" of '…' and `…`"),
            ("it didn't end within 30s and wasn't told", "it didn't end within # and wasn't told"),
            ("row 550e8400-e29b-41d4-a716-446655440000: bad", "row #: bad"),
            ("blog.posts/3/88 at offset 12, of 7", "blog.posts/#/# at offset #, of #"),
            ("GET http://10.0.0.1:80/x answered 503", "GET … answered #"),
            ("an open \" quote 5", "an open \" quote #"),
            ("", ""),
            ("文章 ９ 缺失", "文章 # 缺失"),
        ] {
            assert_eq!(normalised(message), normal, "{message}");
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        assert!(normalised(&"word ".repeat(10_000)).len() < 400);
        assert!(normalised(&"'".repeat(2_000)).len() < 10_000);
    }

    #[test]
    fn ids_are_as_short_as_they_can_be_told_apart() {
        let all = ["a3f1000000000000", "a3f1200000000000", "b000000000000000"].map(str::to_owned).into();

        assert_eq!(shortened("b000000000000000", &all), "b000");
        assert_eq!(shortened("a3f1000000000000", &all), "a3f10");
        assert_eq!(shortened("a3f1200000000000", &all), "a3f12");
    }
}
