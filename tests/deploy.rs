//! The files below `deploy/` are what the program exports.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use postroom::config::Listen;
use postroom::telemetry::http::HttpServer;
use postroom::telemetry::{Board, BuildInfo, Metrics};

fn exported(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_postroom"))
        .arg("export")
        .args(arguments)
        .env_clear()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Each file, and the words that make it.
const FILES: [(&str, &[&str]); 6] = [
    ("deploy/compose/postroom.toml", &["compose", "--settings"]),
    ("deploy/k8s/keda.yaml", &["keda", "-c", "deploy/k8s/postroom.toml"]),
    (
        "deploy/k8s/network-policy.yaml",
        &["k8s", "-c", "deploy/k8s/postroom.toml", "--part", "network-policy"],
    ),
    ("deploy/k8s/postroom.yaml", &["k8s", "-c", "deploy/k8s/postroom.toml"]),
    (
        "deploy/k8s/service-monitor.yaml",
        &["k8s", "-c", "deploy/k8s/postroom.toml", "--part", "service-monitor"],
    ),
    ("docker-compose.yml", &["compose"]),
];

#[test]
fn every_file_is_what_the_program_exports() {
    for (file, arguments) in FILES {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        let expected = exported(arguments);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap_or_default(),
            expected,
            "{file}: run with UPDATE_DOCS=1"
        );
    }
}

#[test]
fn without_settings_of_ones_own_the_built_in_ones_make_the_same_manifests() {
    let built_in = exported(&["k8s"]);

    assert_eq!(built_in, exported(&["k8s", "-c", "deploy/k8s/postroom.toml"]));
}

#[test]
fn a_pod_may_take_the_drain_and_a_quarter_of_a_minute() {
    let manifests = exported(&["k8s", "--set", "shutdown.deadline=10s"]);

    assert!(manifests.contains("terminationGracePeriodSeconds: 25\n"), "{manifests}");
}

#[test]
fn a_config_map_takes_no_secret() {
    for (setting, key) in [
        ("[admin]\ntoken = \"sesame\"\n", "admin.token"),
        ("[store]\nurl = \"postgres://me:sesame@db/blog\"\n", "store.url"),
        ("[store]\nurl = \"postgres://me@db/blog?password=sesame\"\n", "store.url"),
        ("[store]\nurl = \"postgres://me:ses/ame?sesame@db/blog\"\n", "store.url"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postroom.toml");
        std::fs::write(&file, format!("[http]\nlisten = \"0.0.0.0:9464\"\n\n{setting}")).unwrap();

        let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
        let refused = command.args(["export", "k8s", "-c"]).arg(&file).env_clear().output().unwrap();

        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(78), "{said}");
        assert!(said.contains(&format!("{key} stands in")) && !said.contains("sesame"), "{said}");
        assert!(refused.stdout.is_empty());
    }
}

#[test]
fn files_that_lie_in_the_pod_alone_are_not_looked_for_here() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postroom.toml");
    let settings = "[http]\nlisten = \"0.0.0.0:9464\"\n[admin]\ntoken_file = \"/run/secrets/of-the-pod/token\"\n\
        [kafka]\nbrokers = \"kafka:9093\"\nsecurity = \"ssl\"\n[kafka.tls]\nca = \"/run/secrets/of-the-pod/ca.crt\"\n\
        certificate = \"/run/secrets/of-the-pod/tls.crt\"\nkey = \"/run/secrets/of-the-pod/tls.key\"\n";
    std::fs::write(&file, settings).unwrap();

    let manifests = exported(&["k8s", "-c", file.to_str().unwrap()]);

    assert!(manifests.contains("key = \"/run/secrets/of-the-pod/tls.key\""), "{manifests}");
}

#[test]
fn the_lag_of_a_replica_is_its_rate_within_a_poll() {
    let object = exported(&["keda", "--effects", "search", "--rate", "200", "--partitions", "12"]);

    assert!(object.contains("lagThreshold: \"6000\"\n"), "{object}");
    assert!(object.contains("maxReplicaCount: 12\n"), "{object}");
    assert_eq!(object.matches("consumerGroup: postroom.search\n").count(), 2, "{object}");
}

#[test]
fn the_place_of_a_number_escapes_the_dots_of_a_groups_name() {
    let object = exported(&["keda", "--trigger", "metrics-api", "--effects", "search,project"]);

    assert!(object.contains("valueLocation: 'postroom\\.search'\n"), "{object}");
    assert!(object.contains("kind: TriggerAuthentication\n"), "{object}");
}

#[test]
fn a_healthcheck_of_an_instance_that_is_not_ready_says_no_and_why() {
    let build = BuildInfo::current("test".to_owned());
    let metrics = Metrics::new(&build, Arc::new(Board::new("0.1.0"))).unwrap();
    let server =
        HttpServer::start(Listen("127.0.0.1:0".parse().unwrap()), None, metrics, Router::new()).unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
        command.args(["healthcheck", "--url", &server.address().to_string()]).args(arguments).env_clear();
        command.output().unwrap()
    };

    let (ready, live) = (ask(&[]), ask(&["--live"]));

    assert_eq!(ready.status.code(), Some(1));
    assert!(String::from_utf8(ready.stderr).unwrap().contains("no group has started yet"));
    assert_eq!((live.status.code(), live.stdout), (Some(0), b"ok\n".to_vec()));
}
