//! `postroom export`: what other tools need to know of Postroom.

mod dashboard;
mod k8s;
mod keda;
mod measured;

use crate::cli::args::{ExportCommand, Global};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::terminal::Terminal;

pub(crate) fn run(
    global: &Global,
    command: &ExportCommand,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    match command {
        ExportCommand::Alerts { kubernetes: false } => terminal.text(ALERTS)?,
        ExportCommand::Alerts { kubernetes: true } => terminal.text(&prometheus_rule(ALERTS))?,
        ExportCommand::Compose { settings: false } => terminal.text(COMPOSE)?,
        ExportCommand::Compose { settings: true } => terminal.text(COMPOSE_SETTINGS)?,
        ExportCommand::Dashboard => terminal.json(&dashboard::dashboard())?,
        ExportCommand::K8s(arguments) => terminal.text(&k8s::manifests(global, arguments)?)?,
        ExportCommand::Keda(arguments) => terminal.text(&keda::scaled_object(global, arguments)?)?,
    }
    Ok(Exit::Ok)
}

/// Puts the rules into an object of the Prometheus operator: the same text, further in.
fn prometheus_rule(rules: &str) -> String {
    let mut object = HEAD.to_owned();
    let rules = rules.split_once("\ngroups:").map_or(rules, |(_, rest)| rest);
    object.push_str(&indented(&format!("groups:{rules}"), 2));
    object
}

/// Moves text to the right; empty lines stay empty.
fn indented(text: &str, by: usize) -> String {
    let mut moved = String::new();
    for line in text.lines() {
        if !line.is_empty() {
            moved.push_str(&" ".repeat(by));
            moved.push_str(line);
        }
        moved.push('\n');
    }
    moved
}

/// Puts values in the place of `@NAME@`.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

const ALERTS: &str = include_str!("../../../deploy/prometheus/postroom.rules.yml");
const COMPOSE: &str = include_str!("../../../docker-compose.yml");
const COMPOSE_SETTINGS: &str = include_str!("../../../deploy/compose/postroom.toml");

const HEAD: &str = "\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: postroom
  labels:
    app.kubernetes.io/name: postroom
spec:
";
