//! `postroom dlq`: dead letters listed, grouped, shown, sent to their group again, and discarded.

use std::collections::BTreeSet;

use postroom_core::Reason;
use serde_json::json;

use crate::cli::args::{
    DlqCommand, DlqDiscardArgs, DlqGroupsArgs, DlqLsArgs, DlqOrder, DlqReplayArgs, DlqSelection, DlqShowArgs,
    Global, Output,
};
use crate::cli::effects::EFFECTS;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::letters::{cause_json, causes_table, groups_table, letter_json, letters_table};
use crate::cli::progress::bar;
use crate::cli::schemas::Reading;
use crate::cli::serving::runtime;
use crate::cli::settings::{loaded_for_cluster, start_log};
use crate::cli::terminal::Terminal;
use crate::config::Config;
use crate::dead_letters::{
    self, CauseError, Collection, Discard, Entry, Replay, ReplayReport, Selection, State,
};
use crate::event::{BlogEvent, EventRecord, MailRequested, WebhookRequested};
use crate::kafka::{Connection, Producer, ProducerConfig};
use crate::runtime::connection;

pub(crate) fn run(global: &Global, command: &DlqCommand, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let loaded = loaded_for_cluster(global, terminal)?;
    let _log = start_log(&loaded, None, terminal)?;
    let config = &loaded.config;
    let connection = connection(config);
    let runtime = runtime()?;
    runtime.block_on(async {
        match command {
            DlqCommand::Discard(arguments) => discard(&connection, config, arguments, terminal).await,
            DlqCommand::Groups(arguments) => groups(&connection, config, arguments, terminal).await,
            DlqCommand::Ls(arguments) => list(&connection, config, arguments, terminal).await,
            DlqCommand::Replay(arguments) => replay(&connection, config, arguments, terminal).await,
            DlqCommand::Show(arguments) => show(&connection, config, arguments, terminal).await,
        }
    })
}

/// What the dead-letter topics hold, and which of it is meant.
struct Held {
    topics: Vec<String>,
    collection: Collection,
    selection: Selection,
}

impl Held {
    /// Reads the topics. A group or cause that is named must be known.
    async fn read(
        connection: &Connection,
        config: &Config,
        wanted: &DlqSelection,
        ids: &[String],
    ) -> Result<Self, Failure> {
        let topics = topics(connection, config, &wanted.topic).await?;
        let collection = dead_letters::collect(connection, &topics).await?;
        if let Some(unknown) = ids.iter().find(|id| collection.find(id).is_none()) {
            return Err(no_letter(unknown));
        }
        if let Some(group) = &wanted.group {
            known_group(group, config, &topics, &collection)?;
        }
        if let Some(reason) = &wanted.reason {
            let mut known: BTreeSet<String> = Reason::ALL.iter().map(|one| one.code().to_owned()).collect();
            known.extend(collection.reasons().into_iter().map(str::to_owned));
            one_of("reason", reason, &known, Exit::Usage)?;
        }
        if let Some(source) = &wanted.source {
            let events = BlogEvent::TYPES.iter().map(|kind| kind.topic);
            let ours = events.chain([MailRequested::TYPE.topic, WebhookRequested::TYPE.topic]);
            let known = ours.chain(collection.sources()).map(str::to_owned).collect();
            one_of("source topic", source, &known, Exit::NotFound)?;
        }
        let cause = wanted.cause.as_ref().map(|start| cause(&collection, start)).transpose()?;
        let selection = Selection {
            ids: ids.iter().cloned().collect(),
            group: wanted.group.clone(),
            topic: wanted.source.clone(),
            reason: wanted.reason.clone(),
            cause,
            done_too: false,
        };
        Ok(Self { topics, collection, selection })
    }

    /// Adds those that are done, where they are wanted.
    fn with_done(mut self, done_too: bool) -> Self {
        self.selection.done_too = done_too;
        self
    }
}

