//! `postroom webhooks` as a user types it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it is wrong"
)]

mod web_host;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use web_host::{Host, status};

/// Runs a command in a home of its own; proxies of the environment must not be used.
async fn postroom(home: &Path, proxy: &Host, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, proxy.url(""));
    }
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn an_endpoint_is_added_listed_tested_rotated_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let proxy = Host::start(|_| status(200, &[], "the proxy")).await;
    let host = Host::start(|_| status(202, &[], "thanks")).await;
    std::fs::write(
        home.path().join("postroom.toml"),
        "[webhooks]\nallow_http = true\nallow_private = [\"127.0.0.0/8\"]\nports = \"any\"\n",
    )
    .unwrap();
    let run = async |arguments: &[&str]| postroom(home.path(), &proxy, arguments).await;

    let url = host.url("/hook");
    let added = run(&["webhooks", "add", &url, "--id", "shop", "--types", "post.published"]).await;
    assert!(added.status.success(), "{}", err(&added));
    let secret =
        out(&added).lines().find_map(|line| line.strip_prefix("secret  ").map(str::to_owned)).unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");

    let listed = run(&["webhooks", "ls"]).await;
    assert!(out(&listed).contains("shop") && out(&listed).contains("active"), "{}", out(&listed));
    assert!(!out(&listed).contains(&secret) && !err(&listed).contains(&secret));

    let tested = run(&["webhooks", "test", "shop", "-o", "json"]).await;
    let answer: Value = serde_json::from_str(&out(&tested)).unwrap();
    assert_eq!((&answer["status"], &answer["delivered"]), (&Value::from(202), &Value::from(true)));
    let [seen] = &*host.seen() else { panic!("{:?}", host.seen()) };
    let timestamp: i64 = seen.header("webhook-timestamp").unwrap().parse().unwrap();
    let id = seen.header("webhook-id").unwrap();
    let expected = standardwebhooks::Webhook::new(&secret).unwrap().sign(id, timestamp, seen.body.as_bytes());
    assert_eq!(seen.header("webhook-signature"), Some(expected.unwrap().as_str()));

    // One that was put off and one behind it, as a member leaves them.
    let store = rusqlite::Connection::open(home.path().join("postroom.db")).unwrap();
    let rows = "INSERT INTO requests (request, kind, addressee, event, state, due, not_before, requested_at, reply) VALUES
        ('r1', 'webhook', 'shop', 'e1', 1, 4102444800000, 4102444800000, 1700000000000, '503: busy'),
        ('r2', 'webhook', 'shop', 'e2', 0, 1700000000000, 1700000000000, 1700000001000, NULL)";
    store.execute_batch(rows).unwrap();
    let listed = run(&["webhooks", "ls"]).await;
    assert!(out(&listed).contains("2, first ") && out(&listed).contains("next in "), "{}", out(&listed));
    let listed = run(&["webhooks", "ls", "-o", "json"]).await;
    let all: Value = serde_json::from_str(&out(&listed)).unwrap();
    let wait =
        [&all[0]["waiting"], &all[0]["next_attempt_at"], &all[0]["last_reply"]].map(ToString::to_string);
    assert_eq!(wait, ["2", "\"2100-01-01T00:00:00Z\"", "\"503: busy\""]);

    let rotated = run(&["webhooks", "rotate", "shop"]).await;
    assert!(out(&rotated).contains("whsec_") && !out(&rotated).contains(&secret));
    run(&["webhooks", "test", "shop"]).await;
    assert_eq!(host.seen()[1].header("webhook-signature").unwrap().split(' ').count(), 2);
    assert!(run(&["webhooks", "rotate", "shop", "--finish"]).await.status.success());
    let listed = run(&["webhooks", "ls", "-o", "json"]).await;
    let all: Value = serde_json::from_str(&out(&listed)).unwrap();
    assert_eq!((&all[0]["secrets"], &all[0]["types"][0]), (&Value::from(1), &Value::from("post.published")));
    assert!(!out(&listed).contains("whsec_"));

    assert!(run(&["webhooks", "rm", "shop"]).await.status.success());
    assert_eq!(run(&["webhooks", "rm", "shop"]).await.status.code(), Some(66));
    assert!(proxy.seen().is_empty(), "proxies of the environment are not used");
}

