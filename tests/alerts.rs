//! The alert rules: each alert has its page, each page its alert, and every metric that a rule names is exported.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;

const RULES: &str = include_str!("../deploy/prometheus/postroom.rules.yml");
const UNIT_TESTS: &str = include_str!("../deploy/prometheus/postroom.rules.test.yml");
const METRICS: &str = include_str!("../docs/metrics.md");

fn alerts() -> BTreeSet<String> {
    RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks");
    let pages: BTreeSet<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".md").to_owned())
        .collect();

    assert_eq!(alerts(), pages);
    for alert in alerts() {
        assert!(
            RULES.contains(&format!("runbook: docs/runbooks/{alert}.md")),
            "{alert} does not name its page"
        );
    }
}

#[test]
fn every_alert_has_a_unit_test() {
    let untested: Vec<_> =
        alerts().into_iter().filter(|alert| !UNIT_TESTS.contains(&format!("alertname: {alert}"))).collect();

    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn every_metric_in_a_rule_is_exported() {
    let named: BTreeSet<_> = RULES
        .split(|char: char| !char.is_ascii_alphanumeric() && char != '_')
        .filter(|word| word.starts_with("postroom_"))
        .collect();
    let unknown: Vec<_> = named.iter().filter(|name| !METRICS.contains(&format!("`{name}`"))).collect();

    assert!(named.len() > 10, "{named:?}");
    let recorded = ["postroom_messages", "postroom_dead_letters"];
    let unknown: Vec<_> = unknown.into_iter().filter(|name| !recorded.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
