//! Postroom