#[tokio::test]
async fn what_must_not_be_reached_or_cannot_be_used_is_refused_with_a_reason() {
    let home = tempfile::tempdir().unwrap();
    let proxy = Host::start(|_| status(200, &[], "")).await;
    std::fs::write(home.path().join("short"), "whsec_c2hvcnQ=\n").unwrap();
    let refused: [(&[&str], i32, &str); 15] = [
        (&["add", "https://127.0.0.1/"], 65, "is blocked"),
        (&["add", "https://localhost/"], 65, "is blocked"),
        (&["add", "https://169.254.169.254/"], 65, "metadata"),
        (&["add", "https://[::ffff:7f00:1]/"], 65, "is blocked"),
        (&["add", "http://1.1.1.1/"], 65, "not encrypted"),
        (&["add", "https://user:pass@1.1.1.1/"], 65, "a user or a password"),
        (&["add", "https://1.1.1.1:25/"], 65, "port 25"),
        (&["add", "ftp://1.1.1.1/"], 65, "ftp"),
        (&["add", "https://1.1.1.1/", "--types", "post.publishd"], 64, "post.publishd"),
        (&["add", "https://1.1.1.1/", "--id", "a b"], 64, "cannot be an endpoint's name"),
        (&["add", "https://1.1.1.1/", "--secret-file", "short"], 65, "5 bytes"),
        (&["add", "https://1.1.1.1/", "--secret-file", "none"], 66, "cannot be read"),
        (&["test", "nobody"], 66, "nobody"),
        (&["enable", "nobody"], 66, "nobody"),
        (&["rotate", "nobody"], 66, "nobody"),
    ];
    for (arguments, code, text) in refused {
        let output = postroom(home.path(), &proxy, &[&["webhooks"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(text), "{arguments:?}: {}", err(&output));
        assert!(!err(&output).contains("pass@"), "{}", err(&output));
    }
    let listed = postroom(home.path(), &proxy, &["webhooks", "ls", "-o", "json"]).await;
    assert_eq!(out(&listed).trim(), "[]");
}

#[tokio::test]
async fn the_example_for_receivers_takes_what_is_ours_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let proxy = Host::start(|_| status(200, &[], "")).await;
    let host = Host::start(|_| status(200, &[], "")).await;
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webhooks.md");
    let page = std::fs::read_to_string(pages).unwrap();
    let example = page.split("```python").nth(1).unwrap().split("```").next().unwrap();
    let settings = [
        "--set=webhooks.allow_http=true",
        "--set=webhooks.allow_private=127.0.0.1",
        "--set=webhooks.ports=any",
        "webhooks",
    ];
    let run =
        async |arguments: &[&str]| postroom(home.path(), &proxy, &[&settings, arguments].concat()).await;
    let added = run(&["add", &host.url("/"), "--id", "shop", "-o", "json"]).await;
    let added: Value = serde_json::from_str(&out(&added)).unwrap();
    let secret = added["secret"].as_str().unwrap();
    run(&["rotate", "shop"]).await;
    run(&["test", "shop"]).await;

    let seen = host.seen().pop().unwrap();
    let headers: std::collections::BTreeMap<_, _> = seen.headers.into_iter().collect();
    let given = serde_json::json!({ "secret": secret, "headers": headers, "body": seen.body });
    let checks = r#"
import json, sys
given = json.load(sys.stdin)
secret, headers, body = given["secret"], given["headers"], given["body"].encode()
assert is_genuine(secret, headers, body)
assert not is_genuine(secret, headers, body + b" ")
assert not is_genuine(secret, {**headers, "webhook-id": "other"}, body)
assert not is_genuine(secret, {**headers, "webhook-timestamp": "1700000000"}, body)
assert not is_genuine("whsec_" + base64.b64encode(b"x" * 32).decode(), headers, body)
"#;
    let script = home.path().join("receiver.py");
    std::fs::write(&script, format!("{example}{checks}")).unwrap();
    std::fs::write(home.path().join("given.json"), given.to_string()).unwrap();
    let stdin = std::fs::File::open(home.path().join("given.json")).unwrap();
    let python = Command::new("python3").arg(&script).stdin(stdin).output().unwrap();
    assert!(python.status.success(), "{}", err(&python));
}

#[tokio::test]
async fn a_bad_table_is_refused_and_names_the_setting() {
    let home = tempfile::tempdir().unwrap();
    let proxy = Host::start(|_| status(200, &[], "")).await;
    for (setting, why) in [
        ("webhooks.timeout=30s", "effects.webhooks.deadline"),
        ("webhooks.connect_timeout=26s", "webhooks.timeout"),
        ("webhooks.budget=0s", "webhooks.budget"),
        ("webhooks.ports=x", "ports"),
        ("webhooks.allow_private=10.0.0.0/99", "neither a host nor a network"),
        ("webhooks.ca=missing.pem", "missing.pem"),
    ] {
        let output =
            postroom(home.path(), &proxy, &["--set", setting, "webhooks", "add", "https://1.1.1.1/"]).await;
        assert_eq!(output.status.code(), Some(78), "{setting}: {}", err(&output));
        assert!(err(&output).contains(why), "{setting}: {}", err(&output));
    }
}
