//! Values that are never shown.

use std::fmt;

use figment::value::Value;

use crate::config::part::{Leaf, Refusal, scalar};

/// A value that no display, log line or error message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Leaf for Secret {
    const KIND: &'static str = "a secret; the same key with `_file` at its end names a file that holds it";
    const SECRET: bool = true;

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = scalar(value)
            .map_err(|kind| Refusal::new(format!("is {kind}, not a secret"), "write it in quotes"))?;
        if text.is_empty() {
            return Err(Refusal::new("is empty", "remove the key or set a value"));
        }
        if PLACEHOLDERS.iter().any(|placeholder| placeholder.eq_ignore_ascii_case(&text)) {
            return Err(Refusal::new("is a placeholder", "set the real secret, best in a file"));
        }
        Ok(Self(text))
    }

    fn text(&self) -> String {
        REDACTED.to_owned()
    }
}

/// What stands in a secret's place.
pub(crate) const REDACTED: &str = "[redacted]";

const PLACEHOLDERS: [&str; 5] = ["changeme", "change-me", "password", "secret", "xxx"];
