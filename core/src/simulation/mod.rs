//! A simulated group: several real processors with a coordinator, a broker, a store and a nemesis, in
//! virtual time and in one thread. One seed gives everything, so a history replays to the letter.
//!
//! ```
//! let told = postroom_core::simulation::simulate(7, None);
//! let again = postroom_core::simulation::simulate(7, None);
//! assert_eq!(told.history.entries.len(), again.history.entries.len());
//! ```

#![expect(
    clippy::indexing_slicing,
    reason = "the world makes its own indices, and a wrong one must stop a simulation at once"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "narrator, traps and checker each speak of a few variants"
)]

mod batch;
mod broker;
pub mod checker;
mod driver;
mod edge;
mod group;
mod happening;
mod history;
mod member;
mod nemesis;
mod plan;
mod random;
mod reached;
mod rebalance;
mod script;
mod store;
mod window;
mod worker;
mod world;

pub use checker::{Anomaly, Finding, check};
pub use history::{Entry, History, Letter, Process, RowPolicy, Rules, Sender, What};
pub use reached::{Point, Reached};

use crate::bugs::Bug;

/// What came of one seed.
#[derive(Debug)]
pub struct Told {
    /// What happened.
    pub history: History,
    /// What is wrong with it: nothing, one hopes.
    pub findings: Vec<Finding>,
    /// What was met on the way.
    pub reached: Reached,
}

/// Lives through the history of `seed`, with a deliberate bug or without, and checks it.
pub fn simulate(seed: u64, bug: Option<Bug>) -> Told {
    let (history, reached) = world::World::new(seed, bug).run();
    let findings = check(&history);
    Told { history, findings, reached }
}