async fn list(
    connection: &Connection,
    config: &Config,
    arguments: &DlqLsArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let held = Held::read(connection, config, &arguments.listing.selection, &[])
        .await?
        .with_done(arguments.listing.all);
    let Held { topics, collection, selection } = &held;
    let causes = collection.causes(selection);
    if arguments.listing.output == Output::Json {
        let letters: Vec<_> = collection.select(selection).into_iter().map(letter_json).collect();
        let causes: Vec<_> = causes.iter().map(cause_json).collect();
        terminal.json(&json!({ "causes": causes, "letters": letters }))?;
        return Ok(Exit::Ok);
    }
    let Some(newest) = causes.first().map(|cause| cause.newest.clone()) else {
        terminal.say(&format!("no open dead letters in {} topics", topics.len()));
        return Ok(Exit::Ok);
    };
    let text = if arguments.each { letters_table(collection, selection) } else { causes_table(&causes) };
    terminal.text(&text)?;
    terminal.say(&format!("next: postroom dlq show {newest}"));
    Ok(Exit::Ok)
}

async fn groups(
    connection: &Connection,
    config: &Config,
    arguments: &DlqGroupsArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let held = Held::read(connection, config, &arguments.listing.selection, &[])
        .await?
        .with_done(arguments.listing.all);
    let causes = held.collection.causes(&held.selection);
    if arguments.listing.output == Output::Json {
        let causes: Vec<_> = causes.iter().map(cause_json).collect();
        terminal.json(&json!({ "causes": causes }))?;
        return Ok(Exit::Ok);
    }
    let Some(first) = causes.first() else {
        terminal.say(&format!("no open dead letters in {} topics", held.topics.len()));
        return Ok(Exit::Ok);
    };
    terminal.text(&groups_table(&causes))?;
    let letters: usize = causes.iter().map(|cause| cause.count).sum();
    terminal.say(&format!("{} causes for {letters} letters", causes.len()));
    terminal.say(&format!("next: postroom dlq show --cause {}", first.id));
    Ok(Exit::Ok)
}

async fn show(
    connection: &Connection,
    config: &Config,
    arguments: &DlqShowArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let topics = topics(connection, config, &arguments.topic).await?;
    let collection = dead_letters::collect(connection, &topics).await?;
    let entry = match (&arguments.cause, &arguments.id) {
        (Some(start), _) => newest(&collection, start)?,
        (None, id) => {
            let id = id.as_deref().unwrap_or_default();
            collection.find(id).ok_or_else(|| no_letter(id))?
        }
    };
    let gone = || no_letter(&entry.id);
    let record = dead_letters::read(connection, &entry.place).await?.ok_or_else(gone)?;
    let reading = Reading::new(config)?;
    // What the letter says of itself is shown whatever the registry does.
    let prepared = reading.prepare(&record).await;
    let text = dead_letters::render(entry, &record, |record| match reading.codec().to_json(record) {
        Ok(Some(readable)) => {
            let fields = serde_json::to_string_pretty(&readable.fields).unwrap_or_default();
            Ok(format!("{} {fields}", readable.event_type))
        }
        Ok(None) => Ok("a tombstone".to_owned()),
        Err(error) => Err(prepared.as_ref().err().map_or_else(|| reading.why(&error), ToString::to_string)),
    });
    terminal.text(&text)?;
    prepared?;
    terminal.say(&format!("next: postroom dlq replay {}", entry.id));
    Ok(Exit::Ok)
}

/// The newest letter of a cause: an open one, where there is one.
fn newest<'c>(collection: &'c Collection, start: &str) -> Result<&'c Entry, Failure> {
    let of = Selection { cause: Some(cause(collection, start)?), done_too: true, ..Selection::default() };
    let letters = collection.select(&of);
    let open = letters.iter().find(|entry| entry.state == State::Open);
    open.or_else(|| letters.first()).copied().ok_or_else(|| no_letter(start))
}

