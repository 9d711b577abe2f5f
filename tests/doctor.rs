//! `postroom doctor`: well on an embedded broker, and each fault is found alone, with real servers that are away, foreign or slow.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use serde_json::Value;

/// The program in a home of its own: what other processes of this machine left behind does not count.
fn postroom(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    command.env_clear().env("HOME", home).env("TMPDIR", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    command
}

fn doctor(home: &Path, only: &str, settings: &[&str]) -> (i32, Value) {
    let mut command = postroom(home);
    command.args(["doctor", "-o", "json", "--only", only]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let parsed = serde_json::from_slice(&stdout);
    (status.code().unwrap(), parsed.unwrap_or_else(|_| panic_text(&stderr)))
}

fn panic_text(stderr: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(stderr).into_owned())
}

/// Asks for one check, which must fail alone; returns what was seen and the fix.
fn failing(home: &Path, check: &str, settings: &[&str]) -> (String, String) {
    let (code, told) = doctor(home, check, settings);
    assert_eq!(code, 1, "{told}");
    assert_eq!((&told["healthy"], &told["failed"]), (&Value::from(false), &Value::from(1)), "{told}");
    let findings = told["checks"][0]["findings"].as_array().unwrap();
    let worst = findings.iter().find(|finding| finding["health"] == "fail").unwrap();
    (worst["seen"].as_str().unwrap().to_owned(), worst["fix"].as_str().unwrap().to_owned())
}

fn well(home: &Path, check: &str, settings: &[&str]) -> String {
    let (code, told) = doctor(home, check, settings);
    assert_eq!((code, &told["checks"][0]["health"]), (0, &Value::from("ok")), "{told}");
    told["checks"][0]["findings"].to_string()
}

/// A port on which nobody listens.
fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Answers every request with the same page, as long as the process lives.
fn page(head: &'static str, body: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4_096];
            if stream.read(&mut request).is_ok() {
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\n{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .unwrap_or_default();
            }
        }
    });
    port
}

/// Ends a demo even where its test fails.
struct Demo(Child);

