//! The outside world, as the ports see it.

pub mod mail_sink;
pub mod registry;
pub mod smtp;
pub mod store;
