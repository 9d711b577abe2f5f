//! What tests of one's own handlers and stores are made of.

mod play;
mod report;
pub mod search_contract;
pub mod store_contract;
mod test_bench;

pub use report::Report;
pub use test_bench::TestBench;
