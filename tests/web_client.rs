//! The client for hosts that others name, against hosts that behave badly.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops where it is wrong")]

mod certificates;
mod web_host;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postroom::adapters::web::{Guard, Looking, Lookup, WebClient, WebSettings};
use postroom::config::{AllowedHosts, Ports};
use postroom::ports::{Wanted, Web, WebError, WebMethod, WebRequest, WebResponse};
use web_host::{Host, Script, status};

const LIMIT: usize = 64 * 1_024;

fn settings(allowed: &[&str]) -> WebSettings {
    WebSettings {
        guard: Guard {
            allow_http: true,
            allow_private: AllowedHosts::read(allowed.iter().copied()).unwrap(),
            ports: Ports::Any,
        },
        connect_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(25),
        authorities: None,
    }
}

/// A client that may reach this machine, and is not patient.
fn hasty() -> WebClient {
    let settings = WebSettings { timeout: Duration::from_millis(500), ..settings(&["127.0.0.0/8"]) };
    WebClient::new(settings).unwrap()
}

fn patient() -> WebClient {
    WebClient::new(settings(&["127.0.0.0/8"])).unwrap()
}

async fn post(client: &WebClient, url: &str) -> Result<WebResponse, WebError> {
    fetch(client, url, Wanted::Start(LIMIT)).await
}

async fn fetch(client: &WebClient, url: &str, wanted: Wanted) -> Result<WebResponse, WebError> {
    let headers = vec![("webhook-id", "d1".to_owned())];
    let request = WebRequest {
        method: WebMethod::Post,
        url: url.to_owned(),
        headers,
        body: b"{\"a\": 1}".to_vec(),
        wanted,
    };
    client.send(request).await
}

/// Answers one name after the other, the last one for ever.
struct Rebinding {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Rebinding {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect());
        Arc::new(Self { answers: answers.collect(), asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Rebinding {
    fn lookup<'a>(&'a self, _: &'a str) -> Looking<'a> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let answer = self.answers.get(turn).cloned().unwrap();
        Box::pin(async { Ok(answer) })
    }
}

/// Never answers.
struct Silent;

impl Lookup for Silent {
    fn lookup<'a>(&'a self, _: &'a str) -> Looking<'a> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_request_goes_out_as_it_is_and_the_answer_comes_back() {
    let host = Host::start(|_| status(418, &[("X-One", "two")], "short and stout")).await;

    let response = post(&patient(), &host.url("/tea?x=1")).await.unwrap();

    assert_eq!(
        (response.status, response.header("x-one"), response.body.as_slice()),
        (418, Some("two"), b"short and stout".as_slice())
    );
    let [seen] = &*host.seen() else { panic!("{:?}", host.seen()) };
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), seen.body.as_str()),
        ("POST", "/tea?x=1", "{\"a\": 1}")
    );
    assert_eq!(seen.header("webhook-id"), Some("d1"));
    assert!(seen.header("user-agent").unwrap().starts_with("Postroom/"), "{seen:?}");
    assert_eq!(seen.header("accept-encoding"), None, "a compressed answer would be of no use");
}

#[tokio::test]
async fn a_name_that_moves_inside_after_it_was_checked_is_blocked_where_it_is_connected_to() {
    let host = Host::start(|_| status(200, &[], "inside")).await;
    let lookup = Rebinding::new(&[&["1.1.1.1"], &["127.0.0.1"]]);
    let client = WebClient::with_lookup(settings(&[]), lookup.clone()).unwrap();
    let url = format!("http://rebind.example:{}/", host.port());

    assert_eq!(client.check(&url).await, Ok(()));
    let sent = post(&client, &url).await;

    let blocked = WebError::Blocked {
        host: "rebind.example".to_owned(),
        address: "127.0.0.1".parse().unwrap(),
        why: "this machine",
    };
    assert_eq!(sent, Err(blocked));
    assert_eq!(
        lookup.asked.load(Ordering::SeqCst),
        2,
        "the address that was checked is the one that is used"
    );
    assert!(host.seen().is_empty());
}

#[tokio::test]
async fn every_request_asks_for_the_addresses_again() {
    let host = Host::start(|_| status(200, &[], "")).await;
    let lookup = Rebinding::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let client = WebClient::with_lookup(settings(&["127.0.0.1"]), lookup).unwrap();
    let url = format!("http://rebind.example:{}/", host.port());

    assert_eq!(post(&client, &url).await.unwrap().status, 200);
    assert!(matches!(post(&client, &url).await, Err(WebError::Blocked { .. })));
}

