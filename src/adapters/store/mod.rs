//! The store: positions, attempts and dedupe, and the tables that effects write.
//!
//! How a row answers to an event is one rule (`life`) for every engine; the engine loads and saves rows.

mod life;
mod reading;
mod sqlite;

pub use reading::{AuthorLine, NotificationRow, PositionRow, PostLine, ReasonCount, Summary};
pub use sqlite::{SqliteSettings, SqliteStore};
