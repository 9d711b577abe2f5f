//! Texts with placeholders that an event fills, such as `post-{post_id}`.

use std::fmt;

use figment::value::Value;
use url::Url;

use crate::config::part::{Leaf, Refusal, scalar};

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

/// A part of a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Stands as it is.
    Text(String),
    /// What an event says.
    Value {
        /// Which of its values.
        field: Field,
        /// `{+slug}`: slashes in the value stay what they are.
        slashes: bool,
    },
}

/// A value of an event that a [`Pattern`] may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Who wrote the post or comment; the user, in events of users.
    Author,
    /// Which blog.
    Blog,
    /// The comment.
    CommentId,
    /// The post, also in events of comments.
    PostId,
    /// The part of the site.
    Section,
    /// The path on the site: a comment's own, in events of comments.
    Slug,
    /// Each of the tags.
    Tag,
}

impl Field {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Author, "author"),
        (Self::Blog, "blog"),
        (Self::CommentId, "comment_id"),
        (Self::PostId, "post_id"),
        (Self::Section, "section"),
        (Self::Slug, "slug"),
        (Self::Tag, "tag"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, word)| *word == name).map(|(field, _)| field)
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Names the placeholder that is not known, or the brace that is not closed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (inside, after) =
                behind.split_once('}').ok_or_else(|| format!("{text:?} has a {{ that is not closed"))?;
            let name = inside.strip_prefix('+').unwrap_or(inside);
            let field = Field::named(name).ok_or_else(|| {
                let known: Vec<_> = Field::ALL.iter().map(|(_, word)| format!("{{{word}}}")).collect();
                format!("{text:?} names {{{name}}}, which no event has; there are {}", known.join(", "))
            })?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Value { field, slashes: inside.starts_with('+') });
            rest = after;
        }
        if rest.contains('}') {
            return Err(format!("{text:?} has a }} that was not opened"));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// Returns its parts, in their order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Says whether it names a value.
    pub fn names(&self, wanted: Field) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Value { field, .. } if *field == wanted))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Keys with placeholders; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatterns(pub Vec<Pattern>);

impl Leaf for KeyPatterns {
    const KIND: &'static str = "a list of keys with placeholders";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write a list such as [\"post-{post_id}\"]";
        let read = |text: String| {
            if let Some(odd) =
                text.chars().find(|char| char.is_whitespace() || char.is_control() || *char == '*')
            {
                return Err(format!("{text:?} holds {odd:?}, which separates keys or stands for many"));
            }
            Pattern::parse(&text)
        };
        let patterns = texts(value).and_then(|texts| texts.into_iter().map(read).collect());
        patterns.map(Self).map_err(|why| Refusal::new(why, fix))
    }

    fn text(&self) -> String {
        list(&self.0)
    }
}

/// Addresses with placeholders in their path or query; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlPatterns(pub Vec<Pattern>);

impl Leaf for UrlPatterns {
    const KIND: &'static str = "a list of `http` or `https` addresses with placeholders";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write a list such as [\"http://127.0.0.1:6081/posts/{slug}\"]";
        let read = |text: String| {
            let pattern = Pattern::parse(&text)?;
            // Up to the first placeholder the address is fixed, and the server must be named there.
            let fixed = match pattern.pieces.first() {
                Some(Piece::Text(fixed)) => fixed.as_str(),
                Some(Piece::Value { .. }) | None => "",
            };
            let server = fixed.split_once("://").map_or("", |(_, rest)| rest);
            if pattern.pieces.len() > 1 && !server.contains('/') {
                return Err(format!(
                    "{text:?} does not name the server and a / before its first placeholder"
                ));
            }
            cache_url(fixed).map(|_url| pattern)
        };
        let patterns = texts(value).and_then(|texts| texts.into_iter().map(read).collect());
        patterns.map(Self).map_err(|why| Refusal::new(why, fix))
    }

    fn text(&self) -> String {
        list(&self.0)
    }
}

/// The address of a cache: `http` or `https`, without credentials or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheUrl(pub Url);

impl Leaf for CacheUrl {
    const KIND: &'static str = "an `http` or `https` address";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write an address such as \"http://127.0.0.1:6081/\"";
        let text = scalar(value).map_err(|kind| Refusal::new(format!("is {kind}"), fix))?;
        cache_url(text.trim()).map(Self).map_err(|why| Refusal::new(why, fix))
    }

    fn text(&self) -> String {
        format!("{:?}", self.0.as_str())
    }
}

fn cache_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not an address: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("{text:?} is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address holds credentials, which everybody could read".to_owned());
    }
    if url.fragment().is_some() {
        return Err(format!("{text:?} has a #, behind which nothing reaches a cache"));
    }
    Ok(url)
}

/// Takes a list, or one text whose items stand in lines or between commas.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    let items = match value {
        Value::Array(_, items) => items
            .iter()
            .map(|item| scalar(item).map_err(|kind| format!("holds {kind}, not text")))
            .collect::<Result<Vec<_>, _>>()?,
        Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..)
        | Value::Dict(..) => {
            let text = scalar(value).map_err(|kind| format!("is {kind}, not a list of texts"))?;
            let between = if text.trim().contains('\n') { '\n' } else { ',' };
            text.split(between).map(str::to_owned).collect()
        }
    };
    Ok(items.into_iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
}

fn list(patterns: &[Pattern]) -> String {
    let items: Vec<_> = patterns.iter().map(|pattern| format!("{:?}", pattern.text)).collect();
    format!("[{}]", items.join(", "))
}
