//! What tests of one's own handlers and stores are made of.

pub mod store_contract;
mod test_bench;

pub use test_bench::{Report, TestBench};