#[tokio::test]
async fn addresses_inside_are_blocked_however_they_are_written() {
    let host = Host::start(|_| status(200, &[], "inside")).await;
    let client = WebClient::new(settings(&[])).unwrap();
    let port = host.port();

    for name in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0",
        "localhost",
        "[::1]",
        "[::ffff:7f00:1]",
        "[::]",
    ] {
        let sent = post(&client, &format!("http://{name}:{port}/")).await;
        assert!(matches!(sent, Err(WebError::Blocked { .. })), "{name}: {sent:?}");
    }
    assert!(host.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let host = Host::start(|asked| match asked.path.as_str() {
        "/302" => status(302, &[("location", "/inside")], ""),
        _ => status(301, &[("location", "http://169.254.169.254/")], ""),
    })
    .await;

    for (path, code) in [("/302", 302), ("/301", 301)] {
        assert_eq!(post(&patient(), &host.url(path)).await.unwrap().status, code);
    }

    assert_eq!(host.seen().len(), 2);
}

#[tokio::test]
async fn a_host_that_never_answers_and_a_name_that_never_resolves_end_in_time() {
    let host = Host::start(|_| Script::Hang).await;
    let settings = WebSettings { connect_timeout: Duration::from_millis(200), ..settings(&["127.0.0.0/8"]) };
    let lost = WebClient::with_lookup(settings, Arc::new(Silent)).unwrap();

    assert!(matches!(post(&hasty(), &host.url("/")).await, Err(WebError::Timeout(_))));
    assert!(matches!(post(&lost, "http://lost.example/").await, Err(WebError::Timeout(_))));
}

#[tokio::test]
async fn an_endless_body_is_cut_or_refused() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let piece = [format!("{:x}\r\n", 8_192).into_bytes(), vec![b'x'; 8_192], b"\r\n".to_vec()].concat();
    let host = Host::start(move |_| Script::Endless {
        start: chunked.clone(),
        piece: piece.clone(),
        pause: Duration::ZERO,
    })
    .await;

    let cut = fetch(&patient(), &host.url("/"), Wanted::Start(LIMIT)).await.unwrap();
    let whole = fetch(&patient(), &host.url("/"), Wanted::Whole(LIMIT)).await;

    assert_eq!((cut.status, cut.body.len()), (200, LIMIT));
    assert_eq!(whole, Err(WebError::TooLarge(LIMIT)));
}

#[tokio::test]
async fn a_body_that_drips_is_cut_in_time_and_its_status_counts() {
    let start = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_vec();
    let host = Host::start(move |_| Script::Endless {
        start: start.clone(),
        piece: b"x".to_vec(),
        pause: Duration::from_millis(20),
    })
    .await;

    let dripped = post(&hasty(), &host.url("/")).await.unwrap();
    let whole = fetch(&hasty(), &host.url("/"), Wanted::Whole(LIMIT)).await;

    assert_eq!(dripped.status, 200);
    assert!(matches!(whole, Err(WebError::Timeout(_))), "{whole:?}");
}

#[tokio::test]
async fn endless_headers_and_what_is_no_http_break_the_exchange() {
    let host = Host::start(|asked| match asked.path.as_str() {
        "/headers" => Script::Endless {
            start: b"HTTP/1.1 200 OK\r\n".to_vec(),
            piece: b"x-more: more and more\r\n".repeat(100),
            pause: Duration::ZERO,
        },
        "/header" => Script::Endless {
            start: b"HTTP/1.1 200 OK\r\nx-long: ".to_vec(),
            piece: vec![b'x'; 8_192],
            pause: Duration::ZERO,
        },
        "/old" => Script::Say(b"<html>no header at all</html>".to_vec()),
        "/smuggled" => {
            Script::Say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 50\r\n\r\nhello".to_vec())
        }
        _ => Script::Say(Vec::new()),
    })
    .await;

    for path in ["/headers", "/header", "/old", "/smuggled", "/nothing"] {
        let sent = post(&patient(), &host.url(path)).await;
        assert!(matches!(sent, Err(WebError::Broken(_))), "{path}: {sent:?}");
    }
}

#[tokio::test]
async fn a_compressed_answer_stays_compressed() {
    // Claims to be gzip: a client that unpacked it would fail, or worse.
    let packed = "\u{1f}not really gzip".repeat(20);
    let answer = packed.clone();
    let host = Host::start(move |_| status(200, &[("content-encoding", "gzip")], &answer)).await;

    let response = post(&patient(), &host.url("/")).await.unwrap();

    assert_eq!(response.body, packed.as_bytes());
}

