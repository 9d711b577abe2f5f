//! Schemas: the codec of every command, and `postroom schemas`.

mod catalogue;
mod check;
mod codec;
mod diff;
mod level;
mod named;
mod register;
mod show;

pub(crate) use codec::{Reading, codec, server, writing};
pub(crate) use level::Level;

use crate::cli::args::{Global, SchemasCommand};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::terminal::Terminal;

pub(crate) fn run(
    global: &Global,
    command: &SchemasCommand,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    match command {
        SchemasCommand::Check(arguments) => check::run(global, arguments, terminal),
        SchemasCommand::Diff(arguments) => diff::run(global, arguments, terminal),
        SchemasCommand::Register(arguments) => register::run(global, arguments, terminal),
        SchemasCommand::Show(arguments) => show::run(global, arguments, terminal),
    }
}
