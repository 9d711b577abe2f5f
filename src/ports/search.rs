//! Full-text search over posts and comments.

use std::ops::Range;

use crate::ports::{Origin, StoreFuture};

/// Finds posts and comments. Every implementation passes the contract suite in the testkit.
pub trait Search: Send + Sync + 'static {
    /// Returns a page of what a request finds, best first. Any text is a request: there is no syntax error.
    fn search<'a>(&'a self, request: &'a SearchRequest) -> StoreFuture<'a, SearchPage>;
}

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchRequest {
    /// Words that must all be there, `"phrases"`, `-unwanted`, `begin*`, `author:`, `tag:`, `type:post|comment`,
    /// `after:` and `before:` with a date. What is none of these is a word. Read up to [`LONGEST_REQUEST`]
    /// characters.
    pub text: String,
    /// By this user alone.
    pub author: Option<String>,
    /// With this tag alone.
    pub tag: Option<String>,
    /// Of this kind alone.
    pub kind: Option<DocumentKind>,
    /// Not older, in milliseconds since the Unix epoch.
    pub after: Option<i64>,
    /// Older, in milliseconds since the Unix epoch.
    pub before: Option<i64>,
    /// How many hits, up to [`LARGEST_PAGE`].
    pub limit: u32,
    /// How many hits to leave out first.
    pub offset: u32,
}

/// The most characters of a request's text that are read.
pub const LONGEST_REQUEST: usize = 1_000;

/// The most hits of a page.
pub const LARGEST_PAGE: u32 = 100;

/// A page of hits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchPage {
    /// The hits: best first, among equals the newer first.
    pub hits: Vec<SearchHit>,
    /// How many there are over all pages.
    pub total: u64,
    /// Whether everything was looked at. A request that very many documents answer is judged on those that came
    /// last: then there may be more.
    pub is_whole: bool,
}

/// A post or a comment that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchHit {
    /// Which of the two.
    pub kind: DocumentKind,
    /// Its id.
    pub id: String,
    /// The post: itself, or the one that is commented on.
    pub post: String,
    /// The title of that post, where it is known and has one.
    pub post_title: Option<String>,
    /// The path of that post on the site, where it is known.
    pub post_slug: Option<String>,
    /// Who wrote it.
    pub author: String,
    /// Its title with the places that were found; empty where it has none.
    pub title: Snippet,
    /// Its path on the site.
    pub slug: Option<String>,
    /// The part of the site it belongs to.
    pub section: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it was written, in milliseconds since the Unix epoch.
    pub time: i64,
    /// How well it fits: higher is better, 0 where only filters were asked for.
    pub score: f64,
    /// Where it was found.
    pub snippet: Snippet,
    /// Whether only the beginning of its text is searched.
    pub is_cut: bool,
}

/// A piece of text, with the places that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snippet {
    /// The text as it was written: to be escaped by whoever shows it.
    pub text: String,
    /// Ranges of bytes in it, in their order and apart.
    pub marks: Vec<Range<usize>>,
}

impl Snippet {
    /// Returns the text in pieces, each with whether it was found.
    pub fn pieces(&self) -> Vec<(&str, bool)> {
        let mut pieces = Vec::new();
        let mut at = 0;
        let piece = |range: Range<usize>| self.text.get(range).unwrap_or_default();
        for mark in &self.marks {
            pieces.push((piece(at..mark.start), false));
            pieces.push((piece(mark.clone()), true));
            at = mark.end;
        }
        pieces.push((piece(at..self.text.len()), false));
        pieces.retain(|(text, _)| !text.is_empty());
        pieces
    }
}

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DocumentKind {
    /// A post.
    Post,
    /// A comment.
    Comment,
}

impl DocumentKind {
    /// Returns its name, as in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Post => "post",
            Self::Comment => "comment",
        }
    }

    /// Reads a name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "post" | "posts" => Some(Self::Post),
            "comment" | "comments" => Some(Self::Comment),
            _ => None,
        }
    }
}

/// Something happened to a post or a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentChange {
    /// Which of the two.
    pub kind: DocumentKind,
    /// Its id.
    pub id: String,
    /// The event that says so.
    pub origin: Origin,
    /// What happened.
    pub fact: DocumentFact,
}

/// The life of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentFact {
    /// It became visible.
    Created {
        /// The post that is commented on, known or not; `None` for posts.
        post: Option<String>,
        /// Who wrote it.
        author: String,
        /// How its text is written, such as `markdown` or `html`; the same for later changes of it.
        format: Option<String>,
        /// What is searched of it.
        content: DocumentContent,
    },
    /// It is no longer visible: its text is forgotten.
    Removed,
    /// It was changed; `None` leaves a field as it is.
    Updated(DocumentContent),
}

/// What is searched of a document, and what is shown of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentContent {
    /// Its title.
    pub title: Option<String>,
    /// Its path on the site.
    pub slug: Option<String>,
    /// The part of the site it belongs to.
    pub section: Option<String>,
    /// Its tags.
    pub tags: Option<Vec<String>>,
    /// Its text.
    pub body: Option<DocumentBody>,
}

/// The text of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentBody {
    /// The text, with its mark-up.
    pub text: String,
    /// Whether its end was left out.
    pub is_cut: bool,
}
