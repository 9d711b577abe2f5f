//! `postroom import`: publishes a file of events.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::args::{Global, ImportArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::feed::read;
use crate::cli::progress::bar;
use crate::cli::publish::Publisher;
use crate::cli::sample::SampleRecord;
use crate::cli::schemas::writing;
use crate::cli::serving::runtime;
use crate::cli::settings::{loaded_for_cluster, start_log};
use crate::cli::terminal::{Style, Terminal, table};
use crate::event::{BlogEvent, EventType};
use crate::kafka::{Producer, ProducerConfig};
use crate::runtime::connection;

pub(crate) fn run(global: &Global, arguments: &ImportArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let loaded = loaded_for_cluster(global, terminal)?;
    let (events, bad) = read(&arguments.file)?;
    for line in &bad {
        terminal.say(&format!("{} {line}", terminal.err_styled(Style::Bad, "bad line:")));
    }
    if !bad.is_empty() && !arguments.skip_bad {
        let what = format!(
            "{} of {} lines are no events: nothing was published",
            bad.len(),
            bad.len() + events.len()
        );
        return Err(Failure::new(Exit::Data, what).fix("correct them, or pass --skip-bad to leave them out"));
    }
    if arguments.dry_run {
        terminal.text(&counted(&events))?;
        terminal.say("--dry-run: nothing was published");
        return Ok(Exit::Ok);
    }
    let _log = start_log(&loaded, None, terminal)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let codec = writing(&loaded.config, &kinds(&events)).await?;
        let producer = Producer::start(&ProducerConfig::new(connection(&loaded.config)))?;
        let topics: BTreeSet<_> = events.iter().map(|event| event.event_type().topic).collect();
        for topic in topics {
            producer.check(topic).await?;
        }
        let mut publisher = Publisher::new(producer, codec);
        let bar = bar(u64::try_from(events.len()).unwrap_or_default(), "import");
        for event in events {
            publisher.publish(&SampleRecord::Event(event)).await?;
            bar.inc(1);
        }
        publisher.settle().await?;
        bar.finish_and_clear();
        terminal.line(&format!("{} events published", publisher.counts().total()))?;
        terminal.say("next: postroom status");
        Ok(Exit::Ok)
    })
}

/// The kinds of these events, each once.
fn kinds(events: &[BlogEvent]) -> Vec<EventType> {
    let kinds: BTreeMap<_, _> =
        events.iter().map(BlogEvent::event_type).map(|kind| (kind.name, kind)).collect();
    kinds.into_values().collect()
}

fn counted(events: &[BlogEvent]) -> String {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for event in events {
        let kind = event.event_type();
        let count = counts.entry((kind.topic, kind.name)).or_default();
        *count = count.saturating_add(1);
    }
    let rows: Vec<_> = counts
        .into_iter()
        .map(|((topic, name), count)| vec![topic.to_owned(), name.to_owned(), count.to_string()])
        .collect();
    table(&["topic", "event", "count"], &rows)
}
