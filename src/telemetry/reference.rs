//! The reference page of all metrics, made from the declarations.

use std::fmt::Write as _;

use crate::telemetry::families::Family;

/// Returns `docs/metrics.md`.
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    for family in Family::ALL {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        writeln!(page, "| `{}` | {} | {labels} | {} |", family.name, family.kind, family.help)
            .unwrap_or_default();
    }
    page.push_str(TAIL);
    page
}

const HEAD: &str = "# Metrics

<!-- Made from src/telemetry/families.rs; a test fails when this file is stale. -->

`GET /metrics` on `http.listen`. Every series of a consumer has the label `group`, since several groups run in one process. Every known combination of labels is there, at zero, from the start: an alert on any increase sees the first one. An event type that a group does not know is labelled `other`. Labels come from closed lists; no key, id, address or error text is one.

| name | type | labels | meaning |
|---|---|---|---|
";

const TAIL: &str = "
Beside these stand the `process_*` metrics of the Prometheus client: processor time, memory, file handles, threads, start time.
";
