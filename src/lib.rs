//! Postroom, the mailroom for a blog's events.

pub mod adapters;
pub mod codec;
pub mod event;
pub mod ports;
