//! Metrics, health and status as Prometheus, Kubernetes and people meet them.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postroom::config::{Listen, Secret};
use postroom::telemetry::http::HttpServer;
use postroom::telemetry::{
    Board, BuildInfo, CommitOutcome, Ending, Family, GroupMetrics, GroupReport, GroupShape, GroupState,
    Health, Metrics, PartitionReport, RebalanceKind, Status, TopicShape, Verdict,
};
use postroom_core::{
    Attempt, CircuitState, Class, Ended, Failure, Moment, Offset, Partition, Reason, Topic, TopicPartition,
};

fn metrics() -> Metrics {
    let build = BuildInfo {
        version: "0.1.0".to_owned(),
        revision: "unknown".to_owned(),
        rustc: "1.95".to_owned(),
        librdkafka: "2.12.1".to_owned(),
    };
    Metrics::new(&build, Arc::new(Board::new("0.1.0"))).unwrap()
}

fn shape() -> GroupShape {
    GroupShape {
        group: "postroom.project".to_owned(),
        handler: "project".to_owned(),
        topics: vec![TopicShape {
            topic: "blog.posts".to_owned(),
            event_types: vec!["post.published".to_owned(), "post.removed".to_owned()],
        }],
        dependencies: vec!["db".to_owned()],
        dead_letters: vec![("blog.posts".to_owned(), "dlq.postroom.project.blog.posts".to_owned())],
        poll_interval_limit: Duration::from_secs(300),
    }
}

fn group(metrics: &Metrics) -> GroupMetrics {
    metrics.group(&shape()).unwrap()
}

fn at() -> TopicPartition {
    TopicPartition::new(Topic::new("blog.posts"), Partition(3))
}

fn page(metrics: &Metrics) -> String {
    // Pages are cached for a quarter of a second: each look is at a clone of the registry's present state.
    let deadline = Instant::now() + Duration::from_secs(5);
    let first = metrics.page();
    loop {
        let page = metrics.page();
        if !Arc::ptr_eq(&page, &first) {
            return page.to_string();
        }
        assert!(Instant::now() < deadline, "the page never changes");
        std::thread::yield_now();
    }
}

fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn ask(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let host = if headers.to_ascii_lowercase().contains("host:") {
        String::new()
    } else {
        "Host: localhost\r\n".to_owned()
    };
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn loopback() -> Listen {
    Listen("127.0.0.1:0".parse().unwrap())
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    for Family { name, kind, labels, help } in Family::ALL {
        assert!(name.starts_with("postroom_"), "{name}");
        assert!(name.chars().all(|char| char.is_ascii_lowercase() || char == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}: counters alone end in _total");
        let unitless = ["_ms", "_millis", "_second", "_minutes", "_kb", "_mib", "_percent"];
        assert!(
            !unitless.iter().any(|unit| name.ends_with(unit) || name.contains(&format!("{unit}_"))),
            "{name}"
        );
        assert!(*kind != "histogram" || name.ends_with("_seconds"), "{name}: a histogram says its unit");
        assert!(help.ends_with('.'), "{name}");
        for label in *labels {
            let subject = ["topic", "partition", "effect", "state"].contains(label);
            assert!(
                subject || !name.split('_').any(|word| word == *label),
                "{name} repeats its label {label}"
            );
            assert!(
                !["key", "offset", "id", "url", "error", "email"].contains(label),
                "{name} has an unbounded label"
            );
        }
    }
}

#[test]
fn every_series_of_a_consumer_names_its_group() {
    let of_the_process = [
        "postroom_build_info",
        "postroom_log_events_total",
        "postroom_outbox_deferred_rows",
        "postroom_outbox_oldest_timestamp_seconds",
        "postroom_outbox_pending_rows",
        "postroom_schema_registry_requests_total",
        "postroom_shutdown_drain_seconds",
        "postroom_webhook_endpoints_disabled",
    ];
    for family in Family::ALL {
        let expected = !of_the_process.contains(&family.name);
        assert_eq!(family.labels.contains(&"group"), expected, "{}", family.name);
    }
}

#[test]
fn every_known_combination_of_labels_is_there_at_zero() {
    let metrics = metrics();
    let _group = group(&metrics);

    let page = page(&metrics);

    let own = r#"group="postroom.project""#;
    for reason in Reason::ALL {
        let series = format!(
            r#"postroom_dead_letters_total{{{own},handler="project",reason="{reason}",topic="blog.posts"}}"#
        );
        assert_eq!(value(&page, &series), Some(0.0), "{series}");
    }
    for kind in ["post.published", "post.removed", "other"] {
        for ending in Ending::ALL {
            let outcome = ending.word();
            let series = format!(
                r#"postroom_messages_total{{event_type="{kind}",{own},handler="project",outcome="{outcome}",topic="blog.posts"}}"#
            );
            assert_eq!(value(&page, &series), Some(0.0), "{series}");
        }
    }
    let partitions = ["lag", "committed", "position", "log_end", "partition_blocked", "partition_paused"];
    // How long a topic keeps records is absent until the cluster has told.
    let later = [partitions.as_slice(), &["retention_seconds"]].concat();
    for family in Family::ALL.iter().filter(|family| !later.iter().any(|word| family.name.contains(word))) {
        assert!(
            page.contains(&format!("# TYPE {} {}\n", family.name, family.kind)),
            "{} is missing",
            family.name
        );
    }
    assert!(page.contains("process_resident_memory_bytes"), "{page}");
    assert_eq!(
        value(
            &page,
            r#"postroom_build_info{librdkafka="2.12.1",revision="unknown",rustc="1.95",version="0.1.0"}"#
        ),
        Some(1.0)
    );
}

#[test]
fn happenings_are_counted_where_they_belong() {
    let metrics = metrics();
    let group = group(&metrics);
    let failure = Failure::new(
        Class::Transient { retry_after: None, ended: Ended::ByDeadline },
        "deadline",
        "took too long",
    );
    let poison = Failure::new(Class::Dead(Reason::Undecodable), "truncated", "ends in the middle of a field");

    group.received("blog.posts", 5, 1_000);
    group.finished("blog.posts", "post.published", Ending::Ok, 3);
    group.finished("blog.posts", "post.unheard-of", Ending::Skipped, 1);
    group.retry_scheduled(&at(), Offset(7), Attempt::FIRST, Duration::from_millis(150), &failure);
    group.dead_lettered(&at(), Offset(8), "other", Reason::Undecodable, 0, &poison);
    group.committed(CommitOutcome::Ok, Duration::from_millis(2));
    group.rebalanced(RebalanceKind::Assign, 4, Duration::from_millis(3));
    group.circuit_changed("db", CircuitState::Open { until: Moment::START });

    let page = page(&metrics);
    let own = r#"group="postroom.project""#;
    let count = |name: &str, labels: &str| value(&page, &format!("{name}{{{labels}}}"));
    let messages = |kind: &str, outcome: &str| {
        let labels =
            format!(r#"event_type="{kind}",{own},handler="project",outcome="{outcome}",topic="blog.posts""#);
        count("postroom_messages_total", &labels)
    };
    assert_eq!(messages("post.published", "ok"), Some(3.0));
    assert_eq!(messages("other", "skipped"), Some(1.0));
    assert_eq!(messages("other", "dead_lettered"), Some(1.0));
    let retries = format!(r#"{own},handler="project",reason="timed_out",topic="blog.posts""#);
    assert_eq!(count("postroom_retries_total", &retries), Some(1.0));
    let decode = format!(r#"detail="truncated",{own},topic="blog.posts""#);
    assert_eq!(count("postroom_decode_failures_total", &decode), Some(1.0));
    let open = format!(r#"effect="db",{own},state="open""#);
    assert_eq!(count("postroom_effect_circuit_state", &open), Some(1.0));
    let totals = group.totals();
    assert_eq!((totals.received, totals.finished(), totals.retries), (5, 5, 1));
    assert_eq!(totals.dead_letters.get("undecodable"), Some(&1));
}

#[test]
fn series_of_a_partition_end_when_it_goes_to_another_member() {
    let metrics = metrics();
    let group = group(&metrics);
    let held = PartitionReport {
        topic: "blog.posts".to_owned(),
        partition: 3,
        committed: Some(10),
        position: Some(12),
        end: Some(20),
        paused: Some("order".to_owned()),
        ..PartitionReport::default()
    };
    let report = GroupReport { state: GroupState::Running, store_reachable: true, ..GroupReport::default() };

    group.publish(GroupReport { partitions: vec![held], ..report.clone() });
    let with = page(&metrics);
    group.publish(report);
    let without = page(&metrics);

    let labels = r#"{group="postroom.project",partition="3",topic="blog.posts"}"#;
    assert_eq!(value(&with, &format!("postroom_consumer_lag_messages{labels}")), Some(8.0));
    assert_eq!(value(&with, &format!("postroom_consumer_committed_offset{labels}")), Some(10.0));
    let paused = r#"postroom_partition_paused{cause="order",group="postroom.project",partition="3",topic="blog.posts"}"#;
    assert_eq!(value(&with, paused), Some(1.0));
    assert!(!without.contains(r#"partition="3""#));
}

#[test]
fn a_process_is_ready_when_every_group_is_a_member_and_the_store_and_a_broker_answer() {
    let metrics = metrics();
    let board = Arc::clone(metrics.board());
    let ill = |board: &Board| match board.readiness() {
        Health::Well => String::new(),
        Health::Ill(lines) => lines.join("|"),
    };
    assert_eq!(ill(&board), "no group has started yet");
    let group = group(&metrics);
    assert_eq!(ill(&board), "postroom.project: not a member of its group yet");

    let running = GroupReport { state: GroupState::Running, store_reachable: true, ..GroupReport::default() };
    group.publish(running.clone());
    assert_eq!(board.readiness(), Health::Well);

    group.publish(GroupReport { store_reachable: false, ..running.clone() });
    assert_eq!(ill(&board), "postroom.project: the store does not answer");
    assert_eq!(board.liveness(), Health::Well, "a restart would not help");

    let partitions = vec![PartitionReport { position: Some(5), end: Some(5), ..PartitionReport::default() }];
    group.publish(GroupReport { brokers_away: true, partitions, ..running.clone() });
    assert_eq!(ill(&board), "postroom.project: no Kafka broker answers");
    assert_eq!(board.liveness(), Health::Well, "a restart would not help");
    let status = board.status();
    let verdict = &status.groups.first().unwrap().partitions.first().unwrap().verdict;
    assert_eq!(verdict, &Verdict::BrokersAway, "what is in the log is not known");

    group.publish(running);
    board.draining();
    assert_eq!(ill(&board), "shutting down");
}

#[test]
fn the_pages_answer_on_their_own_thread() {
    let metrics = metrics();
    let group = group(&metrics);
    let server = HttpServer::start(loopback(), None, metrics, axum::Router::new()).unwrap();
    let address = server.address();
    assert_eq!(ask(address, "/readyz", "").0, 503);
    group.publish(GroupReport {
        state: GroupState::Running,
        store_reachable: true,
        partitions: vec![PartitionReport {
            topic: "blog.posts".to_owned(),
            position: Some(5),
            end: Some(5),
            ..PartitionReport::default()
        }],
        ..GroupReport::default()
    });

    let (ready, _) = ask(address, "/readyz", "");
    let (alive, _) = ask(address, "/livez", "");
    let (scraped, text) = ask(address, "/metrics", "");
    let (told, json) = ask(address, "/api/status", "");

    assert_eq!([ready, alive, scraped, told], [200; 4]);
    assert!(text.contains("postroom_build_info"));
    let status: Status = serde_json::from_str(&json).unwrap();
    let verdict = &status.groups.first().unwrap().partitions.first().unwrap().verdict;
    assert_eq!(verdict, &Verdict::CaughtUp);
    assert_eq!(ask(address, "/nowhere", "").0, 404);
}

#[test]
fn the_api_is_for_this_machine_by_its_own_names_only() {
    let server = HttpServer::start(loopback(), None, metrics(), axum::Router::new()).unwrap();

    assert_eq!(ask(server.address(), "/api/status", "Host: evil.example\r\n").0, 421);
    assert_eq!(ask(server.address(), "/api/status", "Host: 127.0.0.1:9464\r\n").0, 200);
    assert_eq!(ask(server.address(), "/api/status", "Host: [::1]:9464\r\n").0, 200);
}

#[test]
fn with_a_token_the_api_asks_for_it_and_the_health_pages_do_not() {
    let server =
        HttpServer::start(loopback(), Some(Secret::new("a-long-token")), metrics(), axum::Router::new())
            .unwrap();

    assert_eq!(ask(server.address(), "/api/status", "").0, 401);
    assert_eq!(ask(server.address(), "/api/status", "Authorization: Bearer a-long-tokem\r\n").0, 401);
    assert_eq!(ask(server.address(), "/api/status", "Authorization: Bearer a-long-token\r\n").0, 200);
    assert_eq!(ask(server.address(), "/livez", "").0, 200);
}

#[test]
fn off_loopback_without_a_token_the_api_refuses() {
    let server =
        HttpServer::start(Listen("0.0.0.0:0".parse().unwrap()), None, metrics(), axum::Router::new())
            .unwrap();
    let address = SocketAddr::new("127.0.0.1".parse().unwrap(), server.address().port());

    assert_eq!(ask(address, "/api/status", "").0, 403);
    assert_eq!(ask(address, "/metrics", "").0, 200);
}

#[test]
fn an_address_that_is_taken_is_named_with_the_way_out() {
    let server = HttpServer::start(loopback(), None, metrics(), axum::Router::new()).unwrap();

    let refused = HttpServer::start(Listen(server.address()), None, metrics(), axum::Router::new());

    let said = refused.err().unwrap().to_string();
    assert!(said.starts_with(&format!("cannot listen on {}: ", server.address())), "{said}");
    assert!(said.ends_with("set http.listen to another address, or to port 0 for a free one"), "{said}");
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = postroom::telemetry::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }

    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        page,
        "run UPDATE_DOCS=1 cargo test --test cli_telemetry"
    );
}
