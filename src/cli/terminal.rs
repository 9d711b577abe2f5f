//! Where a command writes: results on standard output, messages on standard error.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::telemetry::log::Color;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// Always.
    Always,
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Never.
    Never,
}

/// The process's own output.
pub(crate) struct Terminal {
    choice: ColorChoice,
}

/// How something stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Bad,
    Faint,
    Good,
    Strong,
    Warning,
}

impl Terminal {
    pub(crate) fn new(choice: ColorChoice) -> Self {
        Self { choice }
    }

    /// Writes one line of results.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        Ok(())
    }

    /// Writes text of results as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Writes a result for programs.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(&text)
    }

    /// Writes one line to the person. A message that cannot be written must not stop the work.
    pub(crate) fn say(&self, text: &str) {
        writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.is_reader_gone() {
            return;
        }
        self.say(&format!("{} {failure}", self.err_styled(Style::Bad, "error:")));
        if let Some(advice) = failure.advice() {
            self.say(&format!("  {} {advice}", self.err_styled(Style::Good, "fix:")));
        }
    }

    /// Paints text for standard output.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        paint(self.colors(io::stdout().is_terminal()), style, text)
    }

    /// Paints text for standard error.
    pub(crate) fn err_styled(&self, style: Style, text: &str) -> String {
        paint(self.err_colors(), style, text)
    }

    /// Says whether messages have colours.
    pub(crate) fn err_colors(&self) -> Color {
        self.colors(io::stderr().is_terminal())
    }

    /// Says whether results go to a person.
    pub(crate) fn is_interactive(&self) -> bool {
        io::stdout().is_terminal()
    }

    fn colors(&self, terminal: bool) -> Color {
        let wanted = match self.choice {
            ColorChoice::Always => true,
            ColorChoice::Auto => {
                terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
            ColorChoice::Never => false,
        };
        if wanted { Color::On } else { Color::Off }
    }
}

/// Makes a table without borders: columns apart by two spaces.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(head.iter().map(|title| title.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    let lines: Vec<_> = text.lines().map(|line| line.trim_end().trim_start_matches(' ')).collect();
    format!("{}\n", lines.join("\n"))
}

fn paint(color: Color, style: Style, text: &str) -> String {
    let code = match style {
        Style::Bad => "31",
        Style::Faint => "2",
        Style::Good => "32",
        Style::Strong => "1",
        Style::Warning => "33",
    };
    match color {
        Color::On => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        Color::Off => text.to_owned(),
    }
}
