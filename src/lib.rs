//! Postroom, the mailroom for a blog's events.

pub mod codec;
pub mod dead_letters;
pub mod event;
pub mod kafka;
pub mod ports;
