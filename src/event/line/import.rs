//! One line to one event, with the names of fields that other exports use.

use serde_json::{Map, Value};

use crate::event::{
    BlogEvent, CommentCreated, CommentRemoved, CommentUpdated, EventId, EventRecord, ImageUploaded,
    PostPublished, PostRemoved, PostUpdated, UserRegistered, UserRemoved, UserUpdated, time,
};

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct LineError {
    /// Which line, from 1.
    pub line: u64,
    /// What is wrong with it, and why.
    pub message: String,
}

/// Turns a line into an event. `known_post` is the post of a comment that the line names without its post.
pub(crate) fn event(text: &str, known_post: impl Fn(&str) -> Option<String>) -> Result<BlogEvent, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(object) = value else { return Err("not a JSON object".to_owned()) };
    let line = Line(&object);
    let kind = line.required(&["type"])?.replacen('_', ".", 1);
    let event = match kind.as_str() {
        "comment.created" => line.comment_created(known_post).map(BlogEvent::CommentCreated),
        "comment.removed" | "comment.deleted" => {
            line.comment_removed(known_post).map(BlogEvent::CommentRemoved)
        }
        "comment.updated" => line.comment_updated(known_post).map(BlogEvent::CommentUpdated),
        "image.uploaded" => line.image_uploaded().map(BlogEvent::ImageUploaded),
        "post.published" => line.post_published().map(BlogEvent::PostPublished),
        "post.removed" | "post.deleted" => line.post_removed().map(BlogEvent::PostRemoved),
        "post.updated" => line.post_updated().map(BlogEvent::PostUpdated),
        "user.registered" => line.user_registered().map(BlogEvent::UserRegistered),
        "user.removed" | "user.deleted" => line.user_removed().map(BlogEvent::UserRemoved),
        "user.updated" => line.user_updated().map(BlogEvent::UserUpdated),
        other => return Err(unknown_type(other)),
    }?;
    EventId::parse(event.event_id())?;
    Ok(event)
}

fn unknown_type(name: &str) -> String {
    let names = BlogEvent::TYPES.map(|known| known.name);
    let nearest = names.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    match nearest {
        Some(nearest) if strsim::jaro(nearest, name) > 0.7 => {
            format!("there is no event type {name:?}: did you mean {nearest:?}?")
        }
        _ => format!("there is no event type {name:?}; there are {}", names.join(", ")),
    }
}

struct Line<'l>(&'l Map<String, Value>);

