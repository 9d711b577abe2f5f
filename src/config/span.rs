//! Spans of time, written `30s`, `200ms`, `1h30m`, `7d`.

use std::time::Duration;

use figment::value::Value;

use crate::config::part::{Leaf, Refusal, scalar};

impl Leaf for Duration {
    const KIND: &'static str = "a span of time, such as `30s`";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write a number with a unit, such as \"30s\", \"200ms\" or \"1h30m\"";
        let text =
            scalar(value).map_err(|kind| Refusal::new(format!("is {kind}, not a span of time"), fix))?;
        parse(&text).ok_or_else(|| Refusal::new(format!("{text:?} is not a span of time"), fix))
    }

    fn text(&self) -> String {
        format!("\"{}\"", written(*self))
    }
}

/// Returns a span as it is written in the configuration.
pub(crate) fn written(span: Duration) -> String {
    if span.is_zero() {
        return "0s".to_owned();
    }
    let mut rest = span.as_millis();
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let count = rest / factor;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest -= count * factor;
        }
    }
    text
}

/// Reads a span; `None` where a unit is missing or unknown.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits_end = rest.find(|char: char| !char.is_ascii_digit())?;
        let (digits, tail) = rest.split_at_checked(digits_end)?;
        let unit_end = tail.find(|char: char| char.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor)?;
        let count: u128 = digits.parse().ok()?;
        total = total.checked_add(count.checked_mul(factor)?)?;
        rest = tail;
    }
    u64::try_from(total).ok().map(Duration::from_millis)
}

const UNITS: [(&str, u128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_units() {
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse("7d"), Some(Duration::from_secs(7 * 86_400)));
    }

    #[test]
    fn spans_without_a_unit_are_refused() {
        assert_eq!(parse("30"), None);
        assert_eq!(parse("30 fortnights"), None);
        assert_eq!(parse("-3s"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for millis in [0, 1, 999, 1_000, 61_001, 86_400_000, 90_061_001] {
            let span = Duration::from_millis(millis);
            assert_eq!(parse(&written(span)), Some(span));
        }
    }
}
