//! `postroom schemas register`: brings schemas to the registry.

use std::collections::BTreeMap;

use serde_json::json;

use crate::adapters::registry::{Registered, RegistryServer};
use crate::cli::args::{Global, Output, SchemasRegisterArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::schemas::catalogue::{Catalogue, Kind};
use crate::cli::schemas::codec::server;
use crate::cli::schemas::level::Level;
use crate::cli::serving::runtime;
use crate::cli::settings::loaded;
use crate::cli::terminal::{Terminal, table};
use crate::config::Config;

/// What became of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It has an id now.
    Registered,
    /// It had one.
    There,
    /// It would get one.
    Pending,
    /// A later one is registered: this one would become the latest.
    LeftOut,
}

struct Row {
    event: String,
    version: u32,
    subject: String,
    step: Step,
    found: Option<Registered>,
}

pub(crate) fn run(
    global: &Global,
    arguments: &SchemasRegisterArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let config = loaded(global, terminal)?.config;
    let Some(server) = server(&config)? else {
        return Err(Failure::new(Exit::Configuration, "no registry is configured")
            .fix("set registry.url, such as --set registry.url=http://localhost:8081"));
    };
    let catalogue = Catalogue::read(&config, arguments.folder.as_deref())?;
    if let Some(unknown) = arguments.events.iter().find(|event| catalogue.kind(event).is_none()) {
        return Err(Failure::new(Exit::NotFound, format!("there is no event {unknown}"))
            .fix("`postroom schemas show` lists them"));
    }
    if let Some((what, fix)) = catalogue.faults.first() {
        return Err(Failure::new(Exit::Data, what.clone()).fix(fix.clone()));
    }
    let wanted = |kind: &&Kind| arguments.events.is_empty() || arguments.events.contains(&kind.event);
    let rows = runtime()?.block_on(async {
        let mut rows = Vec::new();
        for kind in catalogue.kinds.iter().filter(wanted) {
            rows.extend(register(&config, &server, kind, arguments).await?);
        }
        Ok::<_, Failure>(rows)
    })?;
    told(&rows, arguments, terminal)
}

/// Registers the versions of one kind, the oldest first.
async fn register(
    config: &Config,
    server: &RegistryServer,
    kind: &Kind,
    arguments: &SchemasRegisterArgs,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let mut found = Vec::new();
    for version in &kind.versions {
        let subject = kind.subject(version, config)?;
        found.push((version, server.look_up(&subject, &version.text, &[]).await?, subject));
    }
    // By subject: a record under a new name begins a new one.
    let newest_there: BTreeMap<String, u32> = found
        .iter()
        .filter(|(_, there, _)| there.is_some())
        .map(|(version, _, subject)| (subject.clone(), version.number))
        .collect();
    for (version, there, subject) in found {
        let (step, registered) = match there {
            Some(there) => (Step::There, Some(there)),
            None if newest_there.get(&subject).is_some_and(|newest| *newest > version.number) => {
                (Step::LeftOut, None)
            }
            None if arguments.dry_run => (Step::Pending, None),
            None => {
                let registered = server.register(&subject, &version.text, &[]).await.map_err(|error| {
                    let failure = Failure::from(error);
                    let what = format!("{} v{} under {subject}: {failure}", kind.event, version.number);
                    let advice = failure.advice().unwrap_or_default().to_owned();
                    Failure::new(failure.exit(), what).fix(advice)
                })?;
                (Step::Registered, Some(registered))
            }
        };
        if arguments.set_level && !arguments.dry_run {
            server.set_level(&subject, Level::BackwardTransitive.word()).await?;
        }
        rows.push(Row {
            event: kind.event.clone(),
            version: version.number,
            subject,
            step,
            found: registered,
        });
    }
    Ok(rows)
}

fn told(rows: &[Row], arguments: &SchemasRegisterArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match arguments.output {
        Output::Json => {
            let rows = rows.iter().map(|row| {
                json!({
                    "event": row.event, "version": row.version, "subject": row.subject, "step": row.step.word(),
                    "id": row.found.as_ref().map(|found| found.id),
                    "guid": row.found.as_ref().and_then(|found| found.guid.as_ref()),
                })
            });
            let rows: Vec<_> = rows.collect();
            terminal.json(&json!({ "dry_run": arguments.dry_run, "schemas": rows }))?;
        }
        Output::Text => {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    let id = row.found.as_ref().map(|found| found.id.to_string()).unwrap_or_default();
                    let guid = row.found.as_ref().and_then(|found| found.guid.clone()).unwrap_or_default();
                    let step = row.step.word().replace('_', " ");
                    vec![row.event.clone(), format!("v{}", row.version), row.subject.clone(), id, guid, step]
                })
                .collect();
            terminal.text(&table(&["event", "version", "subject", "id", "guid", "step"], &rows))?;
        }
    }
    if arguments.dry_run {
        terminal.say("--dry-run: nothing was registered");
    }
    if rows.iter().any(|row| row.step == Step::LeftOut) {
        terminal.say("left out: a later version is registered, and an older one would become the latest");
    }
    Ok(Exit::Ok)
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::There => "was_there",
            Self::Pending => "would_be_registered",
            Self::LeftOut => "left_out",
        }
    }
}
