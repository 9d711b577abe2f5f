//! What the store tells people: for status pages, summaries and comparisons.

use postroom_core::{Offset, TopicPartition};

use crate::ports::{Epoch, RequestEnding};

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
    /// Announcements that are not written for everybody yet, of posts and to endpoints.
    pub fan_outs_open: u64,
    /// Mails and deliveries that are due or on their way; not those that wait for a later time or an address.
    pub requests_under_way: u64,
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

/// What waits for one endpoint. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingDeliveries {
    /// The endpoint.
    pub endpoint: String,
    /// How many deliveries are not at their end.
    pub waiting: u64,
    /// Since when the first of them waits.
    pub since: i64,
    /// When it is tried again, where it was put off; `None` while it is on its way.
    pub next_at: Option<i64>,
    /// What was said of it last.
    pub reply: Option<String>,
}

/// What became of one request that an event caused. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestStory {
    /// Its event id: part of the `Message-ID`, the `webhook-id`.
    pub id: String,
    /// `mail` or `webhook`.
    pub kind: String,
    /// The recipient or the endpoint.
    pub key: String,
    /// Of a mail: `comment`, `post` or `welcome`.
    pub reason: Option<String>,
    /// Where it stands.
    pub state: RequestState,
    /// From when on it is, or was, due.
    pub not_before: i64,
    /// When it was first asked for.
    pub requested_at: i64,
    /// What the other side said last.
    pub reply: Option<String>,
    /// The attempts, in their order.
    pub attempts: Vec<RequestAttempt>,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// Behind an earlier one of its recipient or endpoint.
    Queued,
    /// Due, or waiting for its time.
    Waiting,
    /// A mail whose recipient has no address yet.
    WithoutAddress,
    /// Published, or about to be.
    Out,
    /// At its end.
    Closed {
        /// Since when.
        at: i64,
        /// How it ended.
        ending: Option<RequestEnding>,
    },
}

/// One attempt to carry a request out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestAttempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it began.
    pub began_at: i64,
    /// When it ended; `None` while it runs, or where it ended without a word.
    pub ended_at: Option<i64>,
    /// What the other side said, up to 300 bytes.
    pub reply: Option<String>,
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
