//! Postroom, the mailroom for a blog's events.

pub use postroom_core as core;

pub mod cli;
pub mod codec;
pub mod config;
pub mod event;
pub mod handler;
pub mod ports;
pub mod runtime;
pub mod telemetry;

pub use runtime::Group;
