//! The outside world, as the ports see it.

pub mod cache;
pub mod mail_sink;
pub mod objects;
pub mod pictures;
pub mod registry;
pub mod smtp;
pub mod store;
pub mod web;
