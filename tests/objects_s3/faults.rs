//! What each answer of a server means, and what is sent to it.

use std::time::Duration;

use postroom::adapters::objects::{S3, S3Settings};
use postroom::config::{S3Section, Secret};
use postroom::ports::{ObjectError, Objects};
use sha2::{Digest, Sha256};

use crate::scripted::{Answer, Server, answer, error};
use crate::{bucket, section};

const LIMIT: u64 = 1_000;

fn media(server: &Server) -> S3 {
    bucket("media", "up", section(server.port))
}

fn away(result: Result<Vec<u8>, ObjectError>) -> String {
    match result {
        Err(ObjectError::Away(why)) => why,
        other => panic!("not away: {other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_says_slow_down_once_is_asked_again_and_one_that_goes_on_is_away() {
    let once = Server::start(vec![error(503, "SlowDown"), answer("200 OK", b"picture")]);
    assert_eq!(media(&once).read("a.jpg", LIMIT).await.unwrap(), b"picture");
    for (status, code) in
        [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests"), (502, "Bad"), (408, "Late")]
    {
        let always = Server::start(vec![error(status, code)]);

        let why = away(media(&always).read("a.jpg", LIMIT).await);

        assert!(why.contains(code) && why.contains("media"), "{why}");
        assert_eq!(always.requests().len(), 3, "{code}");
        let written = media(&always).write("a.jpg", vec![1], "image/jpeg").await;
        assert!(matches!(written, Err(ObjectError::Away(_))), "{written:?}");
    }
}

#[tokio::test]
async fn only_the_word_for_a_missing_key_is_a_missing_object() {
    let missing = Server::start(vec![error(404, "NoSuchKey")]);
    let read = media(&missing).read("a.jpg", LIMIT).await;
    assert_eq!(read, Err(ObjectError::NotFound("a.jpg".to_owned())));

    let no_bucket = Server::start(vec![error(404, "NoSuchBucket")]);
    let why = away(media(&no_bucket).read("a.jpg", LIMIT).await);
    assert!(why.contains("the bucket media: it does not exist"), "{why}");

    let page = Server::start(vec![answer("404 Not Found\r\nContent-Type: text/html", b"<h1>nginx</h1>")]);
    let why = away(media(&page).read("a.jpg", LIMIT).await);
    assert!(why.contains("does not speak S3"), "{why}");
}

#[tokio::test]
async fn what_is_wrong_with_rights_regions_and_clocks_is_said_and_nobody_s_object_is_at_fault() {
    for (status, code, word) in [
        (403, "AccessDenied", "access denied to up/a.jpg"),
        (403, "AccessDenied", "s3:ListBucket"),
        (401, "Unauthorized", "access denied"),
        (403, "SignatureDoesNotMatch", "credentials are not accepted"),
        (403, "InvalidAccessKeyId", "credentials are not accepted"),
        (403, "RequestTimeTooSkewed", "clock"),
        (400, "ExpiredToken", "no longer valid"),
        (400, "AuthorizationHeaderMalformed", "another region"),
        (400, "RequestTimeout", "cannot serve"),
    ] {
        let server = Server::start(vec![error(status, code)]);

        let why = away(media(&server).read("a.jpg", LIMIT).await);

        assert!(why.contains(word) && why.contains(code), "{code}: {why}");
        assert_eq!(server.requests().len(), 1, "{code} was tried again at once");
    }
    let moved = answer(
        "301 Moved Permanently\r\nx-amz-bucket-region: eu-west-3",
        b"<Error><Code>PermanentRedirect</Code></Error>",
    );
    let why = away(media(&Server::start(vec![moved])).read("a.jpg", LIMIT).await);
    assert!(why.contains("set s3.region = \"eu-west-3\""), "{why}");
}

#[tokio::test]
async fn an_object_that_alone_cannot_be_had_is_told_from_a_bucket_that_cannot() {
    for (status, code) in [(403, "InvalidObjectState"), (405, "MethodNotAllowed"), (400, "SomethingNew")] {
        let server = Server::start(vec![error(status, code)]);

        let read = media(&server).read("a.jpg", LIMIT).await;

        let Err(ObjectError::Failed { key, why }) = read else { panic!("{code}: {read:?}") };
        assert_eq!((key.as_str(), why), ("a.jpg", format!("{status} {code}: said by the test")));
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_not_there_is_away() {
    let silent = Server::start(vec![Answer::Silence]);
    let settings = S3Section { timeout: Duration::from_millis(200), ..section(silent.port) };
    let why = away(bucket("media", "", settings.clone()).read("a.jpg", LIMIT).await);
    assert!(why.contains("did not answer within 200ms"), "{why}");
    let written = bucket("media", "", settings).write("a.jpg", vec![1], "image/jpeg").await;
    assert!(matches!(written, Err(ObjectError::Away(_))), "{written:?}");

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let why = away(bucket("media", "", section(port)).read("a.jpg", LIMIT).await);
    assert!(why.to_lowercase().contains("refused"), "{why}");
    assert!(!why.contains("AKIDEXAMPLE"), "{why}");
}

#[tokio::test]
async fn an_object_that_is_too_large_is_refused_by_its_header_and_its_bytes_are_not_read() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n";
    let endless = Server::start(vec![Answer::Endless(head.to_vec())]);

    let read = media(&endless).read("a.jpg", LIMIT).await;

    let (key, size) = ("a.jpg".to_owned(), 99_999_999_999);
    assert_eq!(read, Err(ObjectError::TooLarge { key, size, limit: LIMIT }));
}

#[tokio::test]
async fn an_answer_without_a_length_or_an_error_without_an_end_is_not_read_for_ever() {
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n7fffffff\r\n";
    let unmeasured = Server::start(vec![Answer::Endless(chunks.to_vec())]);
    away(media(&unmeasured).read("a.jpg", LIMIT).await);

    let head =
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 99999999999\r\n\r\n<Error><Code>AccessDenied</Code>";
    let error = Server::start(vec![Answer::Endless(head.to_vec())]);
    let why = away(media(&error).read("a.jpg", LIMIT).await);
    assert!(why.contains("access denied"), "{why}");
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_is_taken_up_where_it_broke_or_is_away() {
    let half = |etag: &str| {
        Answer::Bytes(
            format!("HTTP/1.1 200 OK\r\n{etag}Content-Length: 8\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\nhalf")
                .into_bytes(),
        )
    };
    let rest = answer("206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes 4-7/8", b"rest");
    let server = Server::start(vec![half("ETag: \"e\"\r\n"), rest]);
    assert_eq!(media(&server).read("a.jpg", LIMIT).await.unwrap(), b"halfrest");
    assert_eq!(server.requests()[1].header("range"), Some("bytes=4-7"));

    // Another object may stand there by now.
    let other = answer("206 Partial Content\r\nETag: \"f\"\r\nContent-Range: bytes 4-7/8", b"rest");
    away(media(&Server::start(vec![half("ETag: \"e\"\r\n"), other])).read("a.jpg", LIMIT).await);
    away(media(&Server::start(vec![half("")])).read("a.jpg", LIMIT).await);
}

#[tokio::test]
async fn a_write_says_what_it_is_and_is_signed_with_its_bytes() {
    let server = Server::start(vec![answer("200 OK\r\nETag: \"e\"", b"")]);
    let settings = S3Section { session_token: Some(Secret::new("token-1")), ..section(server.port) };

    bucket("media", "up", settings).write("ab/x y.jpg", b"bytes".to_vec(), "image/jpeg").await.unwrap();

    let request = &server.requests()[0];
    assert_eq!(request.line, "PUT /media/up/ab/x%20y.jpg HTTP/1.1");
    assert_eq!(request.body, b"bytes");
    assert_eq!(request.header("content-type"), Some("image/jpeg"));
    assert_eq!(request.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(request.header("x-amz-security-token"), Some("token-1"));
    let digest: String = Sha256::digest(b"bytes").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(request.header("x-amz-content-sha256"), Some(digest.as_str()));
    let signed = request.header("authorization").unwrap();
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{signed}");
    assert!(signed.contains("/eu-north-1/s3/aws4_request"), "{signed}");
    assert!(!request.head.contains("that=is-none"));
}

#[tokio::test]
async fn no_key_of_an_event_leaves_the_prefix() {
    let server = Server::start(vec![answer("200 OK", b"")]);
    let media = media(&server);
    for key in ["../other/x", "/other/x", "a/../../x", "a//x", "a/./x", "", "a/", "..\\x", "a\u{1}b"] {
        let read = media.read(key, LIMIT).await.unwrap_err();
        assert!(matches!(read, ObjectError::BadKey { .. }), "{key:?}: {read}");
        let written = media.write(key, vec![1], "image/png").await.unwrap_err();
        assert!(matches!(written, ObjectError::BadKey { .. }), "{key:?}: {written}");
    }
    assert_eq!(server.requests().len(), 0);
    // Names that only look like it are names.
    for (key, path) in [
        ("%2e%2e/x", "/media/up/%252e%252e/x"),
        (".../x?y=1#z", "/media/up/.../x%3Fy%3D1%23z"),
        ("a b+c&d", "/media/up/a%20b%2Bc%26d"),
        ("é~'*", "/media/up/%C3%A9~%27%2A"),
    ] {
        media.read(key, LIMIT).await.unwrap();
        assert_eq!(server.requests().last().unwrap().line, format!("GET {path} HTTP/1.1"), "{key}");
    }
}

#[tokio::test]
async fn what_the_settings_leave_open_comes_from_the_environment_and_what_they_say_does_not() {
    let variables = |server: &Server| {
        vec![
            ("AWS_ENDPOINT_URL_S3".to_owned(), format!("http://127.0.0.1:{}", server.port)),
            ("AWS_REGION".to_owned(), "ap-south-1".to_owned()),
            ("AWS_ACCESS_KEY_ID".to_owned(), "AKIDOFENV".to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "env-key".to_owned()),
            ("AWS_SESSION_TOKEN".to_owned(), "env-token".to_owned()),
            // Switches that would weaken what is sent are not taken from there.
            ("AWS_SKIP_SIGNATURE".to_owned(), "true".to_owned()),
        ]
    };
    let open = |settings, environment| {
        let (bucket, prefix) = ("media".to_owned(), String::new());
        S3::new(S3Settings { bucket, prefix, settings, environment }).unwrap()
    };
    let of_env = Server::start(vec![answer("200 OK", b"")]);
    open(S3Section::default(), variables(&of_env)).read("a", LIMIT).await.unwrap();
    let request = &of_env.requests()[0];
    let signed = request.header("authorization").unwrap();
    assert!(signed.contains("AKIDOFENV") && signed.contains("/ap-south-1/"), "{signed}");
    assert_eq!(request.header("x-amz-security-token"), Some("env-token"));

    let of_settings = Server::start(vec![answer("200 OK", b"")]);
    open(section(of_settings.port), variables(&of_env)).read("a", LIMIT).await.unwrap();
    let request = &of_settings.requests()[0];
    let signed = request.header("authorization").unwrap();
    assert!(signed.contains("AKIDEXAMPLE") && signed.contains("/eu-north-1/"), "{signed}");
    assert_eq!(request.header("x-amz-security-token"), None);
}

#[test]
fn a_server_of_one_s_own_without_credentials_is_refused_at_once() {
    let settings = S3Section { endpoint: Some("http://127.0.0.1:9".to_owned()), ..S3Section::default() };
    let (bucket, prefix) = ("media".to_owned(), String::new());

    let refused = S3::new(S3Settings { bucket, prefix, settings, environment: Vec::new() }).unwrap_err();

    assert!(refused.contains("there are no credentials for http://127.0.0.1:9"), "{refused}");
}

#[test]
fn nothing_that_is_printed_of_a_bucket_holds_its_key() {
    let bucket = bucket("media", "", section(9));

    assert!(!format!("{bucket:?}").contains("that=is-none"));
}