async fn discard(
    connection: &Connection,
    config: &Config,
    arguments: &DlqDiscardArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    something_is_meant(&arguments.order.ids, &arguments.order.selection, arguments.order.all)?;
    let held = Held::read(connection, config, &arguments.order.selection, &arguments.order.ids).await?;
    let meant: BTreeSet<String> =
        held.collection.select(&held.selection).into_iter().map(|entry| entry.id.clone()).collect();
    let discarded = if arguments.yes && !meant.is_empty() {
        let producer = Producer::start(&ProducerConfig::new(connection.clone()))?;
        let by = arguments.order.by.clone().unwrap_or_else(user);
        // What failed meanwhile was not looked at: it stays open.
        let selection = Selection { ids: meant.clone(), ..held.selection.clone() };
        let order = Discard { selection, by, why: arguments.why.clone() };
        dead_letters::discard(connection, &producer, &held.topics, &order).await?.into_iter().collect()
    } else {
        BTreeSet::new()
    };
    let ids = if arguments.yes { &discarded } else { &meant };
    if arguments.order.output == Output::Json {
        terminal.json(&json!({ "dry_run": !arguments.yes, "discarded": ids }))?;
    } else {
        let verb = if arguments.yes { "discarded" } else { "would be discarded" };
        terminal.line(&format!("{} {verb}", ids.len()))?;
    }
    for id in arguments.order.ids.iter().filter(|id| !ids.contains(*id)) {
        terminal.say(&format!("left alone: {id}: it is not open"));
    }
    if !arguments.yes && !ids.is_empty() {
        terminal.say("nothing was marked: add --yes to discard them");
    }
    Ok(if !arguments.order.ids.is_empty() && ids.is_empty() { Exit::No } else { Exit::Ok })
}

async fn replay(
    connection: &Connection,
    config: &Config,
    arguments: &DlqReplayArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    something_is_meant(&arguments.order.ids, &arguments.order.selection, arguments.order.all)?;
    let held = Held::read(connection, config, &arguments.order.selection, &arguments.order.ids).await?;
    let Held { topics, collection, selection } = held;
    let meant = collection.select(&Selection { done_too: arguments.force, ..selection.clone() }).len();
    terminal.say(&format!("{meant} dead letters"));
    let producer = Producer::start(&ProducerConfig::new(connection.clone()))?;
    let order = Replay {
        selection,
        by: arguments.order.by.clone().unwrap_or_else(user),
        force: arguments.force,
        dry_run: arguments.dry_run,
        rate: arguments.rate,
    };
    let bar = bar(u64::try_from(meant).unwrap_or_default(), "replay");
    let sent = |count: usize| bar.set_position(u64::try_from(count).unwrap_or_default());
    let report = dead_letters::replay(connection, &producer, &topics, &order, sent).await?;
    bar.finish_and_clear();
    told(&report, arguments, terminal)
}

fn told(report: &ReplayReport, arguments: &DlqReplayArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    if arguments.order.output == Output::Json {
        let refused: Vec<_> =
            report.refused.iter().map(|(id, why)| json!({ "id": id, "why": why })).collect();
        terminal.json(&json!({ "dry_run": arguments.dry_run, "sent": report.sent, "refused": refused }))?;
    } else {
        let verb = if arguments.dry_run { "would be sent" } else { "sent" };
        terminal.line(&format!("{} {verb} to their groups", report.sent.len()))?;
    }
    // What was done before is only worth a word where somebody named it, or where nothing else is left.
    let DlqOrder { ids, selection, .. } = &arguments.order;
    let is_named = |id: &String| ids.contains(id) || (selection.cause.is_some() && report.sent.is_empty());
    let named: Vec<_> = report.refused.iter().filter(|(id, _)| is_named(id)).collect();
    for (id, why) in named.iter().take(MOST_TOLD.max(ids.len())) {
        terminal.say(&format!("left alone: {id}: {why}"));
    }
    let more = named.len().saturating_sub(MOST_TOLD.max(ids.len()));
    if more > 0 {
        terminal.say(&format!("left alone: {more} more of this cause"));
    }
    let other = report.refused.len().saturating_sub(named.len());
    if other > 0 && report.sent.is_empty() {
        terminal.say(&format!(
            "{other} were replayed or discarded before, or cannot be sent: --force sends them again"
        ));
    }
    if arguments.dry_run {
        terminal.say("--dry-run: nothing was sent");
    } else if !report.sent.is_empty() {
        terminal.say("next: postroom dlq ls      those that fail again come back with one replay more");
    }
    Ok(if !named.is_empty() && report.sent.is_empty() { Exit::No } else { Exit::Ok })
}

