//! Postroom, the mailroom for a blog's events.

pub mod codec;
pub mod config;
pub mod event;
pub mod ports;
pub mod telemetry;
