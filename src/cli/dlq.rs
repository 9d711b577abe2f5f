//! `postroom dlq`: dead letters listed, shown, and sent to their group again.

use serde_json::{Value, json};

use crate::cli::args::{DlqCommand, DlqLsArgs, DlqReplayArgs, DlqSelection, DlqShowArgs, Global, Output};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::progress::bar;
use crate::cli::schemas::codec;
use crate::cli::serving::runtime;
use crate::cli::settings::{loaded_for_cluster, start_log};
use crate::cli::terminal::{Terminal, table};
use crate::config::Config;
use crate::dead_letters::{self, Cause, Collection, Entry, Replay, ReplayReport, Selection, State};
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
            DlqCommand::Ls(arguments) => list(&connection, config, arguments, terminal).await,
            DlqCommand::Replay(arguments) => replay(&connection, config, arguments, terminal).await,
            DlqCommand::Show(arguments) => show(&connection, config, arguments, terminal).await,
        }
    })
}

async fn list(
    connection: &Connection,
    config: &Config,
    arguments: &DlqLsArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let topics = topics(connection, config, &arguments.selection.topic).await?;
    let collection = dead_letters::collect(connection, &topics).await?;
    let selection = arguments.selection.selection(arguments.all);
    if arguments.output == Output::Json {
        let letters: Vec<_> = collection.select(&selection).into_iter().map(letter_json).collect();
        let causes: Vec<_> = collection.causes(&selection).iter().map(cause_json).collect();
        terminal.json(&json!({ "causes": causes, "letters": letters }))?;
        return Ok(Exit::Ok);
    }
    let causes = collection.causes(&selection);
    let Some(newest) = causes.first().map(|cause| cause.newest.clone()) else {
        terminal.say(&format!("no open dead letters in {} topics", topics.len()));
        return Ok(Exit::Ok);
    };
    if arguments.each {
        terminal.text(&letters(&collection, &selection))?;
    } else {
        let rows: Vec<_> = causes.into_iter().map(cause_row).collect();
        terminal
            .text(&table(&["count", "group", "topic", "reason", "detail", "last failed", "newest"], &rows))?;
    }
    terminal.say(&format!("next: postroom dlq show {newest}"));
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
    let missing = || {
        Failure::new(Exit::NotFound, format!("there is no dead letter {:?}", arguments.id))
            .fix("`postroom dlq ls --each --all` lists the ids")
    };
    let entry = collection.find(&arguments.id).ok_or_else(missing)?;
    let record = dead_letters::read(connection, &entry.place).await?.ok_or_else(missing)?;
    let codec = codec(config)?;
    let text = dead_letters::render(entry, &record, |record| match codec.to_json(record) {
        Ok(Some(readable)) => {
            let fields = serde_json::to_string_pretty(&readable.fields).unwrap_or_default();
            Ok(format!("{} {fields}", readable.event_type))
        }
        Ok(None) => Ok("a tombstone".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    terminal.text(&text)?;
    terminal.say(&format!("next: postroom dlq replay {}", entry.id));
    Ok(Exit::Ok)
}

async fn replay(
    connection: &Connection,
    config: &Config,
    arguments: &DlqReplayArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let mut selection = arguments.selection.selection(false);
    selection.ids.clone_from(&arguments.ids);
    if selection == Selection::default() && !arguments.all {
        return Err(Failure::new(Exit::Usage, "nothing says which dead letters are meant")
            .fix("name ids, --group, --source or --reason, or pass --all"));
    }
    let topics = topics(connection, config, &arguments.selection.topic).await?;
    let collection = dead_letters::collect(connection, &topics).await?;
    if let Some(unknown) = arguments.ids.iter().find(|id| collection.find(id).is_none()) {
        return Err(Failure::new(Exit::NotFound, format!("there is no dead letter {unknown:?}"))
            .fix("`postroom dlq ls --each --all` lists the ids"));
    }
    let meant = collection.select(&Selection { done_too: arguments.force, ..selection.clone() }).len();
    terminal.say(&format!("{meant} dead letters"));
    let producer = Producer::start(&ProducerConfig::new(connection.clone()))?;
    let order = Replay {
        selection,
        by: arguments.by.clone().unwrap_or_else(user),
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
    if arguments.output == Output::Json {
        let refused: Vec<_> =
            report.refused.iter().map(|(id, why)| json!({ "id": id, "why": why })).collect();
        terminal.json(&json!({ "dry_run": arguments.dry_run, "sent": report.sent, "refused": refused }))?;
    } else {
        let verb = if arguments.dry_run { "would be sent" } else { "sent" };
        terminal.line(&format!("{} {verb} to their groups", report.sent.len()))?;
    }
    // What was done before is only worth a word where somebody named it.
    for (id, why) in report.refused.iter().filter(|(id, _)| arguments.ids.contains(id)) {
        terminal.say(&format!("left alone: {id}: {why}"));
    }
    if arguments.dry_run {
        terminal.say("--dry-run: nothing was sent");
    } else if !report.sent.is_empty() {
        terminal.say("next: postroom dlq ls      those that fail again come back with one replay more");
    }
    let named = !arguments.ids.is_empty() && report.sent.is_empty();
    Ok(if named { Exit::No } else { Exit::Ok })
}

/// The dead-letter topics that are read: those named, else all that are called as ours are.
async fn topics(connection: &Connection, config: &Config, named: &[String]) -> Result<Vec<String>, Failure> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    Ok(dead_letters::topics(connection, &config.topics.dead_letter.to_string()).await?)
}

impl DlqSelection {
    fn selection(&self, done_too: bool) -> Selection {
        Selection {
            ids: Vec::new(),
            group: self.group.clone(),
            topic: self.source.clone(),
            reason: self.reason.clone(),
            done_too,
        }
    }
}

fn letters(collection: &Collection, selection: &Selection) -> String {
    let rows: Vec<_> = collection
        .select(selection)
        .into_iter()
        .map(|entry| {
            vec![
                entry.id.clone(),
                entry.reason.clone(),
                entry.detail.clone().unwrap_or_default(),
                entry.replays.to_string(),
                state(&entry.state).to_owned(),
                entry.failed_at.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(&["id", "reason", "detail", "replays", "state", "failed"], &rows)
}

fn cause_row(cause: Cause) -> Vec<String> {
    let failed = cause.last_failed_at.unwrap_or_default();
    vec![cause.count.to_string(), cause.group, cause.topic, cause.reason, cause.detail, failed, cause.newest]
}

fn cause_json(cause: &Cause) -> Value {
    json!({
        "group": cause.group, "topic": cause.topic, "reason": cause.reason, "detail": cause.detail,
        "count": cause.count, "newest": cause.newest, "last_failed_at": cause.last_failed_at,
    })
}

fn letter_json(entry: &Entry) -> Value {
    json!({
        "id": entry.id, "group": entry.group, "handler": entry.handler, "topic": entry.origin.topic,
        "partition": entry.origin.partition, "offset": entry.origin.offset, "reason": entry.reason,
        "detail": entry.detail, "message": entry.message, "attempts": entry.attempts, "replays": entry.replays,
        "first_failed_at": entry.first_failed_at, "failed_at": entry.failed_at, "schema_id": entry.schema_id,
        "state": state(&entry.state),
        "place": format!("{}/{}/{}", entry.place.topic, entry.place.partition, entry.place.offset),
    })
}

fn state(state: &State) -> &'static str {
    match state {
        State::Discarded { .. } => "discarded",
        State::Open => "open",
        State::Replayed { .. } => "replayed",
    }
}

fn user() -> String {
    std::env::var("USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
