//! What the tables of `project` and the contacts of `notify` hold of an object, and what an event makes of it: one
//! rule for every engine.

use crate::adapters::store::life::{Life, State, Writes};
use crate::ports::{
    CommentChange, CommentFact, PersonChange, PersonContent, PersonFact, PostChange, PostContent, PostFact,
};

/// A post.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PostRow {
    pub(crate) life: Life,
    pub(crate) author: Option<String>,
    pub(crate) content: PostContent,
    pub(crate) content_time: i64,
}

impl PostRow {
    /// Returns the row of an object that was never heard of.
    pub(crate) fn stub() -> Self {
        Self { life: Life::stub(), author: None, content: PostContent::default(), content_time: i64::MIN }
    }

    /// Returns the row after a change; `None` where it stays as it is.
    pub(crate) fn after(&self, change: &PostChange) -> Option<Self> {
        let origin = &change.origin;
        match &change.fact {
            PostFact::Published { author, content } => {
                let life = self.life.created(origin)?;
                let filled = match self.life.filled(origin, self.content_time) {
                    Writes::New => (content.clone(), origin.time),
                    Writes::Gaps => (over(&self.content, content), self.content_time),
                    Writes::Nothing => (self.content.clone(), self.content_time),
                };
                Some(Self { life, author: Some(author.clone()), content: filled.0, content_time: filled.1 })
            }
            PostFact::Removed => Some(Self { life: self.life.removed(origin)?, ..self.clone() }),
            PostFact::Updated(content) => match self.life.updated(origin, self.content_time) {
                Writes::New => {
                    let content = over(content, &self.content);
                    Some(Self { content, content_time: origin.time, ..self.clone() })
                }
                Writes::Gaps | Writes::Nothing => None,
            },
        }
    }

    /// Returns whom it is counted for, where it counts.
    pub(crate) fn counted(&self) -> Option<&str> {
        self.author.as_deref().filter(|_| self.life.is_alive())
    }
}

/// Takes the fields of `upper`, and those of `lower` where it has none.
fn over(upper: &PostContent, lower: &PostContent) -> PostContent {
    let field = |upper: &Option<String>, lower: &Option<String>| upper.clone().or_else(|| lower.clone());
    PostContent {
        title: field(&upper.title, &lower.title),
        slug: field(&upper.slug, &lower.slug),
        section: field(&upper.section, &lower.section),
    }
}

/// A comment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CommentRow {
    pub(crate) life: Life,
    pub(crate) post: Option<String>,
    pub(crate) author: Option<String>,
}

impl CommentRow {
    /// Returns the row of an object that was never heard of.
    pub(crate) fn stub() -> Self {
        Self { life: Life::stub(), post: None, author: None }
    }

    /// Returns the row after a change; `None` where it stays as it is.
    pub(crate) fn after(&self, change: &CommentChange) -> Option<Self> {
        match &change.fact {
            CommentFact::Created { post, author } => {
                let life = self.life.created(&change.origin)?;
                Some(Self { life, post: Some(post.clone()), author: Some(author.clone()) })
            }
            CommentFact::Removed => {
                let life = self.life.removed(&change.origin)?;
                Some(Self { life, post: self.post.clone(), author: self.author.clone() })
            }
        }
    }

    /// Returns whom it is counted for, where it counts.
    pub(crate) fn counted(&self) -> Option<(&str, &str)> {
        self.post.as_deref().zip(self.author.as_deref()).filter(|_| self.life.is_alive())
    }
}

/// A person's account.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PersonRow {
    pub(crate) life: Life,
    pub(crate) content: PersonContent,
    pub(crate) content_time: i64,
}

impl PersonRow {
    /// Returns the row of an object that was never heard of.
    pub(crate) fn stub() -> Self {
        Self { life: Life::stub(), content: PersonContent::default(), content_time: i64::MIN }
    }

    /// Returns the row after a change; `None` where it stays as it is.
    pub(crate) fn after(&self, change: &PersonChange) -> Option<Self> {
        let origin = &change.origin;
        let (life, content, content_time) = match &change.fact {
            PersonFact::Registered(content) => {
                let life = self.life.created(origin)?;
                match self.life.filled(origin, self.content_time) {
                    Writes::New => (life, content.clone(), origin.time),
                    Writes::Gaps => (life, person_over(&self.content, content), self.content_time),
                    Writes::Nothing => (life, self.content.clone(), self.content_time),
                }
            }
            PersonFact::Removed => (self.life.removed(origin)?, self.content.clone(), self.content_time),
            PersonFact::Updated(content) => match self.life.updated(origin, self.content_time) {
                Writes::New => (self.life.clone(), person_over(content, &self.content), origin.time),
                Writes::Gaps | Writes::Nothing => return None,
            },
        };
        let content = match life.state {
            State::Stub | State::Alive => content,
            // The address of a closed account is forgotten, also where it comes after the removal.
            State::Removed | State::Absent => PersonContent { email: None, subscribed: None, ..content },
        };
        Some(Self { life, content, content_time })
    }
}

fn person_over(upper: &PersonContent, lower: &PersonContent) -> PersonContent {
    PersonContent {
        name: upper.name.clone().or_else(|| lower.name.clone()),
        email: upper.email.clone().or_else(|| lower.email.clone()),
        subscribed: upper.subscribed.or(lower.subscribed),
        locale: upper.locale.clone().or_else(|| lower.locale.clone()),
    }
}
