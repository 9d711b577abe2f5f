//! The ports' real implementations, and what else touches the world outside.

pub mod registry;
