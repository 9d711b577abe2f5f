//! Postroom, the mailroom for a blog's events.

pub use postroom_core as core;

pub mod codec;
pub mod event;
pub mod handler;
pub mod ports;
pub mod runtime;

pub use runtime::Group;