impl Line<'_> {
    fn post_published(&self) -> Result<PostPublished, String> {
        Ok(PostPublished {
            event_id: self.event_id()?,
            blog: self.blog()?,
            post_id: self.post_id()?,
            author: self.required(&["author"])?,
            title: self.text(&["title"])?,
            slug: self.text(&["slug"])?.unwrap_or_default(),
            section: self.text(&["section"])?,
            format: self.text(&["format"])?,
            body: self.text(&["body"])?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
            tags: self.texts("tags")?,
            images: self.texts("images")?,
            body_bytes: self.integer("body_bytes")?,
        })
    }

    fn post_updated(&self) -> Result<PostUpdated, String> {
        Ok(PostUpdated {
            event_id: self.event_id()?,
            blog: self.blog()?,
            post_id: self.post_id()?,
            editor: self.editor()?,
            title: self.text(&["title"])?,
            slug: self.text(&["slug"])?,
            section: self.text(&["section"])?,
            body: self.text(&["body"])?,
            body_bytes: self.integer("body_bytes")?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
        })
    }

    fn post_removed(&self) -> Result<PostRemoved, String> {
        Ok(PostRemoved {
            event_id: self.event_id()?,
            blog: self.blog()?,
            post_id: self.post_id()?,
            editor: self.editor()?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
        })
    }

    fn comment_created(&self, known: impl Fn(&str) -> Option<String>) -> Result<CommentCreated, String> {
        let comment_id = self.comment_id()?;
        let parent_comment_id = match self.text(&["parent_comment_id"])? {
            Some(parent) => Some(parent),
            None => self.text(&["in_reply_to"])?.filter(|parent| parent.starts_with("comment:")),
        };
        Ok(CommentCreated {
            event_id: self.event_id()?,
            blog: self.blog()?,
            post_id: self.post_of(&comment_id, parent_comment_id.as_deref(), known)?,
            comment_id,
            author: self.required(&["author"])?,
            title: self.text(&["title"])?,
            format: self.text(&["format"])?,
            body: self.text(&["body"])?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
            parent_comment_id,
            slug: self.text(&["slug"])?.unwrap_or_default(),
            section: self.text(&["section"])?,
            images: self.texts("images")?,
            body_bytes: self.integer("body_bytes")?,
        })
    }

    fn comment_updated(&self, known: impl Fn(&str) -> Option<String>) -> Result<CommentUpdated, String> {
        let comment_id = self.comment_id()?;
        Ok(CommentUpdated {
            event_id: self.event_id()?,
            blog: self.blog()?,
            post_id: self.post_of(&comment_id, None, known)?,
            comment_id,
            editor: self.editor()?,
            title: self.text(&["title"])?,
            body: self.text(&["body"])?,
            body_bytes: self.integer("body_bytes")?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
        })
    }

    fn comment_removed(&self, known: impl Fn(&str) -> Option<String>) -> Result<CommentRemoved, String> {
        let comment_id = self.comment_id()?;
        Ok(CommentRemoved {
            event_id: self.event_id()?,
            blog: self.blog()?,
            post_id: self.post_of(&comment_id, None, known)?,
            comment_id,
            editor: self.editor()?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
        })
    }

    fn user_registered(&self) -> Result<UserRegistered, String> {
        let new = UserRegistered::default();
        Ok(UserRegistered {
            event_id: self.event_id()?,
            blog: self.blog()?,
            user_id: self.user_id()?,
            name: self.text(&["name"])?,
            email: self.text(&["email"])?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
            subscribed: self.truth("subscribed")?.unwrap_or(new.subscribed),
            locale: self.text(&["locale"])?.unwrap_or(new.locale),
        })
    }

    fn user_updated(&self) -> Result<UserUpdated, String> {
        Ok(UserUpdated {
            event_id: self.event_id()?,
            blog: self.blog()?,
            user_id: self.user_id()?,
            name: self.text(&["name"])?,
            email: self.text(&["email"])?,
            subscribed: self.truth("subscribed")?,
            locale: self.text(&["locale"])?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
        })
    }

    fn user_removed(&self) -> Result<UserRemoved, String> {
        Ok(UserRemoved {
            event_id: self.event_id()?,
            blog: self.blog()?,
            user_id: self.user_id()?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
        })
    }

    fn image_uploaded(&self) -> Result<ImageUploaded, String> {
        let image = ImageUploaded {
            event_id: self.event_id()?,
            blog: self.blog()?,
            object_key: self.required(&["object_key"])?,
            media_type: self.required(&["media_type"])?,
            sha256: self.required(&["sha256"])?,
            size: self.integer("size")?.ok_or("it needs \"size\"")?,
            post_id: self.text(&["post_id"])?,
            author: self.text(&["author"])?,
            occurred_at: self.occurred_at()?,
            recorded_at: self.time(&["recorded_at"])?,
        };
        image.check()?;
        Ok(image)
    }

    fn event_id(&self) -> Result<String, String> {
        self.required(&["event_id"])
    }

    fn blog(&self) -> Result<String, String> {
        Ok(self.text(&["blog"])?.unwrap_or_default())
    }

    fn post_id(&self) -> Result<String, String> {
        self.required(&["post_id", "id"])
    }

    fn comment_id(&self) -> Result<String, String> {
        self.required(&["comment_id", "id"])
    }

    fn user_id(&self) -> Result<String, String> {
        self.required(&["user_id", "id"])
    }

    fn editor(&self) -> Result<String, String> {
        self.required(&["editor", "author"])
    }

    fn occurred_at(&self) -> Result<i64, String> {
        self.time(&["occurred_at", "time"])?.ok_or_else(|| missing(&["occurred_at", "time"]))
    }

    /// Finds the post of a comment: named in the line, known from the comment's own line or from the comment
    /// that it answers, or the folder that its path lies in.
    fn post_of(
        &self,
        comment: &str,
        parent: Option<&str>,
        known: impl Fn(&str) -> Option<String>,
    ) -> Result<String, String> {
        if let Some(post) = self.text(&["post_id"])? {
            return Ok(post);
        }
        if let Some(post) = self.text(&["in_reply_to"])?.filter(|post| !post.starts_with("comment:")) {
            return Ok(post);
        }
        if let Some(post) = known(comment).or_else(|| parent.and_then(known)) {
            return Ok(post);
        }
        match self.text(&["slug"])?.as_deref().and_then(|slug| slug.rsplit_once('/')) {
            Some((folder, _)) => Ok(format!("post:{folder}")),
            None => Err(format!(
                "the post of {comment:?} is not known: it needs \"post_id\", or the comment's creation before it"
            )),
        }
    }

    fn required(&self, names: &[&str]) -> Result<String, String> {
        match self.text(names)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(format!("\"{}\" is empty", names.join("\" or \""))),
            None => Err(missing(names)),
        }
    }

    fn text(&self, names: &[&str]) -> Result<Option<String>, String> {
        match self.find(names) {
            None => Ok(None),
            Some((name, Value::String(text))) if text.contains('\0') => {
                Err(format!("\"{name}\" contains the character NUL"))
            }
            Some((_, Value::String(text))) => Ok(Some(text.clone())),
            Some((name, other)) => Err(unfit(name, "text", other)),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        match self.find(&[name]) {
            None => Ok(Vec::new()),
            Some((_, Value::Array(items))) => items
                .iter()
                .map(|item| {
                    item.as_str().map(str::to_owned).ok_or_else(|| unfit(name, "a list of texts", item))
                })
                .collect(),
            Some((name, other)) => Err(unfit(name, "a list of texts", other)),
        }
    }

    fn integer(&self, name: &str) -> Result<Option<i64>, String> {
        let Some((name, value)) = self.find(&[name]) else { return Ok(None) };
        value.as_i64().map(Some).ok_or_else(|| unfit(name, "an integer", value))
    }

    fn truth(&self, name: &str) -> Result<Option<bool>, String> {
        let Some((name, value)) = self.find(&[name]) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| unfit(name, "true or false", value))
    }

    fn time(&self, names: &[&str]) -> Result<Option<i64>, String> {
        match self.find(names) {
            None => Ok(None),
            Some((name, Value::String(text))) => time::parse(text)
                .map(Some)
                .map_err(|why| format!("\"{name}\" is no time like 2021-03-14T15:09:26Z: {why}")),
            Some((name, Value::Number(millis))) => match millis.as_i64() {
                Some(millis @ time::EARLIEST..=time::LATEST) => Ok(Some(millis)),
                _ => Err(format!("\"{name}\" is outside the years 1 to 9999")),
            },
            Some((name, other)) => Err(unfit(name, "a time", other)),
        }
    }

    fn find<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &Value)> {
        let found =
            |name: &&'n str| self.0.get(*name).filter(|value| !value.is_null()).map(|value| (*name, value));
        names.iter().find_map(found)
    }
}

fn missing(names: &[&str]) -> String {
    format!("it needs \"{}\"", names.join("\" or \""))
}

fn unfit(name: &str, wanted: &str, value: &Value) -> String {
    format!("\"{name}\" must be {wanted}, not {value:.60}", value = value.to_string())
}
