//! Deliveries to endpoints, through the real driver, over real connections, to hosts that answer well or badly.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a trial tells how long it took")]

mod mailroom;
#[path = "../../../tests/web_host/mod.rs"]
mod web_host;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use self::mailroom::{Mailroom, Row};
use self::web_host::{Host, Script, Seen, status};
use super::*;
use crate::ports::{Endpoints, RequestEnding};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// When deliveries are first due.
const DUE: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;

const BODY: &str = r#"{"type": "post.published", "data": {"title": "Grüße"}}"#;

fn deliveries() -> TopicPartition {
    TopicPartition::new(Topic::new("blog.webhooks"), Partition(0))
}

/// A host that answers with the status in its path.
async fn by_path() -> Host {
    Host::start(|asked: &Seen| {
        let code = asked.path.trim_start_matches('/').split('/').next().unwrap().parse().unwrap();
        match code {
            301..=308 => status(code, &[("location", "/200")], ""),
            _ => status(code, &[], "as told"),
        }
    })
    .await
}

#[tokio::test]
async fn a_delivery_is_signed_sent_once_and_closed() {
    let room = Mailroom::start();
    let host = by_path().await;
    room.subscribe_with("shop", host.url("/200"), &[OTHER_SECRET, SECRET]).await;

    let row = room.deliver("shop", "d1").await;
    let again = room.deliver("shop", "d1").await;

    assert_eq!(
        (row.ending, row.attempts, row.reply.as_str()),
        (Some(RequestEnding::Done), 1, "200: as told")
    );
    assert_eq!(again.attempts, 1);
    let [seen] = &*host.seen() else { panic!("{:?}", host.seen()) };
    assert_eq!(seen.body, BODY);
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(
        (seen.header("webhook-id"), seen.header("webhook-timestamp")),
        (Some("d1"), Some("1700000000"))
    );
    // Made by Python: base64(hmac.digest(key, b"d1.1700000000." + body, "sha256")) for each key.
    let signatures =
        "v1,bxajUEl1nshwtpsegQdaJ2DqujSrIsybFzVhuLdwv9c= v1,M4GxXAbtws6yIU6PeZ82Bk3qCvx/MUbXxa7BKQVIfXk=";
    assert_eq!(seen.header("webhook-signature"), Some(signatures));
    assert_eq!(room.letters(), []);
    room.end().await;
}

#[tokio::test]
async fn what_an_endpoint_refuses_is_a_dead_letter_at_once() {
    let room = Mailroom::start();
    let host = by_path().await;
    for (code, detail) in
        [(301, "redirect"), (308, "redirect"), (400, "status"), (401, "status"), (404, "status")]
    {
        let id = format!("d{code}");
        room.subscribe(&id, host.url(&format!("/{code}"))).await;

        let row = room.deliver(&id, &id).await;

        assert_eq!((row.ending, row.attempts), (Some(RequestEnding::Dead), 1), "{code}");
        let (reason, text) = room.letters().pop().unwrap();
        assert_eq!(reason, "rejected", "{code}");
        assert!(text.starts_with(&format!("{detail}: endpoint {id:?}: {code}")), "{text}");
    }
    assert_eq!(host.seen().len(), 5, "no redirect was followed");
    room.end().await;
}

#[tokio::test]
async fn a_drain_waits_until_the_store_knows_of_a_dead_letter_but_not_beyond_its_deadline() {
    for (within, waits) in [(PATIENCE, true), (Duration::from_millis(50), false)] {
        let mut room = Mailroom::start();
        let host = by_path().await;
        room.subscribe("strict", host.url("/404")).await;
        let away = Arc::clone(&room.store.letters).acquire_owned().await.unwrap();
        room.publish(&[("strict".to_owned(), "d1".to_owned())]);
        room.edge.until(|asked| asked.iter().any(|one| matches!(one, Asked::Letter { .. }))).await;

        room.control.send(Control::Drain { within }).unwrap();
        let patience = if waits { Duration::from_millis(200) } else { PATIENCE };
        let ended = tokio::time::timeout(patience, &mut room.driver).await;
        assert_eq!(ended.is_ok(), !waits);

        if waits {
            drop(away);
            assert_eq!(tokio::time::timeout(PATIENCE, room.driver).await.unwrap().unwrap(), Ending::Drained);
            assert_eq!(room.store.row("d1").ending, Some(RequestEnding::Dead));
            assert!(room.edge.asked().contains(&Asked::Commit(deliveries(), Offset(1))));
        }
    }
}

