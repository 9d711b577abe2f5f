//! The caches before a site: where old pages and values lie until somebody takes them out.

use std::future::Future;
use std::pin::Pin;

/// The answer of a cache.
pub type CacheFuture<'a> = Pin<Box<dyn Future<Output = Result<(), CacheError>> + Send + 'a>>;

/// Something that holds copies.
pub trait Cache: Send + Sync + 'static {
    /// Takes out what this cache knows of: each cache looks at its own part of `stale` only. Once it answered, no copy
    /// from before the call is served any more. What is not there is no error.
    fn purge<'a>(&'a self, stale: &'a Stale) -> CacheFuture<'a>;
}

/// What is to go, each thing once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Addresses of pages.
    pub urls: Vec<String>,
    /// Keys that pages are tagged with. No key holds white space.
    pub surrogate_keys: Vec<String>,
    /// Keys of values.
    pub entries: Vec<String>,
}

/// Why something is still there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The cache is away, or not set up to be purged: try again later.
    #[error("the cache is not available: {0}")]
    Away(String),
    /// The cache will never take this key.
    #[error("the cache refuses {key:?}: {why}")]
    Refused {
        /// The address or key.
        key: String,
        /// What it says.
        why: String,
    },
}