/// The dead-letter topics that are read: those named, else all that are called as ours are.
async fn topics(connection: &Connection, config: &Config, named: &[String]) -> Result<Vec<String>, Failure> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    Ok(dead_letters::topics(connection, &config.topics.dead_letter.to_string()).await?)
}

/// A command that changes something wants to be told of what.
fn something_is_meant(ids: &[String], wanted: &DlqSelection, all: bool) -> Result<(), Failure> {
    let DlqSelection { cause, group, source, reason, topic: _ } = wanted;
    if all || !ids.is_empty() || [cause, group, source, reason].into_iter().any(Option::is_some) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, "nothing says which dead letters are meant")
        .fix("name ids, --cause, --group, --source or --reason, or pass --all"))
}

/// Finds a cause by the start of its id.
fn cause(collection: &Collection, start: &str) -> Result<String, Failure> {
    collection.cause(start).map_err(|error| {
        let exit = match error {
            CauseError::Unknown(_) => Exit::NotFound,
            CauseError::Ambiguous(..) => Exit::Usage,
        };
        Failure::new(exit, error.to_string()).fix("`postroom dlq groups --all` lists them")
    })
}

/// Says that a group does not exist: it has no letters, no dead-letter topic, and is none of ours.
fn known_group(
    group: &str,
    config: &Config,
    topics: &[String],
    collection: &Collection,
) -> Result<(), Failure> {
    let prefix = &config.kafka.group_prefix;
    let mut known: BTreeSet<String> = collection.groups().into_iter().map(str::to_owned).collect();
    known.extend(EFFECTS.iter().map(|effect| format!("{prefix}{effect}")));
    let template = config.topics.dead_letter.to_string().replace("{group}", group);
    let (before, behind) = template.split_once("{topic}").unwrap_or((&template, ""));
    let has_topic = topics.iter().any(|topic| topic.starts_with(before) && topic.ends_with(behind));
    if known.contains(group) || has_topic {
        return Ok(());
    }
    let whole = format!("{prefix}{group}");
    if known.contains(&whole) {
        let fix = format!("did you mean {whole}?");
        return Err(Failure::new(Exit::NotFound, format!("there is no group {group:?}")).fix(fix));
    }
    one_of("group", group, &known, Exit::NotFound)
}

/// Refuses a word that is none of those known, and names the nearest.
fn one_of(what: &str, word: &str, known: &BTreeSet<String>, exit: Exit) -> Result<(), Failure> {
    if known.contains(word) {
        return Ok(());
    }
    let by_likeness = |one: &&String, other: &&String| {
        strsim::jaro_winkler(one, word).total_cmp(&strsim::jaro_winkler(other, word))
    };
    let nearest = known.iter().max_by(by_likeness).filter(|near| strsim::jaro_winkler(near, word) > 0.8);
    let fix = nearest.map_or_else(
        || format!("choose from {}", known.iter().cloned().collect::<Vec<_>>().join(", ")),
        |nearest| format!("did you mean {nearest}?"),
    );
    Err(Failure::new(exit, format!("there is no {what} {word:?}")).fix(fix))
}

/// How many letters that were left alone are told of one by one.
const MOST_TOLD: usize = 3;

fn no_letter(id: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no dead letter {id:?}"))
        .fix("`postroom dlq ls --each --all` lists the ids")
}

fn user() -> String {
    std::env::var("USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
