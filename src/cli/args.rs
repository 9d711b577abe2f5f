//! The arguments, as clap reads them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cli::terminal::ColorChoice;

/// The mailroom for a blog's events: ordered, parallel consumers of Kafka with dead letters one can work with.
#[derive(Debug, Parser)]
#[command(
    name = "postroom",
    version,
    propagate_version = true,
    infer_subcommands = false,
    after_help = "Try it:\n  postroom demo                     an embedded broker, a blog's events, all effects\n  postroom run -c postroom.toml     the same job against your Kafka\n\nExit codes: 0 done, 1 the answer is no, 64 usage, 65 bad data, 66 not found, 69 not reachable, 70 bug,\n73 cannot create, 74 I/O, 75 work left at the deadline, 77 not authorised, 78 configuration."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Flags that every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Flags that every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The configuration file [default: postroom.toml, if it is there]
    #[arg(short, long, global = true, value_name = "FILE", env = "POSTROOM_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Set any setting but secrets, such as --set effects.notify.enabled=false; repeatable
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// The brokers: short for --set kafka.brokers=…
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) brokers: Option<String>,
    /// What to log: a level, or directives such as info,postroom::kafka=debug
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// How log lines look: auto, pretty or json
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// When to use colours; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: ColorChoice,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check configuration and schemas, without a network
    #[command(
        after_help = "Examples:\n  postroom check -c postroom.toml\n  postroom check --strict          warnings count as failures"
    )]
    Check(CheckArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  postroom completions bash > ~/.local/share/bash-completion/completions/postroom"
    )]
    Completions(CompletionsArgs),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show what each group of a running instance is doing
    #[command(
        after_help = "Examples:\n  postroom status                  the running demo, else http.listen of the configuration\n  postroom status -w               repainted every second\n  postroom status -o json | jq .totals"
    )]
    Status(StatusArgs),
    /// Print the version and what it was built with
    Version(VersionArgs),
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Fail on warnings, too
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// The commands below `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the reference of all settings, in Markdown
    #[command(hide = true)]
    Reference,
    /// Print every setting with its value; secrets are redacted
    #[command(
        after_help = "Examples:\n  postroom config show > postroom.toml      a file with every setting\n  postroom config show --origin             and where each value comes from"
    )]
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
        /// How to print
        #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
        output: Output,
    },
}

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Repaint every second
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Where the instance listens [default: the running demo, else http.listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) url: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Arguments of `version`.
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// How to print results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For programs.
    Json,
    /// For people.
    #[default]
    Text,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as kafka.brokers=localhost:9092")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
