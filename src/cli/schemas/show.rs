//! `postroom schemas show`: the schemas at hand and at the registry.

use serde_json::{Value, json};

use crate::adapters::registry::RegistryServer;
use crate::cli::args::{Global, Output, SchemasShowArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::schemas::catalogue::Catalogue;
use crate::cli::schemas::codec::server;
use crate::cli::schemas::named::find;
use crate::cli::serving::runtime;
use crate::cli::settings::loaded;
use crate::cli::terminal::{Terminal, table};
use crate::codec::guid_text;

pub(crate) fn run(
    global: &Global,
    arguments: &SchemasShowArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let config = loaded(global, terminal)?.config;
    let server = server(&config)?;
    if arguments.registered {
        let Some(server) = server else {
            return Err(Failure::new(Exit::Configuration, "no registry is configured")
                .fix("set registry.url, such as --set registry.url=http://localhost:8081"));
        };
        let subjects = runtime()?.block_on(registered(&server))?;
        return list_registered(&subjects, arguments.output, terminal);
    }
    let catalogue = Catalogue::read(&config, arguments.folder.as_deref())?;
    let Some(name) = &arguments.schema else { return list(&catalogue, arguments.output, terminal) };
    let found = runtime()?.block_on(find(&catalogue, server.as_ref(), name))?;
    let schema: Value = serde_json::from_str(&found.text)
        .map_err(|error| Failure::new(Exit::Data, format!("{name} is not JSON: {error}")))?;
    match arguments.output {
        Output::Json => terminal.json(&json!({ "name": found.name, "schema": schema }))?,
        Output::Text => terminal.line(found.text.trim_end())?,
    }
    Ok(Exit::Ok)
}

fn list(catalogue: &Catalogue, output: Output, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let versions = catalogue.kinds.iter().flat_map(|kind| kind.versions.iter().map(move |one| (kind, one)));
    if output == Output::Json {
        let rows = versions.map(|(kind, one)| {
            json!({
                "event": kind.event, "version": one.number, "topic": kind.topic, "record": one.record,
                "id": one.entry.as_ref().map(|entry| entry.id), "guid": guid_text(&one.guid),
                "fingerprint": format!("{:016x}", one.fingerprint), "place": one.place,
            })
        });
        terminal.json(&json!({ "schemas": rows.collect::<Vec<_>>() }))?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<_> = versions
        .map(|(kind, one)| {
            let id = one.entry.as_ref().map(|entry| entry.id.to_string()).unwrap_or_default();
            let topic = kind.topic.clone().unwrap_or_default();
            let name = format!("{}@{}", kind.event, one.number);
            vec![name, topic, one.record.clone(), id, guid_text(&one.guid), one.place.clone()]
        })
        .collect();
    terminal.text(&table(&["schema", "topic", "record", "id", "guid", "place"], &rows))?;
    Ok(Exit::Ok)
}

/// One version of a subject.
struct Row {
    subject: String,
    version: u32,
    id: u32,
    guid: Option<String>,
    kind: String,
    level: Option<String>,
}

async fn registered(server: &RegistryServer) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for subject in server.subjects().await? {
        let level = server.level(&subject).await?;
        for version in server.versions(&subject).await? {
            let Some(found) = server.entry(&subject, version).await? else { continue };
            rows.push(Row {
                subject: subject.clone(),
                version,
                id: found.id,
                guid: found.guid,
                kind: found.kind.unwrap_or_else(|| "AVRO".to_owned()),
                level: level.clone(),
            });
        }
    }
    Ok(rows)
}

fn list_registered(rows: &[Row], output: Output, terminal: &mut Terminal) -> Result<Exit, Failure> {
    if output == Output::Json {
        let rows = rows.iter().map(|row| {
            json!({
                "subject": row.subject, "version": row.version, "id": row.id, "guid": row.guid,
                "type": row.kind, "level": row.level,
            })
        });
        terminal.json(&json!({ "schemas": rows.collect::<Vec<_>>() }))?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let [version, id] = [row.version.to_string(), row.id.to_string()];
            let [guid, level] = [&row.guid, &row.level].map(|text| text.clone().unwrap_or_default());
            vec![row.subject.clone(), version, id, guid, row.kind.clone(), level]
        })
        .collect();
    terminal.text(&table(&["subject", "version", "id", "guid", "type", "level"], &rows))?;
    Ok(Exit::Ok)
}
