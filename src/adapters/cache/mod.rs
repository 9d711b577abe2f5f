//! Caches: HTTP caches that understand `PURGE`, and Redis.

mod http;
mod redis;

pub use http::HttpCache;
pub use redis::RedisCache;
