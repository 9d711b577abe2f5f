//! Postroom against a raw loop, on a real Kafka: CPU time per record, as a ratio within one round.
//!
//! Each program runs in a process of its own (`raw`, `batch`, `record`); `rounds` starts them in turn, in an order
//! that changes, and prints the ratios. `bench/run` does everything.

mod batch;
mod event;
mod failure;
mod fill;
mod measure;
mod raw;
mod record;
mod rounds;
mod service;

use clap::{Args, Parser, Subcommand};

use failure::Failure;

#[derive(Parser)]
#[command(about = "Postroom against a raw rdkafka loop: CPU time per record")]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Makes the topic and fills it with events
    Fill(Work),
    /// A loop around rdkafka's BaseConsumer that decodes, and nothing else
    Raw(Work),
    /// A Postroom group with a batch handler that does nothing
    Batch(Work),
    /// A Postroom group with a handler a record, in the order of keys, that does nothing
    Record(Work),
    /// All three in turn, several times, as a table
    Rounds(Rounds),
}

/// What every program is told alike.
#[derive(Args, Clone)]
struct Work {
    /// The bootstrap address of the Kafka
    #[arg(long)]
    kafka: String,
    /// How many events there are
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How many of them are read before the measuring starts
    #[arg(long, default_value_t = 100_000)]
    warm_up: u64,
    /// What librdkafka may hold, in KiB (`queued.max.messages.kbytes`), in all programs alike
    #[arg(long, default_value_t = 256)]
    queue_kib: u32,
}

#[derive(Args)]
struct Rounds {
    #[command(flatten)]
    work: Work,
    /// How often each program runs
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Prints JSON instead of a table
    #[arg(long)]
    json: bool,
    /// The seed of the order within the rounds
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<(), Failure> {
    match Command::parse().verb {
        Verb::Fill(work) => fill::fill(&work),
        Verb::Raw(work) => print(&raw::run(&work)?),
        Verb::Batch(work) => print(&batch::run(&work)?),
        Verb::Record(work) => print(&record::run(&work)?),
        Verb::Rounds(rounds) => rounds::run(&rounds),
    }
}

#[expect(clippy::print_stdout, reason = "the result is what the caller reads")]
fn print(measured: &measure::Measured) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(measured)?);
    Ok(())
}
