//! The outside world, as the ports see it.

pub mod registry;
pub mod smtp;
pub mod store;
