//! The page over HTTP: who may see it, what its answers say to a browser, mails and thumbnails.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use postroom::config::{Flag, Listen, Secret, Sources, load};
use postroom::console::{Console, Gallery, GalleryFuture, Mail, MailLine, Mailbox, Thumb};
use postroom::effects::Project;
use postroom::runtime::Group;
use postroom::telemetry::http::HttpServer;
use postroom::telemetry::{Board, BuildInfo, Metrics};

struct Mails;

impl Mailbox for Mails {
    fn list(&self, count: usize) -> Vec<MailLine> {
        self.get(1).map(|mail| mail.line).into_iter().take(count).collect()
    }

    fn get(&self, number: u64) -> Option<Mail> {
        (number == 1).then(|| Mail {
            line: MailLine {
                number,
                to: "ada@example.org".to_owned(),
                subject: "<b>new</b> \u{202e}comment".to_owned(),
                at: 1,
            },
            headers: vec![("X-Odd".to_owned(), "</td><script>alert(1)</script>".to_owned())],
            text: Some("</pre><script>alert(2)</script>".to_owned()),
            html: Some("<p onclick=\"alert(3)\">Hello</p><script>alert(3)</script>".to_owned()),
        })
    }
}

struct Pictures;

impl Gallery for Pictures {
    fn recent(&self, _count: usize) -> GalleryFuture<'_, Vec<Thumb>> {
        let thumb = |name: &str, placeholder: &str| Thumb {
            name: name.to_owned(),
            of: "\"><script>alert(4)</script>\u{202e}.png".to_owned(),
            width: 320,
            height: 200,
            placeholder: Some(placeholder.to_owned()),
            event: None,
        };
        let thumbs = vec![
            thumb("ab/320.png", "data:image/png;base64,AAAA"),
            thumb("ab/evil.png", "javascript:alert(5)"),
            thumb("../../etc/passwd", "data:image/png;base64,AAAA"),
        ];
        Box::pin(async move { thumbs })
    }

    fn read<'a>(&'a self, name: &'a str) -> GalleryFuture<'a, Option<Vec<u8>>> {
        let bytes: &[u8] =
            if name == "ab/320.png" { b"\x89PNG\r\n\x1a\n" } else { b"<svg onload=alert(6)></svg>" };
        Box::pin(async move { Some(bytes.to_vec()) })
    }
}

fn serve(listen: &str, token: Option<Secret>) -> (HttpServer, Console) {
    let nobody = Flag {
        name: "test".to_owned(),
        setting: "kafka.brokers".to_owned(),
        value: "127.0.0.1:9".to_owned(),
    };
    let config = load(&Sources { flags: vec![nobody], ..Sources::default() }).unwrap().config;
    let metrics =
        Metrics::new(&BuildInfo::current("test".to_owned()), Arc::new(Board::new("0.1.0"))).unwrap();
    let console = Console::new(&config, metrics.board());
    console.show_mails(Arc::new(Mails));
    console.show_thumbs(Arc::new(Pictures));
    let server =
        HttpServer::start(Listen(listen.parse().unwrap()), token, metrics, console.router()).unwrap();
    (server, console)
}

/// Returns the status, the head in lower case, and the body.
fn ask(address: SocketAddr, path: &str, header: &str) -> (u16, String, String) {
    let host = if header.starts_with("Host:") { String::new() } else { "Host: localhost\r\n".to_owned() };
    let mut stream = TcpStream::connect(("127.0.0.1", address.port())).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n{host}{header}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

#[test]
fn every_page_comes_under_the_strict_policy() {
    let (server, _console) = serve("127.0.0.1:0", None);
    for path in ["/", "/mails/1", "/mails/9", "/events/x", "/nowhere", "/api/page/groups", "/api/events/x"] {
        let (_, head, _) = ask(server.address(), path, "");
        for line in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(line), "{path}: {line}: {head}");
        }
    }
}

#[test]
fn the_page_is_for_those_who_may_use_the_api() {
    let (local, _console) = serve("127.0.0.1:0", None);
    assert_eq!(ask(local.address(), "/", "").0, 200);
    for path in ["/", "/nowhere", "/events/x", "/mails/1"] {
        assert_eq!(ask(local.address(), path, "Host: evil.example\r\n").0, 421, "{path}");
    }
    let (open, _console) = serve("0.0.0.0:0", None);
    assert_eq!(ask(open.address(), "/", "").0, 403);
    assert_eq!(ask(open.address(), "/livez", "").0, 200);
    let (guarded, _console) = serve("127.0.0.1:0", Some(Secret::new("a-long-token")));
    assert_eq!(ask(guarded.address(), "/", "").0, 401);
    assert_eq!(ask(guarded.address(), "/", "Authorization: Bearer a-long-token\r\n").0, 200);
}

