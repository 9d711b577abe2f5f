//! What people and machines are told: metrics, log, health, status.
//!
//! [`Metrics`] holds every family; [`Metrics::group`] gives the driver of one consumer group a [`GroupMetrics`],
//! whose methods are named after happenings: each counts *and* logs, so that the two cannot disagree.
//! [`GroupMetrics::publish`] puts the group's state on the [`Board`], which the pages of [`http`] read without
//! waiting for anybody.

#![expect(clippy::disallowed_methods, reason = "timestamps, ages and rates: telemetry reads the clock")]

mod board;
mod families;
mod group;
pub mod http;
mod journal;
mod letters;
pub mod log;
mod outcome;
mod reference;
mod repeats;
mod status;
mod topic;
mod verdict;

pub use board::{Board, Health};
pub use families::{BuildInfo, Family, Metrics, MetricsError};
pub use group::{GroupMetrics, GroupShape, TopicShape};
pub use journal::{Deed, DeedEnd, Described, Journal, JournalEvent, RecordPlace};
pub use outcome::{CommitOutcome, Ending, MetadataFault, RebalanceKind, RegistryAnswer, RetryReason};
pub use reference::reference;
pub use status::{
    GroupReport, GroupState, GroupStatus, Head, OutboxStatus, PartitionReport, PartitionStatus, Status,
    Totals,
};
pub use verdict::Verdict;
