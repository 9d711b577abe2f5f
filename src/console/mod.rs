//! The pages and their API.

pub(crate) mod search;
