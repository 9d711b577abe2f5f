//! The arguments, as clap reads them.

mod dlq;
mod export;
mod schemas;
mod tail;
mod webhooks;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::dlq::{
    DlqCommand, DlqDiscardArgs, DlqGroupsArgs, DlqLsArgs, DlqOrder, DlqReplayArgs, DlqSelection, DlqShowArgs,
};
pub(crate) use self::export::{ExportCommand, K8sArgs, K8sPart, KedaArgs, KedaTrigger};
pub(crate) use self::schemas::{
    SchemasCheckArgs, SchemasCommand, SchemasDiffArgs, SchemasRegisterArgs, SchemasShowArgs,
};
pub(crate) use self::tail::{Place, TailArgs};
pub(crate) use self::webhooks::{WebhooksAddArgs, WebhooksCommand, WebhooksRotateArgs, WebhooksTestArgs};
use crate::cli::terminal::ColorChoice;
use crate::ports::DocumentKind;

/// The mailroom for a blog's events: ordered, parallel consumers of Kafka with dead letters one can work with.
#[derive(Debug, Parser)]
#[command(
    name = "postroom",
    version,
    propagate_version = true,
    infer_subcommands = false,
    after_help = "Try it:\n  postroom demo                     an embedded broker, a blog's events, all effects\n  postroom run -c postroom.toml     the same job against your Kafka\n\nExit codes: 0 done, 1 the answer is no, 64 usage, 65 bad data, 66 not found, 69 not reachable,\n70 bug, 73 cannot create, 74 I/O, 75 work left at the deadline, 77 not authorised, 78 configuration."
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
    #[arg(short, long, global = true, value_name = "FILE", env = "POSTROOM_CONFIG", hide_env_values = true)]
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
    #[command(
        subcommand,
        after_help = "Examples:\n  postroom config show --origin             every setting, and where its value comes from"
    )]
    Config(ConfigCommand),
    /// An embedded broker, a blog's events, all effects, in one process
    #[command(
        long_about = "An embedded broker, a blog's events, all effects, in one process.\n\nIt creates its topics, publishes a blog with a few poison records in it, shows the results, and stays up; status, dlq, tail, emit and import find it by themselves.",
        after_help = "Examples:\n  postroom demo                            stays up until Ctrl-C\n  postroom demo --until-idle -o json       ends by itself, prints figures\n  postroom demo --from events.jsonl        your own events"
    )]
    Demo(DemoArgs),
    /// List, show, replay and discard dead letters
    #[command(
        subcommand,
        after_help = "Examples:\n  postroom dlq groups                       who failed, how, since when\n  postroom dlq show --cause a3f1\n  postroom dlq replay --cause a3f1"
    )]
    Dlq(DlqCommand),
    /// Look at everything that running needs, and say what to do about what is not well
    #[command(
        long_about = "Look at everything that running needs, and say what to do about what is not well.\n\nBrokers, rights, topics and their settings, registry, mail relay, store, picture worker, caches, clock, poll limit. Nothing is changed and no mail is sent; each check has a deadline. Ends with 0 where nothing fails, 1 where something does, 69 where no broker answers.",
        after_help = "Examples:\n  postroom doctor -c postroom.toml\n  postroom doctor --only rights,topics\n  postroom doctor -o json | jq '.checks[] | select(.health == \"fail\")'"
    )]
    Doctor(DoctorArgs),
    /// Publish one event from field=value words
    #[command(
        after_help = "Examples:\n  postroom emit comment.created post_id=hello comment_id=c1 author=ada body='First!'\n  postroom emit post.published -f post.json\n  postroom emit user.registered user_id=ada subscribed=true --dry-run"
    )]
    Emit(EmitArgs),
    /// Print what other tools need: alert rules, the Grafana dashboard, manifests
    #[command(
        subcommand,
        after_help = "Examples:\n  postroom export alerts > postroom.rules.yml\n  postroom export dashboard > postroom.json\n  postroom export k8s -c postroom.toml | kubectl apply -f -\n  postroom export keda -c postroom.toml --rate 200"
    )]
    Export(ExportCommand),
    /// Ask the instance of this machine whether it is well: for a container's HEALTHCHECK
    #[command(
        after_help = "Examples:\n  postroom healthcheck             is it a member of its groups, do its dependencies answer?\n  postroom healthcheck --live      would a restart help?\n\nExit codes: 0 it is well, 1 it is not, 69 nothing answers."
    )]
    Healthcheck(HealthcheckArgs),
    /// Publish a file of events, one JSON object a line
    #[command(
        after_help = "Examples:\n  postroom import events.jsonl --dry-run     what would be published\n  postroom import events.jsonl"
    )]
    Import(ImportArgs),
    /// Make thumbnails for another process: see `postroom::adapters::pictures`
    #[command(hide = true)]
    PictureWorker(PictureWorkerArgs),
    /// Look at the mails that events would cause
    #[command(subcommand, after_help = "Examples:\n  postroom mail preview event.json")]
    Mail(MailCommand),
    /// Run the effects against Kafka, until SIGTERM
    #[command(
        long_about = "Run the effects against Kafka, until SIGTERM.\n\nThe first SIGTERM or SIGINT drains: nothing new is taken, what is in flight ends, offsets are committed. A second one leaves at once, with code 143 or 130.",
        after_help = "Examples:\n  postroom run -c postroom.toml\n  postroom run --effects notify --listen 127.0.0.1:0"
    )]
    Run(RunArgs),
    /// Check, register, compare and show the schemas of events
    #[command(
        subcommand,
        after_help = "Examples:\n  postroom schemas show\n  postroom schemas check schemas/ --offline\n  postroom schemas register --dry-run"
    )]
    Schemas(SchemasCommand),
    /// Find posts and comments
    #[command(
        long_about = "Find posts and comments.\n\nAll words must be there; \"a phrase\" in quotes, the beginning of a word with *, -unwanted words, and author:, tag:, type:, after:, before: narrow it. It reads the configured store, or that of the running demo.",
        after_help = "Examples:\n  postroom search ferry timetable\n  postroom search '\"low tide\" harb* -winter'\n  postroom search 東京 --type comment --after 2021-01-01 -o json\n  postroom search --author ada        everything of hers, the latest first"
    )]
    Search(SearchArgs),
    /// Tell the story of one event: where it is, what each group did with it, what comes next
    #[command(
        after_help = "Examples:\n  postroom show 4731f42f18d4fd64\n  postroom show blog.comments/0/197            the record at a place\n  postroom show 4731f42f18d4fd64 --topic blog.comments --since 2h -o json"
    )]
    Show(ShowArgs),
    /// Show what each group of a running instance is doing
    #[command(
        after_help = "Examples:\n  postroom status                  the running demo, else http.listen of the configuration\n  postroom status -w               repainted every second\n  postroom status -o json | jq .totals"
    )]
    Status(StatusArgs),
    /// Show events of a topic, decoded
    #[command(
        after_help = "Examples:\n  postroom tail blog.comments               what comes from now on\n  postroom tail blog.comments -n 3          the last three\n  postroom tail blog.posts --from earliest --filter author=ada\n  postroom tail blog.posts --from @-1h -o json"
    )]
    Tail(TailArgs),
    /// Compare the cluster's topics with what the effects need, and make what is missing
    #[command(
        subcommand,
        after_help = "Examples:\n  postroom topics plan -c postroom.toml\n  postroom topics apply -c postroom.toml"
    )]
    Topics(TopicsCommand),
    /// Print the version and what it was built with
    Version(VersionArgs),
    /// Tell other programs of events, by signed HTTP requests
    #[command(
        subcommand,
        after_help = "Examples:\n  postroom webhooks add https://shop.example/hooks --id shop --types post.published\n  postroom webhooks test shop\n  postroom webhooks ls"
    )]
    Webhooks(WebhooksCommand),
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

