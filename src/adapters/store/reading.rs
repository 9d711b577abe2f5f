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

/// A notification that an event caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationRow {
    /// The user who is to hear of it.
    pub recipient: String,
    /// `comment`, `post` or `welcome`.
    pub reason: String,
    /// The post, comment or user that it is about.
    pub subject: String,
    /// When it was due, in milliseconds since the Unix epoch.
    pub time: i64,
}
