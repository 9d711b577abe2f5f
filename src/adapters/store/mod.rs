//! The store: positions, attempts and dedupe, and the tables that effects write.
//!
//! How a row answers to an event is one rule (`life`) for every engine; the engine loads and saves rows.

mod any;
mod document;
mod fitting;
mod life;
mod look;
mod plain;
mod postgres;
mod query;
mod reading;
mod requests;
mod rows;
mod segment;
mod snippet;
mod sqlite;

pub use any::AnyStore;
pub use look::{StoreLook, look};
pub use postgres::{PostgresSettings, PostgresStore};
pub use reading::{
    AuthorLine, NotificationRow, PositionRow, PostLine, ReasonCount, RequestAttempt, RequestState,
    RequestStory, Summary, ThumbnailFileLine, ThumbnailLine, WaitingDeliveries,
};
pub use sqlite::{SqliteSettings, SqliteStore};
