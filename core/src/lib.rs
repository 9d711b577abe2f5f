//! The deterministic heart of Postroom.
//!
//! Every rule about order, batching, retry, commit, pause, drain and dead letters is one pure state machine,
//! the [`Processor`]. It is told what happened and answers what to do; it reads no clock, draws no
//! randomness of its own and does no I/O, so a log of its inputs replays byte for byte.
//!
//! The loop around it has three lines of life:
//!
//! ```
//! # use postroom_core::{Input, Moment, Processor, Settings};
//! let mut processor: Processor<&str> = Processor::new(Settings::default());
//! processor.handle(Moment::START, Input::Tick);
//! while let Some(output) = processor.poll_output() {
//!     // execute it
//! #   drop(output);
//! }
//! // sleep until processor.next_deadline(), or until something happens
//! ```
//!
//! # How it is put together
//!
//! The processor routes an input to the partition that it concerns; each rule is a small machine of its own:
//!
//! ```text
//!  Input ─► processor ─► partition ── claim · complete · dead_letter · release
//!               │            ├─ records   what is unfinished
//!               │            ├─ offsets   watermark, and what is finished above it
//!               │            ├─ lanes     who waits for whom; lane: one queue, one run in flight
//!               │            └─ commit    what was said to the broker
//!               └─ shared: runs in flight · timers · retry · circuit · flood · pressure ─► Output
//!
//!  claiming ─► active ─► draining ─► released        any phase ─► lost ─► released
//!      ▲          │
//!      └─ fenced ◄┘
//! ```

mod bugs;
mod circuit;
mod claim;
mod commit;
mod complete;
mod dead_letter;
mod failure;
mod flood;
mod input;
#[cfg(any(test, debug_assertions, feature = "simulation"))]
mod invariants;
mod lane;
mod lanes;
mod offsets;
mod output;
mod partition;
mod pressure;
mod processor;
mod record;
mod records;
mod release;
mod retry;
mod settings;
mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;
mod snapshot;
mod start;
mod timers;

#[cfg(feature = "simulation")]
pub use bugs::Bug;
pub use failure::{Class, Dependency, Ended, Failure, Reason};
pub use input::{Input, Outcome, Record, RunResult};
pub use output::{CircuitState, DeadLetter, HaltCause, Output, PauseCause, Run};
pub use processor::Processor;
pub use record::{
    Attempt, FetchEpoch, Generation, KeyHash, Moment, Offset, OffsetRange, Partition, RunId, Ticket, Topic,
    TopicPartition,
};
pub use settings::{Claims, Flood, Ordering, Pressure, Retry, Settings};
pub use snapshot::{PartitionPhase, PartitionSnapshot, Snapshot};
pub use start::{Adopt, Known, NewGroup, OnGap, Start, StartPolicy, StartRefusal, start};
