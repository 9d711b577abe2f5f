//! The outside world, as the ports see it.

pub mod objects;
pub mod pictures;
pub mod registry;
pub mod store;
