//! The arguments of `dlq` and of the commands below it.

use clap::{Args, Subcommand};

use crate::cli::args::Output;

/// The commands below `dlq`.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Mark dead letters as needing nothing
    #[command(
        long_about = "Mark dead letters as needing nothing.\n\nNothing is removed: a marker behind each letter says who discarded it, when and why, and lists leave it out. `replay --force` still sends it.",
        after_help = "Examples:\n  postroom dlq discard --cause a3f1                        what would be discarded\n  postroom dlq discard --cause a3f1 --yes --why 'spam, reported'\n  postroom dlq discard postroom.notify/blog.comments/3/88123 --yes"
    )]
    Discard(DlqDiscardArgs),
    /// Group open dead letters by cause: who failed, how, and what was said
    #[command(
        after_help = "Examples:\n  postroom dlq groups\n  postroom dlq groups -o json | jq '.causes[0]'\n  postroom dlq replay --cause a3f1             a cause is named by the start of its id"
    )]
    Groups(DlqGroupsArgs),
    /// List open dead letters, by cause
    #[command(
        after_help = "Examples:\n  postroom dlq ls\n  postroom dlq ls --group postroom.notify --each\n  postroom dlq ls --cause a3f1 --each\n  postroom dlq ls --topic orders-dlt           letters that another framework wrote"
    )]
    Ls(DlqLsArgs),
    /// Send dead letters to the group that failed, and to no other
    #[command(
        after_help = "Examples:\n  postroom dlq replay --group postroom.notify --dry-run\n  postroom dlq replay --cause a3f1\n  postroom dlq replay --reason exhausted --rate 50\n  postroom dlq replay postroom.notify/blog.comments/3/88123"
    )]
    Replay(DlqReplayArgs),
    /// Show one dead letter in full
    #[command(
        after_help = "Examples:\n  postroom dlq show postroom.notify/blog.comments/3/88123\n  postroom dlq show --cause a3f1               the newest of that cause"
    )]
    Show(DlqShowArgs),
}

/// Which dead letters are meant.
#[derive(Args, Debug)]
pub(crate) struct DlqSelection {
    /// Of this cause alone, named by the start of its id
    #[arg(long, value_name = "CAUSE")]
    pub(crate) cause: Option<String>,
    /// Of this consumer group alone
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// Of this source topic alone
    #[arg(long, value_name = "TOPIC")]
    pub(crate) source: Option<String>,
    /// Of this reason alone, such as undecodable
    #[arg(long, value_name = "REASON")]
    pub(crate) reason: Option<String>,
    /// Read this dead-letter topic instead of all of ours; repeatable
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
}

/// Which dead letters are listed, and how.
#[derive(Args, Debug)]
pub(crate) struct DlqListing {
    /// Which ones
    #[command(flatten)]
    pub(crate) selection: DlqSelection,
    /// Those that were replayed or discarded, too
    #[arg(long)]
    pub(crate) all: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Which dead letters something is done with, and by whom.
#[derive(Args, Debug)]
pub(crate) struct DlqOrder {
    /// These ids
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Which ones
    #[command(flatten)]
    pub(crate) selection: DlqSelection,
    /// Every open letter
    #[arg(long)]
    pub(crate) all: bool,
    /// Who does it, for the record [default: the user's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Arguments of `dlq discard`.
#[derive(Args, Debug)]
pub(crate) struct DlqDiscardArgs {
    /// Which ones
    #[command(flatten)]
    pub(crate) order: DlqOrder,
    /// Do it; without it the command only says what it would do
    #[arg(long)]
    pub(crate) yes: bool,
    /// Why, for those who look later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) why: String,
}

/// Arguments of `dlq groups`.
#[derive(Args, Debug)]
pub(crate) struct DlqGroupsArgs {
    /// Which ones
    #[command(flatten)]
    pub(crate) listing: DlqListing,
}

/// Arguments of `dlq ls`.
#[derive(Args, Debug)]
pub(crate) struct DlqLsArgs {
    /// Which ones
    #[command(flatten)]
    pub(crate) listing: DlqListing,
    /// A line for each letter instead of each cause
    #[arg(long)]
    pub(crate) each: bool,
}

/// Arguments of `dlq show`.
#[derive(Args, Debug)]
pub(crate) struct DlqShowArgs {
    /// The id: group/topic/partition/offset
    #[arg(value_name = "ID", required_unless_present = "cause")]
    pub(crate) id: Option<String>,
    /// The newest letter of this cause, named by the start of its id
    #[arg(long, value_name = "CAUSE", conflicts_with = "id")]
    pub(crate) cause: Option<String>,
    /// Read this dead-letter topic instead of all of ours; repeatable
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
}

/// Arguments of `dlq replay`.
#[derive(Args, Debug)]
pub(crate) struct DlqReplayArgs {
    /// Which ones
    #[command(flatten)]
    pub(crate) order: DlqOrder,
    /// Those that were replayed or discarded, too
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would be sent, send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// At most so many a second
    #[arg(long, value_name = "COUNT")]
    pub(crate) rate: Option<u32>,
}