#[tokio::test]
async fn a_410_disables_the_endpoint_and_what_waits_is_withdrawn() {
    let room = Mailroom::start();
    let host = by_path().await;
    room.subscribe("gone", host.url("/410")).await;

    let first = room.deliver("gone", "d1").await;
    let second = room.deliver("gone", "d2").await;
    let unknown = room.deliver("never-there", "d3").await;

    assert_eq!((first.ending, second.ending), (Some(RequestEnding::Dead), Some(RequestEnding::Withdrawn)));
    assert_eq!(
        (unknown.ending, unknown.reply.as_str()),
        (Some(RequestEnding::Withdrawn), "the endpoint is gone")
    );
    let endpoint = room.store.endpoint("gone").await.unwrap().unwrap();
    assert_eq!(endpoint.disabled, Some((DUE, "it answered 410: as told".to_owned())));
    assert_eq!(host.seen().len(), 1);
    assert_eq!(room.letters().len(), 1);
    room.end().await;
}

#[tokio::test]
async fn what_may_pass_is_put_off_for_longer_each_time_and_given_up_after_a_day() {
    let room = Mailroom::start();
    let host = by_path().await;
    room.subscribe("sick", host.url("/503")).await;

    let mut waits = Vec::new();
    let last = loop {
        let row = room.deliver("sick", "d1").await;
        if row.ending.is_some() {
            break row;
        }
        let at = row.not_before.unwrap();
        waits.push((at - room.now.swap(at, Ordering::SeqCst)) / 1_000);
    };

    assert!(waits.is_sorted() || waits.len() > 4, "{waits:?}");
    for (wait, about) in waits.iter().zip([5, 30, 120, 600, 3_600]) {
        assert!((about * 8 / 10..=about * 12 / 10).contains(wait), "{waits:?}");
    }
    assert!((24..34).contains(&waits.len()), "{waits:?}");
    assert_eq!(last.ending, Some(RequestEnding::Dead));
    assert!(room.now.load(Ordering::SeqCst) <= DUE + DAY);
    let letters = room.letters();
    assert!(letters.len() == 1 && letters[0].0 == "exhausted", "{letters:?}");
    assert!(letters[0].1.contains("endpoint \"sick\": 503: as told"), "{letters:?}");
    let ids: Vec<_> = host.seen().iter().map(|seen| seen.header("webhook-id").unwrap().to_owned()).collect();
    assert!(ids.iter().all(|id| id == "d1") && ids.len() == waits.len() + 1);
    room.end().await;
}

#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_disabled_and_says_why() {
    let room = Mailroom::start();
    let host = by_path().await;
    room.subscribe("sick", host.url("/503")).await;
    room.subscribe("quiet", host.url("/503")).await;
    let mut days = Vec::new();
    for day in 0..7 {
        let at = DUE + day * DAY;
        days.push(room.deliver_at("sick", &format!("d{day}"), at).await.ending);
        // One that is tried every third day only is not known to fail all the time.
        if day % 3 == 0 {
            assert_eq!(room.deliver_at("quiet", &format!("q{day}"), at).await.ending, None);
        }
    }
    let sick = room.store.endpoint("sick").await.unwrap().unwrap();
    let (since, why) = sick.disabled.unwrap();
    // Enabled, and well again.
    room.subscribe("sick", host.url("/200")).await;
    let well = room.deliver_at("sick", "again", DUE + 7 * DAY).await;

    let dead = Some(RequestEnding::Dead);
    assert_eq!(days, [None, None, None, None, None, dead, Some(RequestEnding::Withdrawn)]);
    assert_eq!(since, DUE + 5 * DAY);
    assert!(
        why.starts_with("it has failed since 2023-11-14T22:13:20") && why.contains("503: as told"),
        "{why}"
    );
    assert!(room.letters()[0].1.contains("endpoint \"sick\": it has failed since"), "{:?}", room.letters());
    assert_eq!(well.ending, Some(RequestEnding::Done));
    room.end().await;
}

