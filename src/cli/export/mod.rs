//! `postroom export`: what other tools need to know of Postroom.

mod dashboard;

use crate::cli::args::ExportCommand;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::terminal::Terminal;

pub(crate) fn run(command: &ExportCommand, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match command {
        ExportCommand::Alerts { kubernetes: false } => terminal.text(ALERTS)?,
        ExportCommand::Alerts { kubernetes: true } => terminal.text(&prometheus_rule(ALERTS))?,
        ExportCommand::Dashboard => terminal.json(&dashboard::dashboard())?,
    }
    Ok(Exit::Ok)
}

/// Puts the rules into an object of the Prometheus operator: the same text, further in.
fn prometheus_rule(rules: &str) -> String {
    let mut object = HEAD.to_owned();
    for line in rules.lines().skip_while(|line| !line.starts_with("groups:")) {
        if !line.is_empty() {
            object.push_str("  ");
            object.push_str(line);
        }
        object.push('\n');
    }
    object
}

const ALERTS: &str = include_str!("../../../deploy/prometheus/postroom.rules.yml");

const HEAD: &str = "\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: postroom
  labels:
    app.kubernetes.io/name: postroom
spec:
";
