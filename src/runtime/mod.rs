//! The thin shell around the core: await one happening, tell the processor, execute what it answers.

mod age;
mod application;
mod batched;
mod claims;
mod clock;
mod decoded;
mod driver;
mod ending;
mod group;
mod helpers;
mod inbox;
mod kept;
mod letters;
mod logs;
mod noting;
mod observe;
mod owed;
mod relay;
mod report;
mod schemas;
mod service;
pub mod shutdown;
mod single;
mod start;
mod tally;
mod threads;
#[cfg(test)]
mod trial;
mod wiring;
mod worker;
mod workers;

pub use application::{Postroom, RunError};
pub use claims::Refusal;
pub use clock::Clock;
pub use ending::Ending;
pub use group::{Group, Position};
pub(crate) use noting::describe;
pub use service::{Broker, Service, StartError};

pub use wiring::{connection, dead_letter_route};
pub(crate) use wiring::{registering, registry_server};

/// What the test bench shares with the workers.
pub(crate) mod bench {
    pub(crate) use super::worker::{Desk, RunEnd, SharedClaim};
    pub(crate) use super::workers::run_to_end;
}
