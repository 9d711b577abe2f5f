//! The arguments of `postroom webhooks`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::Output;

/// The commands below `webhooks`.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// Add an endpoint, and print the secret that its deliveries are signed with: once
    #[command(
        after_help = "Examples:\n  postroom webhooks add https://shop.example/hooks\n  postroom webhooks add https://shop.example/hooks --id shop --types post.published,comment.created"
    )]
    Add(WebhooksAddArgs),
    /// Send to an endpoint again that was disabled
    Enable(WebhooksIdArgs),
    /// List the endpoints; secrets are never shown
    #[command(after_help = "Examples:\n  postroom webhooks ls\n  postroom webhooks ls -o json")]
    Ls(WebhooksLsArgs),
    /// Remove an endpoint; what waits for it is withdrawn
    Rm(WebhooksIdArgs),
    /// Sign with a new secret beside the old one, or drop the old one
    #[command(
        after_help = "Examples:\n  postroom webhooks rotate shop              prints the new secret; deliveries carry both signatures\n  postroom webhooks rotate shop --finish     the receiver knows the new one: the old one is dropped"
    )]
    Rotate(WebhooksRotateArgs),
    /// Send a signed ping now and print what comes back
    #[command(after_help = "Example:\n  postroom webhooks test shop")]
    Test(WebhooksTestArgs),
}

/// Arguments of `webhooks add`.
#[derive(Args, Debug)]
pub(crate) struct WebhooksAddArgs {
    /// Where to send
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Its name [default: the host]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The event types that it wants, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) types: Vec<String>,
    /// Take the secret from a file (whsec_ and base64) instead of making one
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Which endpoint is meant.
#[derive(Args, Debug)]
pub(crate) struct WebhooksIdArgs {
    /// Its name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Arguments of `webhooks ls`.
#[derive(Args, Debug)]
pub(crate) struct WebhooksLsArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Arguments of `webhooks rotate`.
#[derive(Args, Debug)]
pub(crate) struct WebhooksRotateArgs {
    /// Its name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Drop the old secret
    #[arg(long, conflicts_with = "secret_file")]
    pub(crate) finish: bool,
    /// Take the new secret from a file (whsec_ and base64) instead of making one
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
}

/// Arguments of `webhooks test`.
#[derive(Args, Debug)]
pub(crate) struct WebhooksTestArgs {
    /// Its name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}