#[test]
fn what_comes_from_mails_and_pictures_is_text_on_the_page() {
    let (server, _console) = serve("127.0.0.1:0", None);
    for path in ["/", "/mails/1", "/api/page/thumbs", "/api/page/mails"] {
        let (status, _, body) = ask(server.address(), path, "");
        assert_eq!(status, 200);
        assert!(!body.contains("<script>") && !body.contains("<b>new"), "{path}: {body}");
        assert!(!body.contains("javascript:") && !body.contains("etc/passwd"), "{path}: {body}");
        assert!(!body.contains('\u{202e}') && !body.contains("ada@example.org"), "{path}: {body}");
    }
    let (_, _, page) = ask(server.address(), "/", "");
    assert!(page.contains("⟦U+202E⟧") && page.contains("a•••@example.org"), "{page}");
    assert!(page.contains("src=\"/thumbs/ab/320.png\""), "{page}");
}

#[test]
fn titles_and_attributes_name_odd_characters_without_markup() {
    let (server, _console) = serve("127.0.0.1:0", None);

    let (_, _, mail) = ask(server.address(), "/mails/1", "");
    let (_, _, thumbs) = ask(server.address(), "/api/page/thumbs", "");

    assert!(mail.contains("<title>&lt;b&gt;new&lt;/b&gt; ⟦U+202E⟧comment – Postroom</title>"), "{mail}");
    let named = "alt=\"Thumbnail of &quot;&gt;&lt;script&gt;alert(4)&lt;/script&gt;⟦U+202E⟧.png\"";
    assert!(thumbs.contains(named), "{thumbs}");
}

#[test]
fn a_mails_html_may_do_nothing_and_stands_in_our_frame_alone() {
    let (server, _console) = serve("127.0.0.1:0", None);

    let (_, _, page) = ask(server.address(), "/mails/1", "");
    let (status, head, html) = ask(server.address(), "/mails/1/html", "");

    assert!(page.contains("<iframe sandbox=\"\" src=\"/mails/1/html\""), "{page}");
    assert_eq!(status, 200);
    assert!(html.contains("<p onclick"), "it is shown as it is");
    let policy = head.lines().find(|line| line.starts_with("content-security-policy:")).unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'self'", "form-action 'none'", "sandbox"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("script-src") && !policy.contains("allow-"), "{policy}");
}

#[test]
fn only_pictures_with_plain_names_are_served() {
    let (server, _console) = serve("127.0.0.1:0", None);

    let (status, head, _) = ask(server.address(), "/thumbs/ab/320.png", "");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: image/png") && head.contains("nosniff"), "{head}");
    for path in
        ["/thumbs/ab/evil.png", "/thumbs/..%2f..%2fetc/passwd", "/thumbs/../etc/passwd", "/thumbs/.env"]
    {
        assert_eq!(ask(server.address(), path, "").0, 404, "{path}");
    }
}

#[test]
fn assets_are_kept_for_ever_under_names_of_their_content() {
    let (server, _console) = serve("127.0.0.1:0", None);
    let (_, _, page) = ask(server.address(), "/", "");
    let assets: Vec<_> = page.split('"').filter(|word| word.starts_with("/assets/")).collect();

    assert_eq!(assets.len(), 2);
    for asset in assets {
        let (status, head, _) = ask(server.address(), asset, "");
        assert_eq!(status, 200);
        assert!(head.contains("immutable"), "{head}");
    }
    assert_eq!(ask(server.address(), "/assets/console-000000000000.css", "").0, 404);
}

#[test]
fn the_page_says_that_kafka_is_away_and_comes_all_the_same() {
    let mut sources = Sources::default();
    sources.environment.push(("POSTROOM_KAFKA__BROKERS".to_owned(), "127.0.0.1:1".to_owned()));
    let config = load(&sources).unwrap().config;
    let metrics =
        Metrics::new(&BuildInfo::current("test".to_owned()), Arc::new(Board::new("0.1.0"))).unwrap();
    let console = Console::new(&config, metrics.board());
    let listen = Listen("127.0.0.1:0".parse().unwrap());
    let server = HttpServer::start(listen, None, metrics, console.router()).unwrap();

    let said = (0..400).any(|_| {
        let (status, _, body) = ask(server.address(), "/api/page/letters", "");
        assert_eq!(status, 200);
        let said = body.contains("Kafka does not answer");
        if !said {
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
        said
    });

    assert!(said);
}

#[test]
fn who_cannot_know_what_is_left_to_do_says_so_and_not_zero() {
    let (server, console) = serve("127.0.0.1:0", None);
    let (early, _, why) = ask(server.address(), "/api/scale", "");
    let mut config = load(&Sources::default()).unwrap().config;
    "test.".clone_into(&mut config.kafka.group_prefix);
    console.scale_by(&config, &[Group::effect(Project)]);
    let (away, head, _) = ask(server.address(), "/api/scale", "");

    assert_eq!((early, why.as_str()), (503, "no group has started yet\n"));
    assert_eq!(away, 503, "{head}");
}
