//! `postroom config`: every setting, its value and where it comes from.

use serde_json::json;

use crate::cli::args::{ConfigCommand, Global, Output};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::loaded;
use crate::cli::terminal::{Style, Terminal};

pub(crate) fn run(
    global: &Global,
    command: &ConfigCommand,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Reference => terminal.text(&crate::config::reference())?,
        ConfigCommand::Show { origin, output } => show(global, *origin, *output, terminal)?,
    }
    Ok(Exit::Ok)
}

fn show(global: &Global, origin: bool, output: Output, terminal: &mut Terminal) -> Result<(), Failure> {
    let loaded = loaded(global, terminal)?;
    if output == Output::Json {
        let rows: Vec<_> = loaded
            .settings
            .iter()
            .map(|one| json!({ "setting": one.path, "value": one.value, "origin": one.origin.to_string() }))
            .collect();
        return terminal.json(&rows);
    }
    let mut settings = loaded.settings;
    settings.sort_by_key(|setting| table_of(&setting.path).0.to_owned());
    let widest = settings
        .iter()
        .map(|one| table_of(&one.path).1.len() + one.value.len())
        .filter(|width| *width < 60)
        .max();
    let mut section = None;
    for setting in &settings {
        let (table, key) = table_of(&setting.path);
        if section != Some(table) {
            let gap = if section.is_some() { "\n" } else { "" };
            terminal.line(&format!("{gap}{}", terminal.styled(Style::Strong, &format!("[{table}]"))))?;
            section = Some(table);
        }
        // What is not set is shown as a comment: the output is a file that can be loaded.
        let unset = if setting.value == "not set" { "# " } else { "" };
        let line = format!("{unset}{key} = {}", setting.value);
        if origin {
            let width = widest.unwrap_or_default() + 5;
            let from = terminal.styled(Style::Faint, &format!("# {}", setting.origin));
            terminal.line(&format!("{line:width$}  {from}"))?;
        } else {
            terminal.line(&line)?;
        }
    }
    Ok(())
}

/// Splits a path into its table and its key. Properties of librdkafka have dots in their names.
fn table_of(path: &str) -> (&str, &str) {
    const RAW: &str = "kafka.librdkafka";
    if let Some(name) = path.strip_prefix(RAW).and_then(|rest| rest.strip_prefix('.')) {
        return (RAW, name);
    }
    path.rsplit_once('.').unwrap_or(("", path))
}
