//! The events of a blog, and the envelope in which they travel.

mod blog;
mod comment;
mod envelope;
pub mod line;
mod media;
mod post;
mod raw;
mod record;
mod request;
pub(crate) mod time;
mod user;

pub use blog::BlogEvent;
pub(crate) use blog::each_event;
pub use comment::{CommentCreated, CommentRemoved, CommentUpdated};
pub use envelope::{Envelope, EventId, EventType};
pub use media::ImageUploaded;
pub use post::{PostPublished, PostRemoved, PostUpdated};
pub use raw::{RawBatchBuilder, RawHeader, RawParts, RawRecord};
pub use record::EventRecord;
pub use request::{MailRequested, WebhookRequested};
pub use user::{UserRegistered, UserRemoved, UserUpdated};
