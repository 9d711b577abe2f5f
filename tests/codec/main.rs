//! The codec from outside: what it reads, what it refuses, what it costs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]
#![expect(clippy::wildcard_enum_match_arm, reason = "tests")]

mod cloudevents;
mod corpus;
mod documentation;
mod events;
mod fields;
mod limits;
mod lines;
mod manifest;
mod own_types;
mod records;
mod sample;
mod strategies;
