//! What hostile records cost, measured in a process of its own.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "codec/manifest.rs"]
mod manifest;

use postroom::event::BlogEvent;

use crate::manifest::{cases, codec};

#[test]
fn the_whole_corpus_is_judged_within_bounded_memory() {
    let codec = codec();
    let cases = cases();
    let before = resident();

    for case in &cases {
        drop(codec.envelope::<BlogEvent>(&case.record()));
        drop(codec.to_json(&case.record()));

        let grown = resident().saturating_sub(before);
        assert!(grown < 64 * 1024 * 1024, "row {}, {}: {grown} bytes", case.row, case.name);
    }

    assert!(cases.iter().any(|case| case.expect == "budget"));
}

/// The most memory that this process ever held, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}
