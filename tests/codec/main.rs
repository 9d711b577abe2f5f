//! The codec from outside: what it reads, what it refuses, what it costs.

#![expect(clippy::unwrap_used, reason = "tests")]

mod events;
mod records;
