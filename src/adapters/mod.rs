//! The outside world, as the ports see it.

pub mod registry;
pub mod store;
pub mod web;
