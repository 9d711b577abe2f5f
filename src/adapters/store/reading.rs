//! What the store tells people: for status pages, summaries and comparisons.

use postroom_core::{Offset, TopicPartition};

use crate::ports::Epoch;

/// What the tables hold, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Posts that are visible.
    pub posts: u64,
    /// Comments that are visible, those of removed posts and of posts that never came included.
    pub comments: u64,
    /// Accounts that are open.
    pub people: u64,
    /// Everybody who ever wrote, changed or removed something.
    pub authors: u64,
    /// Notifications, by reason, in the order of the reasons' names.
    pub notifications: Vec<ReasonCount>,
    /// Announcements that are not written for everybody yet.
    pub fan_outs_open: u64,
    /// The posts with the most visible comments, most first, then by id.
    pub top_posts: Vec<PostLine>,
    /// The authors with the most visible posts and comments, most first, then by id.
    pub top_authors: Vec<AuthorLine>,
}

/// How many notifications there are for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// `comment`, `post` or `welcome`.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// A post in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostLine {
    /// The post.
    pub post: String,
    /// Its title, where it is known and has one.
    pub title: Option<String>,
    /// Its visible comments.
    pub comments: u64,
}

/// An author in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorLine {
    /// The user.
    pub author: String,
    /// Their visible posts.
    pub posts: u64,
    /// Their visible comments.
    pub comments: u64,
    /// When they last did something, in milliseconds since the Unix epoch.
    pub last_activity: Option<i64>,
}

/// The position of one group in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionRow {
    /// The consumer group.
    pub group: String,
    /// The partition.
    pub partition: TopicPartition,
    /// How often it was claimed.
    pub epoch: Epoch,
    /// The next offset to apply; `None` where nothing was applied yet.
    pub next: Option<Offset>,
}

/// What was made of one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThumbnailLine {
    /// The event that told of it.
    pub event: String,
    /// Where the picture lies in the object store.
    pub object_key: String,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// The post it belongs to.
    pub post: Option<String>,
    /// What it is, by its bytes.
    pub media_type: String,
    /// Its width as it is seen, in pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// A tiny picture, as a `data:` address.
    pub placeholder: String,
    /// When it was uploaded, in milliseconds since the Unix epoch.
    pub time: i64,
    /// The thumbnails, narrowest first.
    pub files: Vec<ThumbnailFileLine>,
}

/// The file of one thumbnail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThumbnailFileLine {
    /// Its key in the object store.
    pub name: String,
    /// What it is.
    pub media_type: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
}
