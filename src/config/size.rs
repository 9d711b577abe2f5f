//! Sizes in bytes, written `64MiB`.

use std::fmt;

use figment::value::Value;

use crate::config::part::{Leaf, Refusal, scalar};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Returns so many mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1_024 * 1_024))
    }

    /// Returns the number of bytes, at most what an address can hold.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in UNITS.iter().rev().filter(|(unit, _)| unit.contains("iB")) {
            if self.0 >= *factor && self.0.is_multiple_of(*factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl Leaf for ByteSize {
    const KIND: &'static str = "a size, such as `64MiB`";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write a number with a unit, such as \"64MiB\" or \"512KiB\"";
        let text = scalar(value).map_err(|kind| Refusal::new(format!("is {kind}, not a size"), fix))?;
        parse(&text).ok_or_else(|| Refusal::new(format!("{text:?} is not a size"), fix))
    }

    fn text(&self) -> String {
        format!("\"{self}\"")
    }
}

fn parse(text: &str) -> Option<ByteSize> {
    let text = text.trim();
    let split = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(split)?;
    let count: u64 = digits.parse().ok()?;
    let unit = unit.trim();
    let factor = if unit.is_empty() {
        1
    } else {
        UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)?
    };
    count.checked_mul(factor).map(ByteSize)
}

const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1_024),
    ("MB", 1_000_000),
    ("MiB", 1_024 * 1_024),
    ("GB", 1_000_000_000),
    ("GiB", 1_024 * 1_024 * 1_024),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse("64MiB"), Some(ByteSize::mib(64)));
        assert_eq!(parse("1 kB"), Some(ByteSize(1_000)));
        assert_eq!(parse("17"), Some(ByteSize(17)));
    }

    #[test]
    fn sizes_that_do_not_fit_or_have_no_known_unit_are_refused() {
        assert_eq!(parse("64 parrots"), None);
        assert_eq!(parse("99999999999GiB"), None);
        assert_eq!(parse("-1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_is_exact() {
        assert_eq!(ByteSize(1_536).to_string(), "1536B");
        assert_eq!(ByteSize::mib(1_024).to_string(), "1GiB");
    }
}
