//! What can happen in the world, and when.

use std::collections::BTreeSet;

use super::edge::{Command, CommitSent};
use super::group::{MemberId, Membership};
use super::history::{Letter, Process};
use super::store::{Move, Row};
use super::worker::{Reply, Step};
use crate::input::Input;
use crate::output::DeadLetter;
use crate::record::{Generation, Moment, Offset, RunId};

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    // In a process: waits while it stands still, ends with it.
    Tell(Process, Box<Input<Letter>>),
    Tick(Process),
    Poll(Process),
    Command(Process, Command),
    Rejoin(Process),
    Assignment(Process, Membership, BTreeSet<usize>),
    Heartbeat(Process),
    CallbackEnd(Process, u64),
    CallbackLimit(Process, u64),
    Close(Process),
    CloseLimit(Process),
    Work(Process, RunId, Step),
    StoreReply(Process, RunId, Reply),
    ClaimReply(Process, usize, Generation, Option<Row>),
    CommitReply(Process, usize, Generation, Result<Offset, ()>),
    // On the way to a server: happens whatever becomes of the sender.
    CommitArrives(Process, Box<CommitSent>),
    DeadLetterArrives(Process, Box<DeadLetter<Letter>>),
    ClaimArrives(Process, usize, Generation),
    TransactionArrives(Process, RunId, usize, Move, Box<[Letter]>, Box<[Letter]>, Generation),
    ReadArrives(Process, RunId, usize),
    JoinArrives(MemberId, BTreeSet<usize>, u32),
    // In the world.
    Produce(usize),
    JoinLimit(u32),
    Expire(Process, MemberId),
    Thaw(Process),
    Restart(usize),
    Nemesis,
    Calm,
}

/// A happening with its time; of one moment's, the first decided is the first to happen.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) at: Moment,
    pub(super) sequence: u64,
    pub(super) what: Happening,
}

impl Happening {
    /// Returns the process in which it happens.
    pub(super) fn process(&self) -> Option<Process> {
        match self {
            Self::Tell(process, _)
            | Self::Tick(process)
            | Self::Poll(process)
            | Self::Command(process, _)
            | Self::Rejoin(process)
            | Self::Assignment(process, _, _)
            | Self::Heartbeat(process)
            | Self::CallbackEnd(process, _)
            | Self::CallbackLimit(process, _)
            | Self::Close(process)
            | Self::CloseLimit(process)
            | Self::Work(process, _, _)
            | Self::StoreReply(process, _, _)
            | Self::ClaimReply(process, _, _, _)
            | Self::CommitReply(process, _, _, _) => Some(*process),
            Self::CommitArrives(_, _)
            | Self::DeadLetterArrives(_, _)
            | Self::ClaimArrives(_, _, _)
            | Self::TransactionArrives(..)
            | Self::ReadArrives(_, _, _)
            | Self::JoinArrives(..)
            | Self::Produce(_)
            | Self::JoinLimit(_)
            | Self::Expire(_, _)
            | Self::Thaw(_)
            | Self::Restart(_)
            | Self::Nemesis
            | Self::Calm => None,
        }
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}
