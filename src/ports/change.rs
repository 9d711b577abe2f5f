//! Changes to the store's tables: effects make them, the store's engine carries them out.
//!
//! They say what happened to what, not which rows to write, so that every engine can follow. How a row answers
//! is written down once, beside the engines (`adapters::store`).

use crate::event::EventId;
use crate::ports::DocumentChange;

/// The most bytes of an id of a post, a comment, a person or an object. Effects refuse an event with a longer one, and every
/// engine a change: an entry of an index of PostgreSQL takes no more than 2,704 bytes, of two ids together.
pub const LONGEST_ID: usize = 1_024;

/// One change to a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Somebody did something on the blog: moves the last activity, never backwards.
    Active {
        /// Who.
        user: String,
        /// When, in milliseconds since the Unix epoch.
        time: i64,
    },
    /// Something happened to a comment: moves the counts of its post and of its author.
    Comment(CommentChange),
    /// Something happened to an account: moves what mail to that person needs.
    Contact(PersonChange),
    /// Something happened to a post or a comment that can be found.
    Document(Box<DocumentChange>),
    /// Something happened to a person's account.
    Person(PersonChange),
    /// Something happened to a post: moves its author's count.
    Post(PostChange),
    /// A request of the outbox was carried out, passed over or given up: its row is closed.
    RequestClosed {
        /// The request's event id.
        id: String,
        /// How it ended.
        ending: RequestEnding,
        /// What the other side said, in a line.
        reply: String,
        /// When, in milliseconds since the Unix epoch.
        time: i64,
    },
    /// A user's own statement (one `INSERT`, `UPDATE`, `DELETE`, `REPLACE`, `WITH` or `CREATE`), with parameters
    /// `?1`, `?2`, …
    Statement {
        /// The statement.
        sql: String,
        /// Its parameters.
        params: Vec<Param>,
    },
    /// Whether new posts are announced to somebody, from a time on. Announcements of posts that are older than
    /// the change's arrival but not older than its time are put right.
    Subscription(SubscriptionChange),
    /// A comment was written: notifies those who commented before it and the post's author, but never its writer.
    ThreadComment(ThreadComment),
    /// A post was published: its first publisher is the author that hears of its comments, also of those that
    /// came before; and it is announced to subscribers, by one row that is expanded in chunks.
    ThreadPost(ThreadPost),
    /// A post was published or changed: moves what mail about it says.
    ThreadText(ThreadText),
    /// Endpoints that want events of this type are told, by one row that is expanded in chunks; nothing where there
    /// is none.
    Webhooks(WebhookEvent),
    /// Thumbnails of a picture lie in the object store.
    Thumbnails(ThumbnailsMade),
    /// Greets somebody who registered, once.
    Welcome(Welcome),
}

impl Change {
    /// Says whether it is one of our effects' own, not a statement of a user's handler.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self, Self::Statement { .. })
    }

    /// Says whether it only tells that the other side has a request: true whoever owns its record.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::RequestClosed { ending: RequestEnding::Done, .. })
    }
}

/// How a request of the outbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEnding {
    /// The other side has it.
    Done,
    /// It was no longer wanted.
    Withdrawn,
    /// It is a dead letter. Its reservation stays as it is, as it does where it was withdrawn: whose attempt is over says so.
    Dead,
    /// It is a dead letter because nobody knows whether the other side has it: so says the ledger to whoever reserves it
    /// next, with the name of whoever left it so.
    Unknown,
}

/// Where an event stands among the others of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The event.
    pub event: EventId,
    /// When it happened, in milliseconds since the Unix epoch.
    pub time: i64,
    /// How it came.
    pub arrival: Arrival,
}

/// How an event came: decides what counts as later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// From its own topic, in the order of offsets: it is later than all that came before.
    InOrder,
    /// A replay, or on a foreign topic: source times are compared.
    OutOfOrder,
}

/// What happened to a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostChange {
    /// The post.
    pub post: String,
    /// The event that says so.
    pub origin: Origin,
    /// What happened.
    pub fact: PostFact,
}

