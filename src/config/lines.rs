//! Where a key stands in a TOML text: good enough to point at, for tables and keys written the usual way.

use std::collections::BTreeMap;

/// Maps the path of each key and table to its line, counted from 1. Of a repeated key the last line stays.
pub(crate) fn lines(text: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut table = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let number = index.saturating_add(1);
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            table = bare(header.trim_start_matches('['));
            found.insert(table.clone(), number);
        } else if !line.starts_with('#')
            && let Some((key, _)) = split_key(line)
        {
            let key = bare(key);
            let path = if table.is_empty() { key } else { format!("{table}.{key}") };
            found.insert(path, number);
        }
    }
    found
}

/// Splits at the first equals sign that is outside quotes.
fn split_key(line: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, char) in line.char_indices() {
        match (quote, char) {
            (None, '"' | '\'') => quote = Some(char),
            (Some(open), char) if open == char => quote = None,
            (None, '=') => return line.split_at_checked(at),
            _ => {}
        }
    }
    None
}

fn bare(key: &str) -> String {
    key.split('.').map(|part| part.trim().trim_matches(['"', '\''])).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_their_tables() {
        let text = "# top\n[kafka]\nbrokers = \"a:1\"\n\n[kafka.librdkafka]\n\"fetch.wait.max.ms\" = 10\nlinger.ms = 5\n";

        let found = lines(text);

        assert_eq!(found.get("kafka.brokers"), Some(&3));
        assert_eq!(found.get("kafka.librdkafka.fetch.wait.max.ms"), Some(&6));
        assert_eq!(found.get("kafka.librdkafka.linger.ms"), Some(&7));
    }
}
