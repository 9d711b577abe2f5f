//! The dashboard: the file is what the program exports, every metric is on a panel, and every panel explains itself.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::process::Command;

use postroom::telemetry::Family;
use serde_json::Value;

fn exported() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_postroom")).args(["export", "dashboard"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_file_is_what_the_program_exports() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/postroom.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, exported()).unwrap();
    }

    assert_eq!(std::fs::read_to_string(path).unwrap(), exported(), "run with UPDATE_DOCS=1");
}

#[test]
fn every_metric_is_on_a_panel() {
    let dashboard = exported();
    let missing: Vec<_> =
        Family::ALL.iter().map(|family| family.name).filter(|name| !dashboard.contains(name)).collect();

    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_panel_explains_itself_and_has_a_place_of_its_own() {
    let dashboard: Value = serde_json::from_str(&exported()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let place = |panel: &Value, side: &str| panel["gridPos"][side].as_i64().unwrap();
    assert!(panels.len() > 30, "{}", panels.len());

    for (number, panel) in panels.iter().enumerate() {
        let row = panel["type"] == "row";
        assert!(row || panel["description"].as_str().is_some_and(|text| text.len() > 10), "{panel}");
        assert!(row || panel["fieldConfig"]["defaults"]["unit"].is_string(), "{panel}");
        assert!(place(panel, "x") + place(panel, "w") <= 24, "{panel}");
        for other in panels.iter().skip(number + 1) {
            let apart = |side: &str, length: &str| {
                place(panel, side) + place(panel, length) <= place(other, side)
                    || place(other, side) + place(other, length) <= place(panel, side)
            };
            assert!(apart("x", "w") || apart("y", "h"), "{} lies on {}", panel["title"], other["title"]);
        }
    }
}
