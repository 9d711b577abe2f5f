//! The outside world, as the ports see it.

pub mod store;
