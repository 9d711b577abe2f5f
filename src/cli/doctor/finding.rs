//! What a check found, for people and for programs.

use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::terminal::{Style, Terminal};

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// There was nothing to look at, or no way.
    Skip,
    /// It is well.
    Ok,
    /// It works, but should be looked at.
    Warn,
    /// It does not work, or loses something.
    Fail,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) health: Health,
    /// What was seen, in a line.
    pub(crate) seen: String,
    /// What to do about it: commands and settings.
    pub(crate) fix: Option<String>,
}

/// One check and all that it found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) check: &'static str,
    pub(crate) health: Health,
    pub(crate) findings: Vec<Finding>,
    /// How long it took.
    pub(crate) milliseconds: u64,
}

impl Finding {
    pub(crate) fn ok(seen: impl Into<String>) -> Self {
        Self { health: Health::Ok, seen: seen.into(), fix: None }
    }

    pub(crate) fn skip(seen: impl Into<String>) -> Self {
        Self { health: Health::Skip, seen: seen.into(), fix: None }
    }

    pub(crate) fn warn(seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { health: Health::Warn, seen: seen.into(), fix: Some(fix.into()) }
    }

    pub(crate) fn fail(seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { health: Health::Fail, seen: seen.into(), fix: Some(fix.into()) }
    }

    /// Of a failure of a command, whose advice is the fix.
    pub(crate) fn of(failure: &Failure) -> Self {
        Self { health: Health::Fail, seen: failure.to_string(), fix: failure.advice().map(str::to_owned) }
    }
}

impl Report {
    pub(crate) fn new(check: &'static str, findings: Vec<Finding>, milliseconds: u64) -> Self {
        let health = findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Skip);
        Self { check, health, findings, milliseconds }
    }

    /// For people: a line for each finding, and one for each fix.
    pub(crate) fn text(&self, terminal: &Terminal) -> String {
        let mut text = String::new();
        for (index, finding) in self.findings.iter().enumerate() {
            let (word, style) = match finding.health {
                Health::Skip => ("skip", Style::Faint),
                Health::Ok => ("ok", Style::Good),
                Health::Warn => ("warn", Style::Warning),
                Health::Fail => ("fail", Style::Bad),
            };
            let name = if index == 0 { self.check } else { "" };
            let word = terminal.styled(style, &format!("{word:4}"));
            text.push_str(&format!("{word}  {name:12} {}\n", indented(&finding.seen)));
            if let Some(fix) = &finding.fix {
                let fix = indented(fix);
                text.push_str(&format!("{:18} {} {fix}\n", "", terminal.styled(Style::Strong, "fix:")));
            }
        }
        text
    }
}

/// Lines behind the first stand below it.
fn indented(text: &str) -> String {
    text.replace('\n', &format!("\n{:19}", ""))
}
