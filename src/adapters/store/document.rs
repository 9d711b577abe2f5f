//! How the row of a document answers to what happened to it: one rule for every engine.

use crate::adapters::store::life::{Life, Writes};
use crate::adapters::store::plain::plain;
use crate::ports::{DocumentBody, DocumentChange, DocumentContent, DocumentFact, DocumentKind};

/// Writes tags as they stand in the table.
pub(super) fn tags_text(tags: &[String]) -> String {
    serde_json::Value::from(tags).to_string()
}

/// Reads tags as they stand in the table.
pub(super) fn tags_of(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

/// A row of what can be found.
#[derive(Clone)]
pub(crate) struct Document {
    pub(crate) life: Life,
    pub(crate) post: Option<String>,
    pub(crate) author: Option<String>,
    pub(crate) format: Option<String>,
    /// The body is plain text, but for a stub's.
    pub(crate) content: DocumentContent,
    pub(crate) time: Option<i64>,
    pub(crate) content_time: i64,
}

impl Document {
    /// Returns the row of what was never heard of.
    pub(crate) fn stub() -> Self {
        Self {
            life: Life::stub(),
            post: None,
            author: None,
            format: None,
            content: DocumentContent::default(),
            time: None,
            content_time: i64::MIN,
        }
    }

    /// Returns the row after a change; `None` where it changes nothing.
    pub(crate) fn after(&self, change: &DocumentChange) -> Option<Self> {
        let origin = &change.origin;
        match &change.fact {
            DocumentFact::Created { post, author, format, content } => {
                let life = self.life.created(origin)?;
                let (content, content_time) = match self.life.filled(origin, self.content_time) {
                    Writes::New => (content.clone(), origin.time),
                    Writes::Gaps => (over(&self.content, content), self.content_time),
                    Writes::Nothing => (self.content.clone(), self.content_time),
                };
                // It may have come after its own removal.
                let content = if life.is_alive() {
                    without_markup(content, format.as_deref())
                } else {
                    DocumentContent::default()
                };
                Some(Self {
                    life,
                    post: post.clone(),
                    author: Some(author.clone()),
                    format: format.clone(),
                    content,
                    time: Some(origin.time),
                    content_time,
                })
            }
            DocumentFact::Removed => Some(Self {
                life: self.life.removed(origin)?,
                content: DocumentContent::default(),
                ..self.clone()
            }),
            DocumentFact::Updated(content) => match self.life.updated(origin, self.content_time) {
                Writes::New => {
                    let content = if self.life.is_alive() {
                        without_markup(content.clone(), self.format.as_deref())
                    } else {
                        content.clone()
                    };
                    let content = over(&content, &self.content);
                    Some(Self { content, content_time: origin.time, ..self.clone() })
                }
                Writes::Gaps | Writes::Nothing => None,
            },
        }
    }
}

fn without_markup(content: DocumentContent, format: Option<&str>) -> DocumentContent {
    let body = content.body.map(|body| DocumentBody { text: plain(format, &body.text), ..body });
    DocumentContent { body, ..content }
}

/// Takes the fields of `upper`, and those of `lower` where it has none.
fn over(upper: &DocumentContent, lower: &DocumentContent) -> DocumentContent {
    DocumentContent {
        title: upper.title.clone().or_else(|| lower.title.clone()),
        slug: upper.slug.clone().or_else(|| lower.slug.clone()),
        section: upper.section.clone().or_else(|| lower.section.clone()),
        tags: upper.tags.clone().or_else(|| lower.tags.clone()),
        body: upper.body.clone().or_else(|| lower.body.clone()),
    }
}

/// Returns the number that stands in the table.
pub(crate) const fn code(kind: DocumentKind) -> i64 {
    match kind {
        DocumentKind::Post => 0,
        DocumentKind::Comment => 1,
    }
}

/// Reads the number that stands in the table.
pub(crate) const fn of_code(code: i64) -> Option<DocumentKind> {
    match code {
        0 => Some(DocumentKind::Post),
        1 => Some(DocumentKind::Comment),
        _ => None,
    }
}
