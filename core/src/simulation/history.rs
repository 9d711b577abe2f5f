//! What happened: the list that the checker judges and that a replay prints.

use std::fmt;
use std::time::Duration;

use crate::failure::{Class, Failure, Reason};
use crate::input::{Input, Outcome, RunResult};
use crate::output::Output;
use crate::record::{Generation, Moment, Offset, RunId};
use crate::settings::{Claims, Ordering};

/// One process of one member: a restarted member is a new process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u32);

/// The payload that the simulated group handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The index of its partition.
    pub place: usize,
    /// Its offset there.
    pub offset: Offset,
    /// Its key, if it has one.
    pub key: Option<u32>,
    /// Its content.
    pub body: u64,
}

/// A finished history.
#[derive(Clone, Debug)]
pub struct History {
    /// What the group promises.
    pub rules: Rules,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

/// The settings that a checker must know.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Which records wait for each other.
    pub ordering: Ordering,
    /// Whether effects live in the store.
    pub claims: Claims,
    /// The budget of a record.
    pub max_attempts: u32,
    /// The longest delay before a retry, unless the other side asked for more.
    pub retry_cap: Duration,
    /// How many runs a process may have in flight.
    pub concurrency: usize,
    /// How many partitions there are.
    pub partitions: usize,
    /// Whether the store's row follows Kafka's commit.
    pub rows: RowPolicy,
}

/// What a group with effects in the store does with its row where a commit passes dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowPolicy {
    /// The row is moved before Kafka's commit.
    Follow,
    /// The row stays behind until the next transaction: dead records may be met again.
    StayBehind,
}

/// One line of a history.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When, since the world began.
    pub at: Moment,
    /// Who.
    pub process: Process,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum What {
    /// A record came into a log.
    Produced(Letter),
    /// A process started.
    Started,
    /// A process was killed.
    Crashed,
    /// A process stands still.
    Frozen,
    /// It goes on.
    Thawed,
    /// A process ended by itself.
    Left,
    /// A processor was told something.
    Told(Input<Letter>),
    /// A processor asked for something.
    Asked(Output<Letter>),
    /// A processor broke one of its own invariants.
    Unsound(String),
    /// A processor left a deadline in the past again and again.
    BusyLoop,
    /// A handler began with a record.
    Began(RunId, Letter),
    /// An effect became visible, or durable in the store under an epoch.
    Effect {
        /// Of which record.
        letter: Letter,
        /// By which assignment.
        generation: Generation,
        /// By which run.
        run: RunId,
        /// The store's epoch, for effects in the store.
        epoch: Option<u64>,
    },
    /// A rule skipped the record, or it was stored for later.
    Settled(Letter),
    /// The store raised an epoch.
    Epoch {
        /// Of which partition.
        place: usize,
        /// The new epoch.
        epoch: u64,
        /// For which assignment.
        generation: Generation,
    },
    /// The dead-letter topic took a record.
    DeadLetterStored(Letter, Reason),
    /// The broker took a commit.
    CommitApplied {
        /// Of which partition.
        place: usize,
        /// By which assignment.
        generation: Generation,
        /// What it names.
        next: Offset,
        /// Whether the member was current.
        sender: Sender,
    },
    /// The broker did not take a commit.
    CommitRefused {
        /// Of which partition.
        place: usize,
        /// By which assignment.
        generation: Generation,
    },
    /// Somebody erased or damaged a commit's metadata.
    HintDamaged(usize),
    /// Everything is finished and committed.
    Finished,
    /// Nothing moves, although every fault is over.
    Stuck(String),
}

/// Who sent a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A member of the current generation.
    Current,
    /// Somebody else, whom a careless broker believes.
    Stale,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at: Duration = self.at.since_start();
        write!(f, "{:>12.6}s  p{:<3} ", at.as_secs_f64(), self.process.0)?;
        match &self.what {
            What::Produced(letter) => write!(f, "log      {letter} produced"),
            What::Told(input) => write!(f, "→ told   {}", Told(input)),
            What::Asked(output) => write!(f, "← asks   {}", Asked(output)),
            What::Began(run, letter) => write!(f, "handler  run {} begins {letter}", run.0),
            What::Effect { letter, generation, run, epoch } => {
                write!(f, "EFFECT   {letter} by run {} of g{}", run.0, generation.0)?;
                epoch.map_or(Ok(()), |epoch| write!(f, " under epoch {epoch}"))
            }
            What::Settled(letter) => write!(f, "SETTLED  {letter} skipped or deferred"),
            What::Epoch { place, epoch, generation } => {
                write!(f, "store    {place}: epoch {epoch} for g{}", generation.0)
            }
            What::DeadLetterStored(letter, reason) => write!(f, "DEAD     {letter} stored: {reason}"),
            What::CommitApplied { place, generation, next, sender } => {
                write!(f, "COMMIT   {place}: next {next} by g{} ({sender:?})", generation.0)
            }
            What::CommitRefused { place, generation } => {
                write!(f, "commit   {place}: refused for g{}", generation.0)
            }
            other @ (What::Started
            | What::Crashed
            | What::Frozen
            | What::Thawed
            | What::Left
            | What::Unsound(_)
            | What::BusyLoop
            | What::HintDamaged(_)
            | What::Finished
            | What::Stuck(_)) => write!(f, "*        {other:?}"),
        }
    }
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.place, self.offset)?;
        self.key.map_or(Ok(()), |key| write!(f, " key {key}"))
    }
}

struct Told<'a>(&'a Input<Letter>);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Input::Records { generation, epoch, records } => {
                write!(f, "Records g{} epoch {}:", generation.0, epoch.0)?;
                records.iter().try_for_each(|record| write!(f, " {}", record.offset))
            }
            Input::Completed { run, result } => {
                write!(f, "Completed run {}:", run.0)?;
                match result {
                    RunResult::Done => write!(f, " done"),
                    RunResult::Failed(failure) => write!(f, " whole run {}", Short(failure)),
                    RunResult::Each(outcomes) => outcomes.iter().try_for_each(|outcome| match outcome {
                        Outcome::Failed(failure) => write!(f, " {}", Short(failure)),
                        Outcome::Done | Outcome::Skipped | Outcome::Deferred => write!(f, " {outcome:?}"),
                    }),
                }
            }
            other => write!(f, "{other:?}"),
        }
    }
}

struct Asked<'a>(&'a Output<Letter>);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Output::Dispatch(run) => {
                write!(f, "Dispatch run {} g{} attempt {}:", run.id.0, run.generation.0, run.attempt.0)?;
                run.records.iter().try_for_each(|(_, letter)| write!(f, " {letter},"))
            }
            Output::Commit { partition, generation, next, finished } => {
                write!(f, "Commit {partition} g{} next {next} finished", generation.0)?;
                finished.iter().try_for_each(|range| write!(f, " {}..{}", range.from, range.to))
            }
            Output::DeadLetter(dead) => {
                write!(f, "DeadLetter {} attempts {}: {}", dead.payload, dead.attempts, dead.reason)
            }
            Output::RetryScheduled { ticket, attempt, at, .. } => {
                write!(f, "RetryScheduled {} after attempt {} at {:?}", ticket.offset, attempt.0, at)
            }
            other => write!(f, "{other:?}"),
        }
    }
}

struct Short<'a>(&'a Failure);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.class {
            Class::Transient { ended, .. } => write!(f, "Transient({ended:?})"),
            Class::Outage(dependency) => write!(f, "Outage({})", dependency.0),
            Class::Dead(reason) => write!(f, "Dead({reason})"),
            Class::Fatal => write!(f, "Fatal"),
        }
    }
}
