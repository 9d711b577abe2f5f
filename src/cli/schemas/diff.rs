//! `postroom schemas diff`: what changed from one schema to another.

use serde_json::json;

use crate::cli::args::{Global, Output, SchemasDiffArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::schemas::catalogue::Catalogue;
use crate::cli::schemas::codec::server;
use crate::cli::schemas::named::{Named, at_hand, find};
use crate::cli::serving::runtime;
use crate::cli::settings::loaded;
use crate::cli::terminal::{Style, Terminal};
use crate::codec::{Change, ChangeKind, Obstacle, changes, obstacles};

pub(crate) fn run(
    global: &Global,
    arguments: &SchemasDiffArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let config = loaded(global, terminal)?.config;
    let catalogue = Catalogue::read(&config, arguments.folder.as_deref())?;
    let server = server(&config)?;
    let (before, after) = runtime()?.block_on(async {
        let given = find(&catalogue, server.as_ref(), &arguments.before).await?;
        if let Some(after) = &arguments.after {
            return Ok((given, find(&catalogue, server.as_ref(), after).await?));
        }
        let Some(server) = &server else {
            return Err(Failure::new(Exit::Usage, "there is nothing to hold it against")
                .fix("name a second schema, or set registry.url for the registered latest"));
        };
        let Some((kind, version)) = at_hand(&catalogue, &arguments.before)? else {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} is no event, so its subject is not known", given.name),
            )
            .fix("name a second schema: SUBJECT@latest"));
        };
        let subject = kind.subject(version, &config)?;
        let registered = find(&catalogue, Some(server), &format!("{subject}@latest")).await?;
        Ok((registered, given))
    })?;
    let wrong = |error: crate::codec::SchemaError| Failure::new(Exit::Data, error.to_string());
    let changed = changes(&before.text, &after.text).map_err(wrong)?;
    let backward = obstacles(&before.text, &after.text).map_err(wrong)?;
    let forward = obstacles(&after.text, &before.text).map_err(wrong)?;
    match arguments.output {
        Output::Json => {
            let changes = changed.iter().map(
                |change| json!({ "change": change.kind.word(), "path": change.path, "what": change.what }),
            );
            terminal.json(&json!({
                "before": before.name, "after": after.name, "changes": changes.collect::<Vec<_>>(),
                "after_reads_before": backward.is_empty(), "before_reads_after": forward.is_empty(),
                "obstacles": backward.iter().map(obstacle_json).collect::<Vec<_>>(),
            }))?;
        }
        Output::Text => {
            for change in &changed {
                terminal.line(&line(change, terminal))?;
            }
            if changed.is_empty() {
                terminal.line("no differences")?;
            }
            reads(&after, &before, &backward, terminal)?;
            reads(&before, &after, &forward, terminal)?;
        }
    }
    Ok(Exit::Ok)
}

fn obstacle_json(obstacle: &Obstacle) -> serde_json::Value {
    json!({ "path": obstacle.path, "what": obstacle.what, "fix": obstacle.fix })
}

fn line(change: &Change, terminal: &Terminal) -> String {
    let (sign, style) = match change.kind {
        ChangeKind::Added => ("+", Style::Good),
        ChangeKind::Changed => ("~", Style::Warning),
        ChangeKind::Removed => ("-", Style::Bad),
    };
    let path = if change.path.is_empty() { "(itself)" } else { &change.path };
    terminal.styled(style, &format!("{sign} {path}  {}", change.what))
}

fn reads(reader: &Named, writer: &Named, found: &[Obstacle], terminal: &mut Terminal) -> Result<(), Failure> {
    if found.is_empty() {
        return terminal.line(&format!("{} reads {}", reader.name, writer.name));
    }
    terminal.line(&format!("{} does not read {}", reader.name, writer.name))?;
    for obstacle in found {
        let path = if obstacle.path.is_empty() { "" } else { &format!("field {}: ", obstacle.path) };
        terminal.line(&format!("  {path}{}", obstacle.what))?;
        if let Some(fix) = &obstacle.fix {
            terminal.line(&format!("    {fix}"))?;
        }
    }
    Ok(())
}
