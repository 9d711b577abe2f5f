//! `postroom completions`: what a shell needs to complete commands and flags.

use clap::CommandFactory;

use crate::cli::args::{Cli, CompletionsArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::terminal::Terminal;

pub(crate) fn run(arguments: &CompletionsArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "postroom", &mut script);
    terminal.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
