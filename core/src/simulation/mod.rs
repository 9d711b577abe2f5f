//! A simulated group.
