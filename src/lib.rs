//! Postroom, the mailroom for a blog's events.

pub use postroom_core as core;

pub mod adapters;
pub mod cli;
pub mod codec;
pub mod config;
pub mod console;
pub mod dead_letters;
pub mod effects;
pub mod event;
pub mod handler;
pub mod kafka;
pub mod ports;
pub mod runtime;
pub mod telemetry;
pub mod testkit;

pub use runtime::{Group, Postroom, RunError};
