//! `postroom demo --from` with a real site's history: every table equals an independent serial count.
#![expect(clippy::indexing_slicing, clippy::print_stderr, clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use postroom::adapters::store::SqliteStore;
use serde_json::Value;

#[tokio::test]
async fn a_real_sites_history_through_the_demo_equals_the_serial_count() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sample = root.join("../shared/data/blog-sample.jsonl");
    if !sample.exists() {
        eprintln!("SKIPPED: {} is missing", sample.display());
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let tables = home.path().join("postroom.db");
    let demo = Command::new(env!("CARGO_BIN_EXE_postroom"))
        .args(["demo", "--until-idle", "--port", "0", "-o", "json", "--set"])
        .arg(format!("store.url=sqlite:{}", tables.display()))
        .arg("--from")
        .arg(&sample)
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .env("XDG_CACHE_HOME", home.path())
        .output()
        .unwrap();
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let told: Value = serde_json::from_slice(&demo.stdout).unwrap();

    let dumped = SqliteStore::open(&tables).unwrap().dump().await.unwrap();
    let counted = Command::new("python3")
        .arg(root.join("tests/serial_count.py"))
        .args(["--register", "nobody"])
        .arg(&sample)
        .output()
        .unwrap();
    assert!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stderr));
    let counted: Value = serde_json::from_slice(&counted.stdout).unwrap();

    assert_eq!(told["events"]["published"], 9_895 + 1_489);
    assert!(dumped == counted, "the tables differ from the serial count");
    assert_eq!(told["tables"]["posts"], counted["totals"]["posts"]);
}