#[tokio::test]
async fn an_answer_ends_the_failing_of_an_endpoint() {
    let room = Mailroom::start();
    let fails = Arc::new(AtomicI64::new(1));
    let failing = Arc::clone(&fails);
    let host =
        Host::start(move |_| status(if failing.load(Ordering::SeqCst) == 1 { 500 } else { 204 }, &[], ""))
            .await;
    room.subscribe("moody", host.url("/")).await;

    room.deliver("moody", "d1").await;
    let failing = room.store.endpoint("moody").await.unwrap().unwrap().failing_since;
    fails.store(0, Ordering::SeqCst);
    room.deliver("moody", "d1").await;
    let well = room.store.endpoint("moody").await.unwrap().unwrap().failing_since;

    assert_eq!((failing, well), (Some(DUE), None));
    room.end().await;
}

#[tokio::test]
async fn an_endpoint_that_says_when_is_not_asked_before() {
    let room = Mailroom::start();
    let host = Host::start(|asked| match asked.path.as_str() {
        "/seconds" => status(429, &[("Retry-After", "900")], ""),
        "/date" => status(503, &[("Retry-After", "Tue, 14 Nov 2023 23:13:20 GMT")], ""),
        "/soon" => status(429, &[("Retry-After", "0")], ""),
        _ => status(429, &[("Retry-After", "99999999")], ""),
    })
    .await;
    for (id, least) in [("seconds", 900_000), ("date", 3_600_000), ("soon", 4_000)] {
        room.subscribe(id, host.url(&format!("/{id}"))).await;
        let row = room.deliver(id, id).await;
        assert!(row.not_before.unwrap() >= DUE + least, "{id}: {row:?}");
        assert_eq!(row.ending, None);
    }
    room.subscribe("never", host.url("/never")).await;
    assert_eq!(room.deliver("never", "never").await.ending, Some(RequestEnding::Dead), "beyond its time");
    room.end().await;
}

#[tokio::test]
async fn hosts_that_break_hang_or_are_not_there_are_put_off_and_never_an_outage() {
    let room = Mailroom::patient(Duration::from_millis(300));
    let host = Host::start(|asked| match asked.path.as_str() {
        "/hang" => Script::Hang,
        "/headers" => Script::Endless {
            start: b"HTTP/1.1 200 OK\r\n".to_vec(),
            piece: b"x-more: more and more\r\n".repeat(100),
            pause: Duration::ZERO,
        },
        _ => Script::Say(Vec::new()),
    })
    .await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (id, url) in [
        ("hang", host.url("/hang")),
        ("headers", host.url("/headers")),
        ("nothing", host.url("/nothing")),
        ("closed", format!("http://{closed}/")),
        ("no-tls", host.url("/").replace("http:", "https:")),
        ("no-name", "https://no-such-host.invalid/".to_owned()),
    ] {
        room.subscribe(id, url).await;
        let row = room.deliver(id, id).await;
        assert!(row.not_before.is_some() && row.ending.is_none(), "{id}: {row:?}");
        assert!(row.reply.starts_with(&format!("endpoint {id:?}: ")), "{row:?}");
    }
    assert_eq!(room.letters(), []);
    room.end().await;
}

#[tokio::test]
async fn bodies_that_never_end_or_are_bombs_do_no_harm_to_a_delivery() {
    let room = Mailroom::patient(Duration::from_millis(500));
    let host = Host::start(|asked| {
        let pause = if asked.path == "/drip" { Duration::from_millis(20) } else { Duration::ZERO };
        let start = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 99999999999\r\n\r\n";
        Script::Endless { start: start.to_vec(), piece: vec![0x1f; 512], pause }
    })
    .await;
    for id in ["flood", "drip"] {
        room.subscribe(id, host.url(&format!("/{id}"))).await;
        assert_eq!(room.deliver(id, id).await.ending, Some(RequestEnding::Done), "{id}");
    }
    room.end().await;
}

