//! The object store: where pictures lie and thumbnails go.

use std::future::Future;
use std::pin::Pin;

/// The answer of an object store.
pub type ObjectFuture<'a, V> = Pin<Box<dyn Future<Output = Result<V, ObjectError>> + Send + 'a>>;

/// Objects by key. A key is a relative path with `/` between its parts; it never leaves the store's root.
pub trait Objects: Send + Sync + 'static {
    /// Reads an object of at most `limit` bytes.
    fn read<'a>(&'a self, key: &'a str, limit: u64) -> ObjectFuture<'a, Vec<u8>>;

    /// Writes an object whole: a reader sees all of it or none. One that is there is replaced. `media_type` is what a
    /// store that serves its objects itself calls it.
    fn write<'a>(&'a self, key: &'a str, bytes: Vec<u8>, media_type: &'a str) -> ObjectFuture<'a, ()>;
}

/// Why an object was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// There is no object of that key.
    #[error("there is no object {0}")]
    NotFound(String),
    /// The key is none: it would leave the store's root, or holds what no key may hold.
    #[error("{key:?} is no object key: {why}")]
    BadKey {
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The object is larger than may be read.
    #[error("the object {key} has {size} bytes, more than {limit}")]
    TooLarge {
        /// The key.
        key: String,
        /// Its size in bytes.
        size: u64,
        /// What may be read.
        limit: u64,
    },
    /// This object cannot be read or written as it stands, others may: it is no file, or its rights forbid it.
    #[error("the object {key} cannot be used: {why}")]
    Failed {
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The object store is away: try again later.
    #[error("the object store is not available: {0}")]
    Away(String),
}