/// The life of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostFact {
    /// It became visible.
    Published {
        /// Who wrote it.
        author: String,
        /// What is shown of it.
        content: PostContent,
    },
    /// It is no longer visible.
    Removed,
    /// It was changed; `None` leaves a field as it is.
    Updated(PostContent),
}

/// What is shown of a post in lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostContent {
    /// Its title.
    pub title: Option<String>,
    /// Its path on the site.
    pub slug: Option<String>,
    /// The part of the site it belongs to.
    pub section: Option<String>,
}

/// What happened to a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommentChange {
    /// The comment.
    pub comment: String,
    /// The event that says so.
    pub origin: Origin,
    /// What happened.
    pub fact: CommentFact,
}

/// The life of a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommentFact {
    /// It was written.
    Created {
        /// The post it belongs to, known or not.
        post: String,
        /// Who wrote it.
        author: String,
    },
    /// It is no longer visible.
    Removed,
}

/// What happened to a person's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonChange {
    /// The user.
    pub user: String,
    /// The event that says so.
    pub origin: Origin,
    /// What happened.
    pub fact: PersonFact,
}

/// The life of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonFact {
    /// It was opened.
    Registered(PersonContent),
    /// It was closed: the address is forgotten, counts and activity stay.
    Removed,
    /// It was changed; `None` leaves a field as it is.
    Updated(PersonContent),
}

/// What is kept of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonContent {
    /// The name to show.
    pub name: Option<String>,
    /// The address that mail goes to.
    pub email: Option<String>,
    /// Whether new posts are announced to them.
    pub subscribed: Option<bool>,
    /// The language to write in.
    pub locale: Option<String>,
}

/// A comment in the thread of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadComment {
    /// The post, known or not.
    pub post: String,
    /// The comment.
    pub comment: String,
    /// Who wrote it.
    pub author: String,
    /// The event that says so.
    pub origin: Origin,
    /// Leaves a mail for each notification; `None` where no mail is sent.
    pub mail: Option<MailSource>,
}

/// A post that opens a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadPost {
    /// The post.
    pub post: String,
    /// Who published it.
    pub author: String,
    /// The event that says so.
    pub origin: Origin,
    /// Leaves a mail for each notification; `None` where no mail is sent.
    pub mail: Option<MailSource>,
}

/// What a post's mails say of it; `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadText {
    /// The post.
    pub post: String,
    /// The event that says so.
    pub origin: Origin,
    /// Its title.
    pub title: Option<String>,
    /// Its path on the site.
    pub slug: Option<String>,
    /// How its text is written.
    pub format: Option<String>,
    /// The first part of its text.
    pub text: Option<String>,
}

/// What mails about an event say beside what is known of its post and of people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailSource {
    /// Which blog.
    pub blog: String,
    /// How the text is written.
    pub format: Option<String>,
    /// The first part of a comment's text.
    pub text: Option<String>,
    /// How old the event may be, in milliseconds by the store's clock, so that mail is still asked for.
    pub max_age: i64,
}

/// An event that endpoints may be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEvent {
    /// The event.
    pub origin: Origin,
    /// Its type, such as `post.published`.
    pub event_type: String,
    /// Which blog.
    pub blog: String,
    /// The JSON to send.
    pub body: String,
    /// How old the event may be, in milliseconds by the store's clock, so that endpoints are still told.
    pub max_age: i64,
}

/// A change of somebody's subscription to new posts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// The user.
    pub user: String,
    /// From when on, in milliseconds since the Unix epoch.
    pub time: i64,
    /// Whether new posts are announced.
    pub subscribed: bool,
}

/// A greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Whom to greet.
    pub user: String,
    /// The event that says so.
    pub origin: Origin,
    /// Leaves a mail for it; `None` where no mail is sent.
    pub mail: Option<MailSource>,
}

/// What was made of a picture that an event told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThumbnailsMade {
    /// The event.
    pub event: EventId,
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
    /// The thumbnails.
    pub files: Vec<ThumbnailFile>,
}

/// One thumbnail in the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThumbnailFile {
    /// Its key.
    pub name: String,
    /// What it is.
    pub media_type: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

/// A parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// SQL's null.
    Null,
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}
