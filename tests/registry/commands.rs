//! The commands with a registry that is configured, and is well or not.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use postroom::codec::Outgoing;
use postroom::kafka::{Connection, Embedded, Producer, ProducerConfig};

use super::*;
use crate::folders::{code, err, home_with_likes, index_as_told, out};

/// Runs a command beside the servers of the test.
async fn postroom(home: &Path, url: &str, arguments: &[&str]) -> Output {
    let (home, set) = (home.to_owned(), format!("registry.url={url}"));
    let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
    let run = move || {
        let mut all: Vec<_> = arguments.iter().map(String::as_str).collect();
        all.extend(["--set", &set]);
        folders::postroom(&home, &all)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

const EMIT: [&str; 5] = ["emit", "comment.created", "post_id=hello", "comment_id=c1", "author=ada"];

/// An address where nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn who_publishes_ends_with_a_code_that_says_why_the_schema_has_no_id() {
    let home = tempfile::tempdir().unwrap();
    let forbids = always(403, r#"{"error_code": 40301, "message": "no"}"#).await;
    let lacks = Host::start(|_| not_found()).await;
    let incompatible =
        always(409, r#"{"error_code": 409, "message": "READER_FIELD_MISSING_DEFAULT_VALUE"}"#).await;
    let looked_up = [&EMIT[..], &["--set", "registry.auto_register=false"]].concat();

    let away = postroom(home.path(), &nowhere(), &EMIT).await;
    let forbidden = postroom(home.path(), &forbids.url(""), &EMIT).await;
    let refused = postroom(home.path(), &incompatible.url(""), &EMIT).await;
    let unregistered = postroom(home.path(), &lacks.url(""), &looked_up).await;
    let dry = postroom(home.path(), &nowhere(), &[&EMIT[..], &["--dry-run"]].concat()).await;

    assert_eq!(code(&away), 69, "{}", err(&away));
    assert!(err(&away).contains("the schema registry is not available"), "{}", err(&away));
    assert_eq!(code(&forbidden), 77, "{}", err(&forbidden));
    assert!(err(&forbidden).contains("registry.token"), "{}", err(&forbidden));
    assert_eq!(code(&refused), 78, "{}", err(&refused));
    assert!(err(&refused).contains("READER_FIELD_MISSING_DEFAULT_VALUE"), "{}", err(&refused));
    assert_eq!(code(&unregistered), 78, "{}", err(&unregistered));
    let said = err(&unregistered);
    assert!(
        said.contains("comment.created is not registered under blog.comments-blog.CommentCreated"),
        "{said}"
    );
    assert!(said.contains("postroom schemas register"), "{said}");
    assert_eq!(code(&dry), 0, "nothing is asked where nothing is published: {}", err(&dry));
    assert_eq!(lacks.seen()[0].path, "/subjects/blog.comments-blog.CommentCreated");
    assert_eq!(forbids.seen()[0].path, "/subjects/blog.comments-blog.CommentCreated/versions");
}

#[tokio::test]
async fn the_subject_is_made_by_the_strategy() {
    let home = tempfile::tempdir().unwrap();
    let host = always(500, "").await;

    for strategy in ["topic", "record", "topic_record"] {
        let set = format!("registry.subject={strategy}");
        let emitted = postroom(home.path(), &host.url("/v7"), &[&EMIT[..], &["--set", &set]].concat()).await;
        assert_eq!(code(&emitted), 69, "{}", err(&emitted));
    }

    let paths: Vec<_> = host.seen().into_iter().map(|seen| seen.path).collect();
    let expected = ["blog.comments-value", "blog.CommentCreated", "blog.comments-blog.CommentCreated"];
    assert_eq!(paths, expected.map(|subject| format!("/v7/subjects/{subject}/versions")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_emitted_carries_the_registrys_id_and_is_read_by_it() {
    let home = tempfile::tempdir().unwrap();
    let broker = Embedded::start().unwrap();
    broker.create_topic("blog.comments", 1).unwrap();
    let schema = include_str!("../../schemas/comment.created/v2.avsc");
    let body = serde_json::json!({ "schema": schema, "id": 4711 }).to_string();
    let host = Host::start(move |_| status(200, &[], &body)).await;
    let brokers = ["--brokers", broker.address()];

    let emitted = postroom(home.path(), &host.url(""), &[&EMIT[..], &brokers].concat()).await;
    let asked_before = host.seen().len();
    let tail = ["tail", "blog.comments", "-n", "1", "-o", "json"];
    let read = postroom(home.path(), &host.url(""), &[&tail[..], &brokers].concat()).await;
    let away = postroom(home.path(), &nowhere(), &[&tail[..], &brokers].concat()).await;

    assert_eq!(code(&emitted), 0, "{}", err(&emitted));
    assert_eq!(code(&read), 0, "{}", err(&read));
    let told: serde_json::Value = serde_json::from_str(out(&read).trim()).unwrap();
    assert_eq!(told["event"]["comment_id"], "c1");
    let paths: Vec<_> = host.seen().into_iter().skip(asked_before).map(|seen| seen.path).collect();
    assert_eq!(paths, ["/schemas/ids/4711"]);
    assert_eq!(code(&away), 69, "{}", err(&away));
    assert!(err(&away).lines().count() <= 3, "it is short: {}", err(&away));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_the_registry_lacks_is_asked_for_once_and_said_of_each_record() {
    let home = tempfile::tempdir().unwrap();
    let broker = Embedded::start().unwrap();
    broker.create_topic("blog.comments", 1).unwrap();
    let mut config = ProducerConfig::new(Connection::to(broker.address().to_owned()));
    config.linger = Duration::ZERO;
    let producer = Producer::start(&config).unwrap();
    for _ in 0..3 {
        let record = Outgoing {
            topic: "blog.comments".to_owned(),
            value: Some(vec![0, 0, 0, 0x12, 0x67, 2, b'x']),
            ..Outgoing::default()
        };
        producer.enqueue_event(&record).await.unwrap().await.unwrap();
    }
    let host = Host::start(|_| not_found()).await;
    let tail = ["tail", "blog.comments", "-n", "3", "--brokers", broker.address()];

    let read = postroom(home.path(), &host.url(""), &tail).await;

    assert_eq!(code(&read), 0, "{}", err(&read));
    assert_eq!(out(&read).matches("the registry has no schema with id 4711").count(), 3, "{}", out(&read));
    assert_eq!(host.seen().len(), 1);
}

#[tokio::test]
async fn commands_that_read_no_event_do_not_ask() {
    let home = tempfile::tempdir().unwrap();
    let mail = include_str!("../../docs/mail.md");
    let example = mail.lines().find(|line| line.starts_with("{\"type\":")).unwrap_or(
        r#"{"type":"comment.created","event_id":"e2","blog":"b","comment_id":"c1","post_id":"p","author":"bo","body":"Yes!","occurred_at":"2021-03-14T15:10:00Z"}"#,
    );
    std::fs::write(home.path().join("event.json"), example).unwrap();

    let preview = postroom(home.path(), &nowhere(), &["mail", "preview", "event.json"]).await;
    let check = postroom(home.path(), &nowhere(), &["schemas", "check", "--offline"]).await;

    assert_eq!(code(&preview), 0, "{}", err(&preview));
    assert_eq!(code(&check), 0, "{}", err(&check));
}

#[tokio::test]
async fn schemas_of_a_folder_are_registered_where_they_are_not_and_nothing_is_in_a_dry_run() {
    let home = home_with_likes();
    index_as_told(home.path());
    let host = Host::start(|seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/subjects/blog.likes-blog.LikeAdded") => not_found(),
        ("POST", "/subjects/blog.likes-blog.LikeAdded/versions") => status(200, &[], r#"{"id": 31}"#),
        ("PUT", "/config/blog.likes-blog.LikeAdded") => {
            status(200, &[], r#"{"compatibility": "BACKWARD_TRANSITIVE"}"#)
        }
        _ => status(500, &[], ""),
    })
    .await;
    let register = ["schemas", "register", "schemas", "-e", "like.added", "-o", "json"];

    let dry = postroom(home.path(), &host.url(""), &[&register[..], &["--dry-run"]].concat()).await;
    let asked = host.seen().len();
    let done = postroom(home.path(), &host.url(""), &[&register[..], &["--set-level"]].concat()).await;
    let away = postroom(home.path(), &nowhere(), &register).await;

    assert_eq!((code(&dry), asked), (0, 1), "{}", err(&dry));
    assert!(out(&dry).contains("would_be_registered"), "{}", out(&dry));
    assert_eq!(code(&done), 0, "{}", err(&done));
    let told: serde_json::Value = serde_json::from_str(&out(&done)).unwrap();
    assert_eq!((&told["schemas"][0]["id"], &told["schemas"][0]["step"]), (&31.into(), &"registered".into()));
    let level = host.seen().into_iter().find(|seen| seen.method == "PUT").unwrap();
    assert_eq!(level.body, r#"{"compatibility":"BACKWARD_TRANSITIVE"}"#);
    assert_eq!(code(&away), 69, "{}", err(&away));
}

#[tokio::test]
async fn a_registered_schema_that_ours_does_not_read_is_named_with_its_line() {
    let home = home_with_likes();
    index_as_told(home.path());
    let registered = r#"{"type": "record", "name": "LikeAdded", "namespace": "blog", "fields": [{"name": "post", "type": "string"}]}"#;
    let host = Host::start(move |seen| match seen.path.as_str() {
        "/subjects/blog.likes-blog.LikeAdded/versions" => status(200, &[], "[4]"),
        "/subjects/blog.likes-blog.LikeAdded/versions/4" => {
            status(200, &[], &serde_json::json!({ "schema": registered, "id": 9, "version": 4 }).to_string())
        }
        path if path.starts_with("/compatibility/subjects/blog.likes") => status(
            200,
            &[],
            r#"{"is_compatible": false, "messages": ["READER_FIELD_MISSING_DEFAULT_VALUE: post_id"]}"#,
        ),
        _ => not_found(),
    })
    .await;

    let checked = postroom(home.path(), &host.url(""), &["schemas", "check", "schemas"]).await;

    let told = out(&checked);
    assert_eq!(code(&checked), 1, "{told} {}", err(&checked));
    assert!(told.contains("like.added: v1 does not read registered 4: field post_id:"), "{told}");
    assert!(told.contains(r#"add "aliases": ["post"] to the field post_id"#), "{told}");
    assert!(told.contains("the registry would refuse it: READER_FIELD_MISSING_DEFAULT_VALUE"), "{told}");
}
