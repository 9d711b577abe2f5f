//! Answers of a registry that is not well, and what becomes of a question then.

use std::sync::Arc;
use std::sync::Mutex;

use postroom::adapters::registry::ServerError;
use postroom::codec::SchemaRef;
use postroom::ports::{SchemaAnswer, SchemaSource};

use super::*;

const LONG: &str = r#"{"schema": "\"long\""}"#;

async fn asked(host: &Host) -> Result<SchemaAnswer, String> {
    client(&host.url("/apis/ccompat/v7")).schema(SchemaRef::Id(7)).await.map_err(|away| away.to_string())
}

#[tokio::test]
async fn failures_of_its_own_and_answers_that_are_none_are_an_outage_that_says_why() {
    for (code, body, words) in [
        (429, r#"{"error_code": 42900}"#, "429"),
        (500, r#"{"error_code": 50001, "message": "Error in the backend data store"}"#, "backend data store"),
        (503, "", "503"),
        (200, "", "none of a registry"),
        (200, r#"{"schema": "\"lo"#, "none of a registry"),
        (200, "<html><body>Please log in</body></html>", "none of a registry"),
        (200, "{}", "has no schema"),
        (404, "<html>nginx</html>", "registry.url"),
        (404, "", "registry.url"),
    ] {
        let host = always(code, body).await;

        let answer = asked(&host).await;

        let Err(why) = answer else { panic!("{code} {body}: {answer:?}") };
        assert!(why.contains(words), "{code} {body}: {why}");
        assert!(why.len() < 500, "{why}");
    }
}

#[tokio::test]
async fn what_it_does_not_have_is_unknown_and_no_outage() {
    let host = Host::start(|_| not_found()).await;

    assert_eq!(asked(&host).await, Ok(SchemaAnswer::Unknown));
}

#[tokio::test]
async fn refused_rights_are_an_outage_that_names_the_settings() {
    for code in [401, 403] {
        let host = always(code, r#"{"error_code": 40101, "message": "User cannot access"}"#).await;

        let why = asked(&host).await.unwrap_err();

        assert!(why.contains("registry.username") && why.contains("registry.token"), "{why}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_and_one_that_never_ends_are_an_outage() {
    let cut = Host::start(|_| {
        Script::Say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"schema\": \"\\\"lo".to_vec())
    })
    .await;
    let endless = Host::start(|_| Script::Endless {
        start: b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"schema\": \"".to_vec(),
        piece: vec![b'a'; 64 * 1024],
        pause: Duration::ZERO,
    })
    .await;

    asked(&cut).await.unwrap_err();
    let why = asked(&endless).await.unwrap_err();

    assert!(why.contains("larger than 1048576 bytes"), "{why}");
}

#[tokio::test]
async fn silence_ends_with_the_time_out() {
    let host = Host::start(|_| Script::Hang).await;
    let hasty = RegistrySettings { timeout: Duration::from_millis(200), ..settings(&host.url("/")) };

    let why = RegistryServer::new(hasty).unwrap().schema(SchemaRef::Id(7)).await.unwrap_err();

    assert!(why.to_string().contains("timed out"), "{why}");
}

#[tokio::test]
async fn nobody_there_is_an_outage_without_the_address_in_clear() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();

    let why = client(&format!("http://127.0.0.1:{port}/secret-path")).schema(SchemaRef::Id(7)).await;

    let why = why.unwrap_err().to_string();
    assert!(why.contains("refused") && !why.contains("secret-path"), "{why}");
}

#[tokio::test]
async fn schemas_of_other_languages_are_told_apart_for_they_never_become_avro() {
    for kind in ["PROTOBUF", "JSON"] {
        let body = format!(r#"{{"schemaType": "{kind}", "schema": "syntax = \"proto3\";"}}"#);
        let host = Host::start(move |_| status(200, &[], &body)).await;

        let answer = asked(&host).await;

        let Ok(SchemaAnswer::Foreign(why)) = &answer else { panic!("{answer:?}") };
        assert!(why.contains(kind) && why.contains("not Avro"), "{why}");
    }
}

#[tokio::test]
async fn a_schema_is_looked_up_by_id_and_by_guid() {
    let host = always(200, LONG).await;
    let server = client(&host.url("/apis/ccompat/v7/"));
    let guid = SchemaRef::Guid(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes());

    for name in [SchemaRef::Id(7), guid] {
        let answer = server.schema(name).await.unwrap();
        assert_eq!(answer, SchemaAnswer::Found { text: "\"long\"".to_owned(), guid: None });
    }

    let paths: Vec<_> = host.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(
        paths,
        [
            "/apis/ccompat/v7/schemas/ids/7",
            "/apis/ccompat/v7/schemas/guids/00112233-4455-6677-8899-aabbccddeeff"
        ]
    );
}

#[tokio::test]
async fn a_guid_that_comes_with_an_id_is_told() {
    let body = r#"{"schema": "\"long\"", "guid": "00112233-4455-6677-8899-aabbccddeeff"}"#;
    let host = always(200, body).await;

    let answer = asked(&host).await.unwrap();

    let guid = Some(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes());
    assert_eq!(answer, SchemaAnswer::Found { text: "\"long\"".to_owned(), guid });
}

/// A schema with these references, a subject each.
fn referring(to: &[&str]) -> String {
    let references: Vec<_> = to
        .iter()
        .map(|subject| format!(r#"{{"name": "A", "subject": "{subject}", "version": 1}}"#))
        .collect();
    format!(
        r#"{{"schema": "{{\"type\": \"record\", \"name\": \"A\", \"fields\": []}}", "references": [{}]}}"#,
        references.join(", ")
    )
}

#[tokio::test]
async fn references_that_go_round_make_a_schema_that_is_never_of_use_after_few_questions() {
    let host = Host::start(|seen| {
        let to = match seen.path.as_str() {
            "/schemas/ids/7" => "a",
            "/subjects/a/versions/1" => "b",
            "/subjects/b/versions/1" => "a",
            "/schemas/ids/8" | "/subjects/own/versions/1" => "own",
            other => panic!("{other}"),
        };
        status(200, &[], &referring(&[to]))
    })
    .await;
    let server = client(&host.url("/"));

    let round = server.schema(SchemaRef::Id(7)).await;
    let asked = host.seen().len();
    let own = server.schema(SchemaRef::Id(8)).await;

    let why = "its references go round: a version 1 refers to b version 1 refers to a version 1";
    assert_eq!(round, Ok(SchemaAnswer::Unusable(why.to_owned())));
    assert_eq!(asked, 3);
    let why = "its references go round: own version 1 refers to own version 1";
    assert_eq!(own, Ok(SchemaAnswer::Unusable(why.to_owned())));
}

#[tokio::test]
async fn references_without_an_end_make_a_schema_that_is_never_of_use() {
    // Each refers to the next.
    let deep = Host::start(|seen| {
        let last = seen.path.split('/').rev().find_map(|part| part.strip_prefix('n')).unwrap_or("0");
        let next = last.parse::<u32>().unwrap() + 1;
        status(200, &[], &referring(&[&format!("n{next}")]))
    })
    .await;
    let many: Vec<_> = (0..1_000).map(|number| format!("n{number}")).collect();
    let wide = Host::start(move |seen| {
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        status(200, &[], &referring(if seen.path.contains("/ids/") { &many } else { &[] }))
    })
    .await;

    for host in [deep, wide] {
        let answer = asked(&host).await;
        let Ok(SchemaAnswer::Unusable(why)) = &answer else { panic!("{answer:?}") };
        assert!(why.contains("more than 256, or lead further than 16"), "{why}");
        assert!(host.seen().len() < 300, "{} questions", host.seen().len());
    }
}

#[tokio::test]
async fn references_that_are_shared_are_asked_for_once_and_those_that_are_not_there_are_an_outage() {
    let shared = Host::start(|seen| {
        let to: &[&str] = match seen.path.as_str() {
            "/schemas/ids/7" => &["a", "b", "c"],
            "/subjects/a/versions/1" | "/subjects/b/versions/1" => &["c"],
            _ => &[],
        };
        status(200, &[], &referring(to))
    })
    .await;
    let nowhere = Host::start(|seen| {
        if seen.path.contains("/schemas/ids/") { status(200, &[], &referring(&["a"])) } else { not_found() }
    })
    .await;

    let found = client(&shared.url("/")).schema(SchemaRef::Id(7)).await;
    let missing = asked(&nowhere).await.unwrap_err();

    assert!(matches!(found, Ok(SchemaAnswer::Found { .. })), "{found:?}");
    assert_eq!(shared.seen().len(), 4, "{:?}", shared.seen());
    assert!(missing.contains("a version 1 is referred to and not there"), "{missing}");
}

#[tokio::test]
async fn references_are_put_together_those_of_references_too() {
    let host = Host::start(|seen| {
        let body = match seen.path.as_str() {
            "/schemas/ids/7" => {
                r#"{"schema": "{\"type\": \"record\", \"name\": \"b.Post\", \"fields\": [{\"name\": \"author\", \"type\": \"b.Person\"}]}",
                    "references": [{"name": "b.Person", "subject": "person", "version": 3}]}"#
            }
            "/subjects/person/versions/3" => {
                r#"{"schema": "{\"type\": \"record\", \"name\": \"b.Person\", \"fields\": [{\"name\": \"at\", \"type\": \"b.Place\"}]}",
                    "references": [{"name": "b.Place", "subject": "place", "version": 1}]}"#
            }
            "/subjects/place/versions/1" => {
                r#"{"schema": "{\"type\": \"enum\", \"name\": \"b.Place\", \"symbols\": [\"HERE\"]}"}"#
            }
            other => panic!("{other}"),
        };
        status(200, &[], body)
    })
    .await;

    let answer = client(&host.url("/")).schema(SchemaRef::Id(7)).await.unwrap();

    let SchemaAnswer::Found { text, .. } = answer else { panic!("{answer:?}") };
    assert!(text.contains("HERE"), "{text}");
}

#[tokio::test]
async fn credentials_go_to_the_registry_and_not_to_where_it_sends_us() {
    let thief = always(200, LONG).await;
    let elsewhere = thief.url("/schemas/ids/7?key=hidden");
    for code in [301, 302, 307, 308] {
        let location = elsewhere.clone();
        let host = Host::start(move |_| status(code, &[("location", &location)], "")).await;
        let token = with(Credentials::Bearer("token-canary".to_owned()), &host.url("/"));

        let why = token.schema(SchemaRef::Id(7)).await.unwrap_err().to_string();

        assert!(why.contains(&format!("127.0.0.1:{}", thief.port())), "{why}");
        assert!(!why.contains("hidden") && !why.contains("canary"), "{why}");
        assert_eq!(host.seen()[0].header("authorization"), Some("Bearer token-canary"));
    }
    assert!(thief.seen().is_empty(), "{:?}", thief.seen());
}

#[tokio::test]
async fn a_name_and_a_password_are_sent_as_basic_authentication() {
    let host = always(200, LONG).await;
    let basic = with(Credentials::Basic("ada".to_owned(), "p:w ü".to_owned()), &host.url("/"));

    basic.schema(SchemaRef::Id(7)).await.unwrap();

    // printf 'ada:p:w ü' | base64
    assert_eq!(host.seen()[0].header("authorization"), Some("Basic YWRhOnA6dyDDvA=="));
    assert!(!format!("{basic:?}").contains("p:w"), "{basic:?}");
}

#[tokio::test]
async fn every_request_is_counted_by_how_it_ended() {
    use postroom::telemetry::RegistryAnswer;
    let host = Host::start(|seen| match seen.path.as_str() {
        "/schemas/ids/1" => status(200, &[], LONG),
        "/schemas/ids/2" => not_found(),
        "/schemas/ids/3" => status(401, &[], ""),
        "/schemas/ids/4" => status(500, &[], ""),
        _ => status(409, &[], r#"{"error_code": 409, "message": "incompatible"}"#),
    })
    .await;
    let counted = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&counted);
    let server = client(&host.url("/")).metered(Arc::new(move |answer| noted.lock().unwrap().push(answer)));

    for id in 1..=4 {
        drop(server.find(SchemaRef::Id(id)).await);
    }
    let refused = server.register("s", "\"long\"", &[]).await.unwrap_err();

    assert!(matches!(refused, ServerError::Refused(_)), "{refused:?}");
    assert_eq!(
        *counted.lock().unwrap(),
        [
            RegistryAnswer::Ok,
            RegistryAnswer::NotFound,
            RegistryAnswer::Unauthorised,
            RegistryAnswer::Away,
            RegistryAnswer::Refused
        ]
    );
}