impl Demo {
    fn start(home: &Path) -> Self {
        let mut command = postroom(home);
        command.args(["demo", "--port", "0", "--events", "200"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut demo = Self(command.spawn().unwrap());
        let messages = BufReader::new(demo.0.stderr.take().unwrap());
        assert!(messages.lines().any(|line| line.unwrap().contains("stays up")), "the demo did not start");
        demo
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

#[test]
fn a_running_demo_is_well_and_every_check_says_so() {
    let home = tempfile::tempdir().unwrap();
    let _demo = Demo::start(home.path());

    let output = postroom(home.path()).args(["doctor", "-o", "json"]).output().unwrap();

    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["healthy"], &told["failed"]), (&Value::from(true), &Value::from(0)));
    let health = |name: &str| {
        let mut checks = told["checks"].as_array().unwrap().iter();
        checks.find(|check| check["check"] == name).unwrap()["health"].as_str().unwrap().to_owned()
    };
    for name in
        ["version", "effects", "brokers", "identity", "topics", "partitions", "store", "clock", "polling"]
    {
        assert_eq!(health(name), "ok", "{name}: {told}");
    }
    for name in ["rights", "retention", "sizes", "mail", "caches"] {
        assert_eq!(health(name), "skip", "{name}: {told}");
    }
    let text = postroom(home.path()).arg("doctor").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("everything that was looked at is well"), "{text}");
}

#[test]
fn where_no_broker_answers_it_ends_with_69_and_looks_at_the_rest() {
    let home = tempfile::tempdir().unwrap();
    let port = closed();
    let brokers = format!("kafka.brokers=127.0.0.1:{port}");

    let (code, told) = doctor(home.path(), "brokers,topics,store", &[&brokers]);

    assert_eq!(code, 69, "{told}");
    let healths: Vec<_> =
        told["checks"].as_array().unwrap().iter().map(|check| check["health"].as_str().unwrap()).collect();
    assert_eq!(healths, ["fail", "skip", "ok"], "{told}");
    let finding = &told["checks"][0]["findings"][0];
    assert!(finding["seen"].as_str().unwrap().contains("Connection refused"), "{told}");
    assert!(finding["fix"].as_str().unwrap().contains("kafka.brokers"), "{told}");
    let (code, _) = doctor(home.path(), "topics", &[&brokers]);
    assert_eq!(code, 69);
}

#[test]
fn a_store_that_is_not_ours_or_newer_is_told() {
    let home = tempfile::tempdir().unwrap();
    let foreign = home.path().join("foreign.db");
    let database = rusqlite::Connection::open(&foreign).unwrap();
    database.execute_batch("CREATE TABLE theirs (a)").unwrap();
    let url = format!("store.url=sqlite:{}", foreign.display());

    let (seen, _fix) = failing(home.path(), "store", &[&url]);
    assert!(seen.contains("a database of something else"), "{seen}");

    let missing = format!("store.url=sqlite:{}/nowhere/postroom.db", home.path().display());
    let (seen, fix) = failing(home.path(), "store", &[&missing]);
    assert!(seen.contains("nowhere") && fix.contains("store.url"), "{seen} {fix}");

    let fresh = format!("store.url=sqlite:{}/fresh.db", home.path().display());
    assert!(well(home.path(), "store", &[&fresh]).contains("the first start makes them"));
    assert!(!home.path().join("fresh.db").exists(), "looking must not make it");
}

#[test]
fn a_registry_that_is_away_and_a_clock_that_is_wrong_are_told() {
    let home = tempfile::tempdir().unwrap();
    let url = format!("registry.url=http://127.0.0.1:{}", closed());
    let (seen, fix) = failing(home.path(), "registry", &[&url]);
    assert!(seen.contains("not available") && fix.contains("registry.url"), "{seen} {fix}");

    let port =
        page("Date: Tue, 03 Jan 2012 10:00:00 GMT\r\nContent-Type: application/json\r\n", "[]".to_owned());
    let brokers = format!("kafka.brokers=127.0.0.1:{}", closed());
    let url = format!("registry.url=http://127.0.0.1:{port}");
    let (code, told) = doctor(home.path(), "clock", &[&url, &brokers]);
    let finding = &told["checks"][0]["findings"][0];
    assert!(finding["seen"].as_str().unwrap().contains("s ahead of the registry's"), "{code} {told}");
    assert!(finding["fix"].as_str().unwrap().contains("timedatectl"), "{told}");
}

#[test]
fn a_relay_a_cache_and_a_worker_that_do_not_work_are_told() {
    let home = tempfile::tempdir().unwrap();
    let relay = format!("mail.relay=127.0.0.1:{}", closed());
    let (seen, fix) =
        failing(home.path(), "mail", &[&relay, "mail.from=blog@example.org", "mail.security=plaintext"]);
    assert!(seen.contains("away") && fix.contains("mail.relay"), "{seen} {fix}");

    let redis = format!("purge.redis=redis://127.0.0.1:{}", closed());
    let (seen, fix) = failing(home.path(), "caches", &[&redis, "purge.redis_keys=post:{post_id}"]);
    assert!(seen.contains("not available") && fix.contains("[purge]"), "{seen} {fix}");

    let folder = format!("objects.source={}", home.path().display());
    well(home.path(), "pictures", &[&folder]);
    let (seen, fix) = failing(home.path(), "pictures", &[&folder, "thumbnails.worker=/bin/false"]);
    assert!(seen.contains("the worker does not work") && fix.contains("thumbnails.worker"), "{seen} {fix}");
    let (seen, _fix) = failing(home.path(), "pictures", &["objects.source=/nowhere"]);
    assert!(seen.contains("/nowhere"), "{seen}");
}

#[test]
fn handlers_that_are_slower_than_the_poll_limit_are_told() {
    let home = tempfile::tempdir().unwrap();
    let slow = "postroom_message_processing_seconds_bucket{group=\"g\",handler=\"h\",topic=\"t\",le=\"60\"} 1\n\
                postroom_message_processing_seconds_bucket{group=\"g\",handler=\"h\",topic=\"t\",le=\"+Inf\"} 2\n\
                postroom_poll_interval_limit_seconds{group=\"g\"} 300\n";
    let port = page("Content-Type: text/plain\r\n", slow.to_owned());

    let (seen, fix) = failing(home.path(), "polling", &[&format!("http.listen=127.0.0.1:{port}")]);

    assert!(seen.contains("of 300 s between two polls"), "{seen}");
    assert!(fix.contains("kafka.max_poll_interval"), "{fix}");
}

#[test]
fn a_check_that_is_not_there_is_refused_with_those_that_are() {
    let home = tempfile::tempdir().unwrap();

    let output = postroom(home.path()).args(["doctor", "--only", "weather"]).output().unwrap();

    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("weather") && said.contains("brokers, identity, rights"), "{said}");
}

/// `UPDATE_DOCS=1` writes the list anew.
#[test]
fn the_documentation_lists_every_check() {
    let home = tempfile::tempdir().unwrap();
    let listed = postroom(home.path()).args(["doctor", "--list"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let rows = listed.lines().map(|line| {
        let (name, about) = line.split_once(' ').unwrap();
        format!("| `{name}` | {} |\n", about.trim())
    });
    let table = format!("| check | looks at |\n|---|---|\n{}", rows.collect::<String>());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("<!-- checks -->\n").unwrap();
    let (there, behind) = rest.split_once("<!-- end of checks -->").unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let fresh = format!("{before}<!-- checks -->\n{table}<!-- end of checks -->{behind}");
        std::fs::write(&file, fresh).unwrap();
        return;
    }

    assert_eq!(there, table, "UPDATE_DOCS=1 cargo test -p postroom --test doctor");
}