#[tokio::test]
async fn addresses_inside_and_secrets_that_are_none_are_dead_letters_at_once() {
    let room = Mailroom::start();
    let host = by_path().await;
    for (id, url, detail) in [
        ("metadata", "http://169.254.169.254/latest".to_owned(), "blocked"),
        ("inside", "https://[fd00::1]/".to_owned(), "blocked"),
        ("file", "file:///etc/passwd".to_owned(), "bad_url"),
        ("login", "https://a:b@hooks.example/".to_owned(), "bad_url"),
    ] {
        room.subscribe(id, url).await;
        assert_eq!(room.deliver(id, id).await.ending, Some(RequestEnding::Dead), "{id}");
        let (reason, text) = room.letters().pop().unwrap();
        assert!(reason == "rejected" && text.starts_with(detail), "{id}: {reason} {text}");
    }
    room.subscribe_with("unsigned", host.url("/200"), &[]).await;
    room.subscribe_with("weak", host.url("/200"), &["whsec_c2hvcnQ="]).await;
    for id in ["unsigned", "weak"] {
        assert_eq!(room.deliver(id, id).await.ending, Some(RequestEnding::Dead), "{id}");
        assert!(room.letters().pop().unwrap().1.starts_with("bad_secret"));
    }
    assert!(host.seen().is_empty());
    room.end().await;
}

#[tokio::test]
async fn a_held_delivery_waits_and_one_of_unknown_end_is_sent_again_by_its_id() {
    let room = Mailroom::start();
    let host = by_path().await;
    room.subscribe("shop", host.url("/200")).await;
    room.store.change("held", |row| row.held_until = Some(DUE + 50));
    room.store.change("left", |row| row.held_until = Some(DUE - 1));

    assert_eq!(room.deliver("shop", "left").await.ending, Some(RequestEnding::Done));
    room.publish(&[("shop".to_owned(), "held".to_owned())]);
    room.now.store(DUE + 51, Ordering::SeqCst);
    room.finished().await;

    assert_eq!(room.store.row("held").ending, Some(RequestEnding::Done));
    assert_eq!(host.seen().len(), 2);
    room.end().await;
}

#[tokio::test]
async fn a_delivery_that_the_store_could_not_write_down_is_not_repeated() {
    let room = Mailroom::start();
    let host = by_path().await;
    room.subscribe("shop", host.url("/200")).await;
    *room.store.no_units.lock().unwrap() = 3;

    let row = room.deliver("shop", "d1").await;

    assert_eq!((row.ending, row.attempts), (Some(RequestEnding::Done), 1));
    assert_eq!(*room.store.no_units.lock().unwrap(), 0);
    assert_eq!(host.seen().len(), 1);
    assert_eq!(room.letters(), []);
    room.end().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_an_outage_and_no_delivery_is_lost() {
    let room = Mailroom::start();
    let host = by_path().await;
    room.subscribe("shop", host.url("/200")).await;
    *room.store.away.lock().unwrap() = 3;

    assert_eq!(room.deliver("shop", "d1").await.ending, Some(RequestEnding::Done));

    assert_eq!((host.seen().len(), room.letters().len()), (1, 0));
    room.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_endpoints_the_healthy_ones_do_not_wait_for_those_that_hang() {
    let room = Mailroom::start();
    let host = Host::start(|asked| match asked.path.as_str() {
        "/hang" => Script::Hang,
        _ => status(200, &[], ""),
    })
    .await;
    let hangs = |number: usize| number % 10 < 3;
    let mut requests = Vec::new();
    for number in 0..1_000 {
        let id = format!("endpoint-{number}");
        room.subscribe(&id, host.url(if hangs(number) { "/hang" } else { "/ok" })).await;
        requests.push((id.clone(), format!("delivery-{id}")));
    }
    let healthy: Vec<_> = requests
        .iter()
        .enumerate()
        .filter(|(number, _)| !hangs(*number))
        .map(|(_, one)| one.clone())
        .collect();

    let began = Instant::now();
    let clean: Vec<_> =
        healthy.iter().map(|(endpoint, id)| (endpoint.clone(), format!("clean-{id}"))).collect();
    room.publish(&clean);
    let done = |rows: &BTreeMap<String, Row>| {
        rows.values().filter(|row| row.ending == Some(RequestEnding::Done)).count()
    };
    room.store.until(|rows| done(rows) == 700).await;
    let alone = began.elapsed();
    let began = Instant::now();
    room.publish(&requests);
    room.store.until(|rows| done(rows) == 1_400).await;
    println!("700 deliveries alone: {alone:?}; among 300 endpoints that hang: {:?}", began.elapsed());

    let hanging = room.store.rows.borrow().values().filter(|row| row.held_until.is_some()).count();
    assert_eq!(hanging, 300, "every one that hangs was still under way when the last healthy one was done");
    assert_eq!(room.letters(), []);
    drop(host);
    room.store.until(|rows| rows.values().all(|row| row.held_until.is_none())).await;
    room.end().await;
}
