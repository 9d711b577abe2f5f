//! The events of a blog, and the envelope in which they travel.

mod envelope;
mod raw;

pub use envelope::{Envelope, EventId, EventType};
pub use raw::{RawBatchBuilder, RawHeader, RawParts, RawRecord};
