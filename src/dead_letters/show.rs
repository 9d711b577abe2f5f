//! A dead letter as text, for a person.

use std::fmt::Write;

use crate::dead_letters::entry::{Entry, State};
use crate::event::RawRecord;
use crate::kafka::{PREFIX, REPLAY_PREFIX};

/// Writes a dead letter: what is known of it, its own headers, its value as hexadecimal digits (4 KiB at most)
/// and as what `decode` makes of it.
pub fn render(
    entry: &Entry,
    record: &RawRecord,
    decode: impl FnOnce(&RawRecord) -> Result<String, String>,
) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{name:<16}{}", printable(value));
    };
    line("id", &entry.id);
    line("state", &state(&entry.state));
    line("group", &entry.group);
    if let Some(handler) = &entry.handler {
        line("handler", handler);
    }
    line("from", &format!("{}/{} at {}", entry.origin.topic, entry.origin.partition, entry.origin.offset));
    line("stands at", &format!("{}/{} at {}", entry.place.topic, entry.place.partition, entry.place.offset));
    if let Some(event_type) = &entry.event_type {
        line("event type", event_type);
    }
    line("reason", &entry.reason);
    for (name, value) in [
        ("detail", &entry.detail),
        ("message", &entry.message),
        ("first failed", &entry.first_failed_at),
        ("last failed", &entry.failed_at),
        ("schema", &entry.schema_id),
    ] {
        if let Some(value) = value {
            line(name, value);
        }
    }
    if let Some(attempts) = entry.attempts {
        line("attempts", &attempts.to_string());
    }
    line("replays", &entry.replays.to_string());
    line("headers of", entry.dialect.name());
    line("key", &record.key().map_or_else(|| "null".to_owned(), shown));
    for header in record.headers().filter(|header| !is_ours(header.name)) {
        line(
            "header",
            &format!("{} = {}", header.name, header.value.map_or_else(|| "null".to_owned(), shown)),
        );
    }
    match record.value() {
        None if entry.by_reference && entry.origin.offset < 0 => {
            line("value", "too large: it was never published, and stands in the outbox only");
        }
        None if entry.by_reference => line("value", "too large: it stands in the source topic only"),
        None => line("value", "null (a tombstone)"),
        Some(value) => {
            line("value", &format!("{} bytes", value.len()));
            text.push_str(&hex(value));
            match decode(record) {
                Ok(decoded) => text.push_str(&format!("decoded\n{decoded}\n")),
                Err(reason) => text.push_str(&format!("not decoded: {}\n", printable(&reason))),
            }
        }
    }
    text
}

fn state(state: &State) -> String {
    match state {
        State::Open => "open".to_owned(),
        State::Replayed { at, by } => format!("replayed {at} by {by}"),
        State::Discarded { at, by, why } if why.is_empty() => format!("discarded {at} by {by}"),
        State::Discarded { at, by, why } => format!("discarded {at} by {by}: {why}"),
    }
}

fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text:?}"),
        Ok(_) | Err(_) => {
            let shown: String = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
            format!("0x{shown}{}", if bytes.len() > 64 { "…" } else { "" })
        }
    }
}

/// Takes out what could steer a terminal: the text came from outside.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in bytes.chunks(16).take(HEX_LINES).enumerate() {
        let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let letters: String = line
            .iter()
            .map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' })
            .collect();
        text.push_str(&format!("  {:06x}  {:<47}  {letters}\n", number * 16, digits.join(" ")));
    }
    if bytes.len() > HEX_LINES * 16 {
        text.push_str("  …\n");
    }
    text
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || name.starts_with(REPLAY_PREFIX)
}

const HEX_LINES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::entry::{Reading, read, tests::record};

    #[test]
    fn a_letter_is_shown_with_its_bytes_and_what_they_mean() {
        let record = record(&[("ce_id", Some(b"e1")), ("odd", Some(&[0x1b, b'[']))], 5);
        let Reading::Letter(entry) = read(&record) else { unreachable!() };

        let text = render(&entry, &record, |_| Err("not framed".to_owned()));

        for part in ["/dlq.g.posts/1/5", "ce_id = \"e1\"", "odd = 0x1b5b", "76", "not decoded: not framed"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
