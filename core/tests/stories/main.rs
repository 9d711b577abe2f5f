//! Stories of one partition, told input by input: how it lives, and what becomes of records that fail.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod failures;
mod group;
mod life;
