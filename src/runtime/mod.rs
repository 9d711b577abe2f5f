//! The thin shell around the core: await one happening, tell the processor, execute what it answers.

mod batched;
mod claims;
mod clock;
mod driver;
mod group;
mod observe;

mod single;
mod status;
mod tally;
mod worker;
mod workers;

pub use claims::Refusal;
pub use clock::Clock;
pub use driver::Ending;
pub use group::{Group, Position};
pub use status::{GroupState, GroupView};

/// What the test bench shares with the workers.
pub(crate) mod bench {
    pub(crate) use super::worker::{Desk, RunEnd, SharedClaim};
    pub(crate) use super::workers::run_to_end;
}
