//! What tests of one's own handlers and stores are made of.

pub mod store_contract;
