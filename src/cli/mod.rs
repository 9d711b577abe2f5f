//! The command line: every subcommand, what it prints, and with which code the process ends.
//!
//! Results go to standard output, messages to standard error. Off a terminal there are no colours and no animation.

#![expect(
    clippy::disallowed_methods,
    reason = "a person waits: elapsed times, deadlines and repaints need the clock"
)]

mod args;
mod backlog;
mod check;
mod completions;
mod config;
mod demo;
mod dlq;
mod doctor;
mod effects;
mod emit;
mod exhibits;
mod exit;
mod export;
mod failure;
mod feed;
mod fetch;
mod gallery;
mod healthcheck;
mod import;
mod letters;
mod mail;
mod pictures;
mod poison;
mod progress;
mod publish;
mod report;
mod run;
mod running;
mod sample;
mod schemas;
mod search;
mod serving;
mod settings;
mod show;
mod status;
mod tail;
mod terminal;
mod topics;
mod version;
mod webhooks;
mod words;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub use exit::Exit;
pub use failure::Failure;
pub use poison::Poison;
pub use sample::{Sample, SampleRecord};

use crate::cli::args::{Cli, Command, MailCommand};
use crate::cli::terminal::Terminal;

/// Reads the arguments of the process, does what they say, and returns the code to end with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let mut terminal = Terminal::new(cli.global.color);
    match dispatch(&cli, &mut terminal) {
        Ok(exit) => exit.code(),
        Err(failure) => {
            terminal.failure(&failure);
            failure.exit().code()
        }
    }
}

fn dispatch(cli: &Cli, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Check(arguments) => check::run(&cli.global, arguments, terminal),
        Command::Completions(arguments) => completions::run(arguments, terminal),
        Command::Config(command) => config::run(&cli.global, command, terminal),
        Command::Demo(arguments) => demo::run(&cli.global, arguments, terminal),
        Command::Dlq(command) => dlq::run(&cli.global, command, terminal),
        Command::Doctor(arguments) => doctor::run(&cli.global, arguments, terminal),
        Command::Emit(arguments) => emit::run(&cli.global, arguments, terminal),
        Command::Export(command) => export::run(&cli.global, command, terminal),
        Command::Healthcheck(arguments) => healthcheck::run(&cli.global, arguments, terminal),
        Command::Import(arguments) => import::run(&cli.global, arguments, terminal),
        Command::PictureWorker(arguments) => pictures::run(arguments),
        Command::Mail(MailCommand::Preview(arguments)) => {
            mail::preview::run(&cli.global, arguments, terminal)
        }
        Command::Run(arguments) => run::run(&cli.global, arguments, terminal),
        Command::Schemas(command) => schemas::run(&cli.global, command, terminal),
        Command::Search(arguments) => search::run(&cli.global, arguments, terminal),
        Command::Show(arguments) => show::run(&cli.global, arguments, terminal),
        Command::Status(arguments) => status::run(&cli.global, arguments, terminal),
        Command::Tail(arguments) => tail::run(&cli.global, arguments, terminal),
        Command::Topics(command) => topics::run(&cli.global, command, terminal),
        Command::Version(arguments) => version::run(arguments, terminal),
        Command::Webhooks(command) => webhooks::run(&cli.global, command, terminal),
    }
}

/// Prints help on standard output and what is wrong on standard error.
fn usage(error: &clap::Error) -> ExitCode {
    // A reader that went away needs no help.
    error.print().unwrap_or_default();
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked_for { Exit::Ok.code() } else { Exit::Usage.code() }
}