/// Arguments of `picture-worker`.
#[derive(Args, Debug)]
pub(crate) struct PictureWorkerArgs {
    /// How many bytes of address space it may have
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory: u64,
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

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Play this file of events instead of the sample blog
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// End when everything is done
    #[arg(long)]
    pub(crate) until_idle: bool,
    /// Wait so many seconds for everything to be done; with --until-idle, code 75 says that it was not
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) deadline: u64,
    /// Run these effects alone, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) effects: Vec<String>,
    /// The port of the pages; 0 takes a free one [default: 9464, else a free one]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// How many events the sample blog has
    #[arg(long, value_name = "COUNT", default_value_t = 3_000)]
    pub(crate) events: u64,
    /// The sample blog's seed: the same seed gives the same blog
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How to print the results
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// List the checks, look at nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// Make these checks alone, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Where a running instance listens [default: the running demo, else http.listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) url: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// The commands below `topics`.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Make what is missing and change what differs
    #[command(after_help = "Example:\n  postroom topics apply -c postroom.toml")]
    Apply,
    /// Show what apply would do
    #[command(
        after_help = "Examples:\n  postroom topics plan -c postroom.toml\n  postroom topics plan --detailed-exitcode      code 2 says that something is to be done"
    )]
    Plan {
        /// End with code 2 where something is to be done
        #[arg(long)]
        detailed_exitcode: bool,
    },
}

