//! `postroom schemas check`: whether the newest schemas read what was written before.

use serde_json::{Value, json};

use crate::adapters::registry::{Compatibility, RegistryServer};
use crate::cli::args::{Global, Output, SchemasCheckArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::schemas::catalogue::{Catalogue, Kind, Version};
use crate::cli::schemas::codec::server;
use crate::cli::schemas::level::{Level, Reads, Span};
use crate::cli::serving::runtime;
use crate::cli::settings::loaded;
use crate::cli::terminal::{Style, Terminal, table};
use crate::codec::{Obstacle, obstacles, same_schema};
use crate::config::Config;

/// What one newest schema was held against, and how it went.
struct Verdict {
    event: String,
    version: u32,
    /// The subject at the registry; `None` for the folder.
    subject: Option<String>,
    against: Vec<u32>,
    level: Level,
    findings: Vec<Finding>,
}

/// Who does not read whom, and why.
struct Finding {
    reader: String,
    writer: String,
    obstacle: Obstacle,
}

/// A schema that was there before.
struct Earlier {
    number: u32,
    name: String,
    text: String,
}

pub(crate) fn run(
    global: &Global,
    arguments: &SchemasCheckArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let config = loaded(global, terminal)?.config;
    let catalogue = Catalogue::read(&config, arguments.folder.as_deref())?;
    let mut verdicts = Vec::new();
    for kind in &catalogue.kinds {
        verdicts.extend(in_folder(kind, arguments.level)?);
    }
    let server = server(&config)?.filter(|_| !arguments.offline);
    if let Some(server) = &server {
        let asked = runtime()?.block_on(at_registry(&config, server, &catalogue, arguments.level))?;
        verdicts.extend(asked);
    }
    let is_good = catalogue.faults.is_empty() && verdicts.iter().all(|verdict| verdict.findings.is_empty());
    match arguments.output {
        Output::Json => terminal.json(&as_json(&verdicts, &catalogue, arguments.level, is_good))?,
        Output::Text => {
            terminal.text(&as_table(&verdicts))?;
            for line in problems(&verdicts, &catalogue) {
                terminal.line(&line)?;
            }
            if is_good {
                let word = format!("compatible: {} or better", arguments.level.word());
                terminal.line(&terminal.styled(Style::Good, &word))?;
            }
        }
    }
    Ok(if is_good { Exit::Ok } else { Exit::No })
}

fn in_folder(kind: &Kind, level: Level) -> Result<Option<Verdict>, Failure> {
    let Some((newest, before)) = kind.versions.split_last() else { return Ok(None) };
    let name = |version: &Version| format!("v{}", version.number);
    let earlier: Vec<_> = before
        .iter()
        .map(|one| Earlier { number: one.number, name: name(one), text: one.text.clone() })
        .collect();
    held(kind, newest, None, &earlier, level).map(Some)
}

async fn at_registry(
    config: &Config,
    server: &RegistryServer,
    catalogue: &Catalogue,
    level: Level,
) -> Result<Vec<Verdict>, Failure> {
    let mut verdicts = Vec::new();
    for kind in &catalogue.kinds {
        let Some(newest) = kind.newest() else { continue };
        let subject = kind.subject(newest, config)?;
        let mut earlier = Vec::new();
        for number in server.versions(&subject).await? {
            // One that was deleted meanwhile is nobody's writer.
            if let Some(found) = server.version(&subject, &number.to_string()).await? {
                earlier.push(Earlier { number, name: format!("registered {number}"), text: found.schema });
            }
        }
        let is_there = earlier.iter().any(|one| same_schema(&one.text, &newest.text).unwrap_or_default());
        let mut verdict = held(kind, newest, Some(subject.clone()), &earlier, level)?;
        if !is_there && let Compatibility::Incompatible(why) = server.check(&subject, &newest.text).await? {
            verdict.findings.push(refused_there(newest, &why));
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

fn refused_there(newest: &Version, why: &[String]) -> Finding {
    let what = match why.first() {
        Some(first) => format!("the registry would refuse it: {first:.300}"),
        None => "the registry would refuse it".to_owned(),
    };
    Finding {
        reader: format!("v{}", newest.number),
        writer: "the registered latest".to_owned(),
        obstacle: Obstacle { path: String::new(), what, fix: None },
    }
}

/// Holds the newest against those before.
fn held(
    kind: &Kind,
    newest: &Version,
    subject: Option<String>,
    earlier: &[Earlier],
    level: Level,
) -> Result<Verdict, Failure> {
    let ours = format!("v{}", newest.number);
    let (mut backward, mut forward) = (Reads { last: true, all: true }, Reads { last: true, all: true });
    let mut findings = Vec::new();
    for (distance, one) in earlier.iter().rev().enumerate() {
        let is_asked = |span: Option<Span>| span.is_some_and(|span| span == Span::All || distance == 0);
        for (reads, asked, writer, reader) in [
            (&mut backward, level.asks_backward(), (&one.name, &one.text), (&ours, &newest.text)),
            (&mut forward, level.asks_forward(), (&ours, &newest.text), (&one.name, &one.text)),
        ] {
            let found = obstacles(writer.1, reader.1)
                .map_err(|error| Failure::new(Exit::Data, format!("{} {}: {error}", kind.event, one.name)))?;
            reads.all &= found.is_empty();
            reads.last &= found.is_empty() || distance > 0;
            if is_asked(asked) {
                findings.extend(found.into_iter().map(|obstacle| Finding {
                    reader: reader.0.clone(),
                    writer: writer.0.clone(),
                    obstacle,
                }));
            }
        }
    }
    Ok(Verdict {
        event: kind.event.clone(),
        version: newest.number,
        subject,
        against: earlier.iter().map(|one| one.number).collect(),
        level: Level::of(backward, forward),
        findings,
    })
}

fn as_table(verdicts: &[Verdict]) -> String {
    let rows: Vec<_> = verdicts
        .iter()
        .map(|verdict| {
            let against = match (verdict.against.len(), &verdict.subject) {
                (0, None) => "nothing before it".to_owned(),
                (0, Some(subject)) => format!("{subject}: nothing registered"),
                (count, None) => format!("{count} before it"),
                (count, Some(subject)) => format!("{subject}: {count} registered"),
            };
            let level = if verdict.against.is_empty() { "–" } else { verdict.level.word() };
            vec![verdict.event.clone(), format!("v{}", verdict.version), level.to_owned(), against]
        })
        .collect();
    table(&["event", "newest", "level", "held against"], &rows)
}

fn problems(verdicts: &[Verdict], catalogue: &Catalogue) -> Vec<String> {
    let mut lines = Vec::new();
    for (what, fix) in &catalogue.faults {
        lines.push(what.clone());
        lines.push(format!("  {fix}"));
    }
    for verdict in verdicts {
        for Finding { reader, writer, obstacle } in &verdict.findings {
            let path = if obstacle.path.is_empty() { "" } else { &format!("field {}: ", obstacle.path) };
            lines
                .push(format!("{}: {reader} does not read {writer}: {path}{}", verdict.event, obstacle.what));
            lines.extend(obstacle.fix.iter().map(|fix| format!("  {fix}")));
        }
    }
    lines
}

fn as_json(verdicts: &[Verdict], catalogue: &Catalogue, asked: Level, is_good: bool) -> Value {
    let verdicts = verdicts.iter().map(|verdict| {
        let findings = verdict.findings.iter().map(|finding| {
            json!({
                "reader": finding.reader, "writer": finding.writer, "path": finding.obstacle.path,
                "what": finding.obstacle.what, "fix": finding.obstacle.fix,
            })
        });
        json!({
            "event": verdict.event, "version": verdict.version, "subject": verdict.subject,
            "against": verdict.against, "level": verdict.level.word(),
            "compatible": verdict.findings.is_empty(), "findings": findings.collect::<Vec<_>>(),
        })
    });
    let faults = catalogue.faults.iter().map(|(what, fix)| json!({ "what": what, "fix": fix }));
    json!({
        "compatible": is_good, "asked": asked.word(), "schemas": verdicts.collect::<Vec<_>>(),
        "faults": faults.collect::<Vec<_>>(),
    })
}
