//! The arguments of `postroom schemas`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::Output;
use crate::cli::schemas::Level;

/// The commands below `schemas`.
#[derive(Debug, Subcommand)]
pub(crate) enum SchemasCommand {
    /// Say whether the newest schemas read what was written before, in the folder and at the registry
    #[command(
        long_about = "Say whether the newest schemas read what was written before.\n\nThe newest version of each event is held against its older versions: those built in, those of the folder, and, where registry.url is set, those that are registered. What does not fit is named with the line that mends it, and the code is 1. Without a server, or with --offline, it needs no network: right for a pre-commit hook.",
        after_help = "Examples:\n  postroom schemas check --offline                the schemas built in, and registry.directory\n  postroom schemas check schemas/ --offline       a folder with index.toml, before a commit\n  postroom schemas check --level full_transitive -o json"
    )]
    Check(SchemasCheckArgs),
    /// Say what changed from one schema to another
    #[command(
        long_about = "Say what changed from one schema to another, and which of them reads the other's data.\n\nA schema is a file, EVENT[@VERSION] of the folder or built in, or SUBJECT@VERSION of the registry, where `latest` is a version too. Alone, it is held against what is registered last.",
        after_help = "Examples:\n  postroom schemas diff post.published@1 post.published@2\n  postroom schemas diff schemas/like.added/v1.avsc schemas/like.added/v2.avsc -o json\n  postroom schemas diff post.published            against the registered latest"
    )]
    Diff(SchemasDiffArgs),
    /// Register the schemas at the registry, and print their ids
    #[command(
        long_about = "Register the schemas at the registry, and print their ids.\n\nEvery version of every event, the oldest first; what is there already keeps its id. A version that is older than a registered one is left out: it would become the latest.",
        after_help = "Examples:\n  postroom schemas register --dry-run             what would be registered\n  postroom schemas register --set-level           and hold each subject to BACKWARD_TRANSITIVE\n  postroom schemas register schemas/ -e like.added -o json"
    )]
    Register(SchemasRegisterArgs),
    /// List the schemas, or print one
    #[command(
        after_help = "Examples:\n  postroom schemas show                           events, versions, ids, GUIDs\n  postroom schemas show post.published@2          its text\n  postroom schemas show --registered              what the registry has, by subject\n  postroom schemas show blog.posts-blog.PostPublished@latest"
    )]
    Show(SchemasShowArgs),
}

/// Arguments of `schemas check`.
#[derive(Args, Debug)]
pub(crate) struct SchemasCheckArgs {
    /// A folder with index.toml, beside the schemas built in [default: registry.directory]
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Do not ask the registry
    #[arg(long)]
    pub(crate) offline: bool,
    /// The level that every event is to have
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Level::BackwardTransitive)]
    pub(crate) level: Level,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Arguments of `schemas diff`.
#[derive(Args, Debug)]
pub(crate) struct SchemasDiffArgs {
    /// The schema before: a file, EVENT[@VERSION] or SUBJECT@VERSION
    #[arg(value_name = "SCHEMA")]
    pub(crate) before: String,
    /// The schema after; without it SCHEMA is held against the registered latest
    #[arg(value_name = "OTHER")]
    pub(crate) after: Option<String>,
    /// A folder with index.toml [default: registry.directory]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Arguments of `schemas register`.
#[derive(Args, Debug)]
pub(crate) struct SchemasRegisterArgs {
    /// A folder with index.toml, beside the schemas built in [default: registry.directory]
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// These events alone; repeatable
    #[arg(short, long = "event", value_name = "EVENT")]
    pub(crate) events: Vec<String>,
    /// Change nothing: say what would be registered
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Hold each subject to BACKWARD_TRANSITIVE, since replays read old records
    #[arg(long)]
    pub(crate) set_level: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Arguments of `schemas show`.
#[derive(Args, Debug)]
pub(crate) struct SchemasShowArgs {
    /// Print the text of this one: a file, EVENT[@VERSION] or SUBJECT@VERSION
    #[arg(value_name = "SCHEMA")]
    pub(crate) schema: Option<String>,
    /// List what the registry has
    #[arg(long, conflicts_with = "schema")]
    pub(crate) registered: bool,
    /// A folder with index.toml [default: registry.directory]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}