/// Arguments of `emit`.
#[derive(Args, Debug)]
pub(crate) struct EmitArgs {
    /// The type, such as comment.created
    #[arg(value_name = "TYPE")]
    pub(crate) event_type: String,
    /// Its fields; what is left out is filled in where the schema allows it
    #[arg(value_name = "FIELD=VALUE", value_parser = key_value)]
    pub(crate) fields: Vec<(String, String)>,
    /// Take the fields from a JSON object in a file; words after it win
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print the event, publish nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How to print where it stands
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Arguments of `healthcheck`.
#[derive(Args, Debug)]
pub(crate) struct HealthcheckArgs {
    /// Ask /livez instead of /readyz
    #[arg(long)]
    pub(crate) live: bool,
    /// Its address [default: http.listen of the configuration]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

/// Arguments of `import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The file; docs/events.md shows the format
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Check the file and count, publish nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave out lines that are no events
    #[arg(long)]
    pub(crate) skip_bad: bool,
}

/// The commands below `mail`.
#[derive(Debug, Subcommand)]
pub(crate) enum MailCommand {
    /// Show the mail that an event would cause, without sending it
    #[command(
        long_about = "Show the mail that an event would cause, without sending it.\n\nThe event is a mail.requested, or a comment.created, post.published or user.registered in the format of import: then the recipient is made up. Templates and addresses are those of [mail]; what is not set there is made up, so that no relay is needed.",
        after_help = "Examples:\n  postroom mail preview event.json                  headers and text\n  postroom mail preview event.json --html mail.html   and the HTML, to open in a browser\n  postroom mail preview - --eml < event.json        the whole message, as it goes over the wire\n  head -n 1 events.jsonl | postroom mail preview -"
    )]
    Preview(MailPreviewArgs),
}

/// Arguments of `mail preview`.
#[derive(Args, Debug)]
pub(crate) struct MailPreviewArgs {
    /// A file with one event as JSON; - is standard input
    #[arg(value_name = "EVENT.json")]
    pub(crate) event: PathBuf,
    /// Write the HTML part there; - prints it instead of headers and text
    #[arg(long, value_name = "FILE", conflicts_with = "eml")]
    pub(crate) html: Option<PathBuf>,
    /// Print the whole message
    #[arg(long)]
    pub(crate) eml: bool,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Run these effects alone, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) effects: Vec<String>,
    /// Where the pages listen: short for --set http.listen=…
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
}

/// Arguments of `search`.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// What to look for; write it after -- where it begins with a dash
    #[arg(value_name = "WORD")]
    pub(crate) words: Vec<String>,
    /// By this user alone
    #[arg(long, value_name = "USER")]
    pub(crate) author: Option<String>,
    /// With this tag alone
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Of this kind alone: post or comment
    #[arg(long = "type", value_name = "KIND", value_parser = crate::console::search::kind)]
    pub(crate) kind: Option<DocumentKind>,
    /// Not older than this day or time
    #[arg(long, value_name = "DAY", value_parser = crate::console::search::day)]
    pub(crate) after: Option<i64>,
    /// Older than this day or time
    #[arg(long, value_name = "DAY", value_parser = crate::console::search::day)]
    pub(crate) before: Option<i64>,
    /// How many to show, up to 100
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    pub(crate) count: u32,
    /// How many to leave out first
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) offset: u32,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Arguments of `show`.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The event's id, or TOPIC/PARTITION/OFFSET
    #[arg(value_name = "EVENT")]
    pub(crate) event: String,
    /// Look through this topic alone; repeatable [default: every topic of events]
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
    /// Look only at records of so long ago or later, such as 90m or 2d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) since: Option<std::time::Duration>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
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
    let (key, value) = text.split_once('=').ok_or("write NAME=VALUE, with an equals sign")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

fn span(text: &str) -> Result<std::time::Duration, String> {
    crate::config::parse_span(text).ok_or_else(|| "write a span such as 90s, 15m, 2h or 3d".to_owned())
}