#[tokio::test]
async fn a_port_where_nobody_listens_and_a_name_that_is_unknown_are_no_connection() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let nowhere = Rebinding::new(&[&[]]);
    let unknown = WebClient::with_lookup(settings(&[]), nowhere).unwrap();

    let refused = post(&patient(), &format!("http://127.0.0.1:{port}/?token=hidden")).await.unwrap_err();
    assert!(matches!(refused, WebError::Connect(_)), "{refused:?}");
    assert!(!refused.to_string().contains("hidden"), "{refused}");
    assert!(matches!(post(&unknown, "http://unknown.example/").await, Err(WebError::Connect(_))));
}

mod tls {
    use openssl::ssl::{SslAcceptor, SslMethod, SslVersion};

    use super::certificates::{signed, valid};
    use super::*;

    /// A server with its own certificate, for one connection.
    struct Server {
        port: u16,
        authority: Vec<u8>,
    }

    impl Server {
        fn start(name: &str, days: (i64, i64), newest: Option<SslVersion>) -> Self {
            use std::io::{Read, Write};
            let (authority, authority_key) = signed("The authority", None);
            let (certificate, key) = valid(name, Some((&authority, &authority_key)), days);
            let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).unwrap();
            if let Some(newest) = newest {
                acceptor.set_min_proto_version(None).unwrap();
                acceptor.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
                acceptor.set_max_proto_version(Some(newest)).unwrap();
            }
            acceptor.set_private_key(&key).unwrap();
            acceptor.set_certificate(&certificate).unwrap();
            let acceptor = acceptor.build();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            std::thread::spawn(move || {
                let (stream, _) = listener.accept().unwrap();
                // A client that does not trust us goes away in mid-greeting.
                if let Ok(mut stream) = acceptor.accept(stream) {
                    let mut asked = [0; 4_096];
                    if stream.read(&mut asked).is_ok_and(|count| count > 0) {
                        stream.write_all(b"HTTP/1.1 204 Done\r\n\r\n").unwrap_or_default();
                        drop(stream.shutdown());
                    }
                }
            });
            Self { port, authority: authority.to_pem().unwrap() }
        }

        async fn asked(&self, trusted: bool) -> Result<WebResponse, WebError> {
            let authorities = trusted.then(|| self.authority.clone());
            let settings = WebSettings { authorities, ..settings(&["hooks.example"]) };
            let client = WebClient::with_lookup(settings, Rebinding::new(&[&["127.0.0.1"]])).unwrap();
            post(&client, &format!("https://hooks.example:{}/", self.port)).await
        }
    }

    #[tokio::test]
    async fn a_certificate_that_is_in_order_is_taken() {
        let server = Server::start("hooks.example", (-1, 1), None);

        assert_eq!(server.asked(true).await.map(|response| response.status), Ok(204));
    }

    #[tokio::test]
    async fn a_certificate_that_is_wrong_in_any_way_is_refused() {
        let unknown = Server::start("hooks.example", (-1, 1), None).asked(false).await;
        let other_host = Server::start("other.example", (-1, 1), None).asked(true).await;
        let expired = Server::start("hooks.example", (-2, -1), None).asked(true).await;
        let not_yet = Server::start("hooks.example", (1, 2), None).asked(true).await;
        let wide = Server::start("*.hooks.example", (-1, 1), None).asked(true).await;

        for (what, sent) in [
            ("unknown", unknown),
            ("other host", other_host),
            ("expired", expired),
            ("not yet", not_yet),
            ("wide", wide),
        ] {
            assert!(matches!(sent, Err(WebError::Tls(_))), "{what}: {sent:?}");
        }
    }

    #[tokio::test]
    async fn old_versions_of_tls_are_refused() {
        let old = Server::start("hooks.example", (-1, 1), Some(SslVersion::TLS1_1)).asked(true).await;

        assert!(matches!(old, Err(WebError::Tls(_))), "{old:?}");
    }

    #[tokio::test]
    async fn a_host_that_speaks_no_tls_is_no_connection() {
        let host = Host::start(|_| status(200, &[], "")).await;

        let sent = post(&hasty(), &format!("https://127.0.0.1:{}/", host.port())).await;

        assert!(matches!(sent, Err(WebError::Tls(_) | WebError::Timeout(_))), "{sent:?}");
    }
}
