//! Real caches: Varnish, with its keys, before a small site, and Redis. Events make pages and values fresh; while a cache is away
//! nothing is lost and nothing is dead-lettered. Runs where `POSTROOM_TEST_CACHES` is set: it needs `varnishd` with
//! varnish-modules, and `redis-server`.
#![expect(clippy::disallowed_methods, clippy::print_stderr, clippy::unwrap_used, reason = "tests")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use postroom::Group;
use postroom::adapters::cache::{HttpCache, RedisCache};
use postroom::codec::{Codec, Framing, Limits};
use postroom::config::{Config, Secret, Sources, load};
use postroom::effects::Purge;
use postroom::event::{CommentCreated, EventRecord, PostPublished, PostRemoved};
use postroom::kafka::Embedded;
use postroom::ports::{Cache, CacheError, Stale};
use postroom::runtime::{Broker, Ending, Service};
use postroom::telemetry::{Board, BuildInfo, Metrics};
use rustix::process::{Pid, Signal, kill_process_group};

/// A program in a process group of its own.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Self {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.process_group(0).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process_group(group, signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Asked politely, Varnish ends its own child.
        for signal in [Signal::CONT, Signal::TERM] {
            self.signal(signal);
        }
        for _ in 0..500 {
            if self.0.try_wait().unwrap().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(Signal::KILL);
        self.0.wait().unwrap();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(40), "{what} in 40 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A site whose pages say which version they show. The page of a post carries the post's key.
async fn site(version: Arc<AtomicU32>) -> u16 {
    let app = axum::Router::new().fallback(move |uri: axum::http::Uri| async move {
        let post = uri.path().rsplit('/').next().unwrap_or_default();
        ([("xkey", format!("post-{post}"))], format!("version {}", version.load(Ordering::SeqCst)))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

const VCL: &str = r#"
vcl 4.1;
import xkey;

backend site { .host = "127.0.0.1"; .port = "SITE"; }
acl purgers { "127.0.0.1"; }

sub vcl_recv {
    if (req.method == "PURGE") {
        if (client.ip !~ purgers) { return (synth(403)); }
        if (req.http.xkey-purge) {
            set req.http.purged = xkey.purge(req.http.xkey-purge);
            return (synth(200, "Purged " + req.http.purged));
        }
        return (purge);
    }
}

sub vcl_backend_response { set beresp.ttl = 1h; }
"#;

async fn varnish(folder: &Path, site: u16) -> (Program, u16) {
    let script = folder.join("site.vcl");
    std::fs::write(&script, VCL.replace("SITE", &site.to_string())).unwrap();
    let port = free_port();
    let program = Program::start(
        Command::new("varnishd")
            .args(["-F", "-j", "none", "-s", "malloc,16m", "-a", &format!("127.0.0.1:{port}"), "-n"])
            .arg(folder.join("varnish"))
            .arg("-f")
            .arg(&script),
    );
    until("Varnish answers", async || get(port, "/ready").await.is_some()).await;
    (program, port)
}

async fn redis(folder: &Path, port: u16, more: &[&str]) -> Program {
    let program = Program::start(
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always"])
            .args(more)
            .current_dir(folder),
    );
    until("Redis answers", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    program
}

async fn get(port: u16, path: &str) -> Option<String> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("http://127.0.0.1:{port}{path}")).header("host", "blog.example.org");
    request.send().await.ok()?.text().await.ok()
}

struct Values(u16);

impl Values {
    async fn ask<V: redis::FromRedisValue>(&self, command: &[&str]) -> V {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.0)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let (name, arguments) = command.split_first().unwrap();
        redis::cmd(name).arg(arguments).query_async(&mut connection).await.unwrap()
    }

    async fn put(&self, key: &str) {
        self.ask::<()>(&["SET", key, "cached"]).await;
    }

    async fn has(&self, key: &str) -> bool {
        self.ask(&["EXISTS", key]).await
    }
}

fn config(settings: &[(&str, String)]) -> Config {
    let environment =
        settings.iter().map(|(key, value)| (format!("POSTROOM_{key}"), value.clone())).collect();
    let effects = vec!["purge".to_owned()];
    load(&Sources { environment, effects, ..Sources::default() }).unwrap().config
}

/// The group on the embedded broker.
struct Running {
    service: Service,
    codec: Codec,
    _broker: Embedded,
}

impl Running {
    async fn start(folder: &Path, varnish: u16, redis: u16) -> Self {
        let broker = Embedded::start().unwrap();
        broker.create_topic("retry.postroom.purge", 1).unwrap();
        for topic in ["blog.posts", "blog.comments", "blog.users", "blog.media"] {
            broker.create_topic(topic, 2).unwrap();
            broker.create_topic(&format!("dlq.postroom.purge.{topic}"), 1).unwrap();
        }
        let config = config(&[
            ("KAFKA__BROKERS", broker.address().to_owned()),
            ("STORE__URL", format!("sqlite:{}", folder.join("postroom.db").display())),
            ("EFFECTS__PURGE__BACKOFF__CAP", "500ms".to_owned()),
            ("PURGE__URLS", format!("http://127.0.0.1:{varnish}/posts/{{slug}}")),
            ("PURGE__HOST", "blog.example.org".to_owned()),
            ("PURGE__SURROGATE_URL", format!("http://127.0.0.1:{varnish}/")),
            ("PURGE__SURROGATE_HEADER", "xkey-purge".to_owned()),
            ("PURGE__SURROGATE_KEYS", "post-{post_id}".to_owned()),
            ("PURGE__REDIS", format!("redis://127.0.0.1:{redis}/0")),
            ("PURGE__REDIS_KEYS", ":1:post:{post_id}".to_owned()),
            ("PURGE__TIMEOUT", "1s".to_owned()),
        ]);
        let settings = &config.purge;
        let values = RedisCache::new(settings.redis.as_ref().unwrap(), None, settings.timeout);
        let caches: Vec<Arc<dyn Cache>> = vec![Arc::new(values), Arc::new(HttpCache::new(settings))];
        let group = Group::batches("purge", Purge::new(settings, caches))
            .backoff(Duration::from_millis(50), Duration::from_millis(500))
            .depends_on("cache");
        let word = || "test".to_owned();
        let build = BuildInfo { version: word(), revision: word(), rustc: word(), librdkafka: word() };
        let metrics = Metrics::new(&build, Arc::new(Board::new("test"))).unwrap();
        let service = Service::start(&config, vec![group], metrics, Broker::Embedded).await.unwrap();
        Self { service, codec: Codec::new(Limits::default()), _broker: broker }
    }

    async fn publish<E: EventRecord + serde::Serialize>(&self, event: &E) {
        let outgoing = self.codec.encode(event, Framing::ConfluentV0).unwrap();
        self.service.producer().publish_event(&outgoing).await.unwrap();
    }

    async fn until_it_waits_for_the_cache(&self, waits: bool) {
        until("the outage is told, or its end", async || {
            let groups = self.service.status().groups;
            waits == groups.iter().any(|group| group.waiting_on.contains(&"cache".to_owned()))
        })
        .await;
    }
}

fn post(id: &str) -> PostPublished {
    PostPublished {
        event_id: format!("published-{id}"),
        post_id: id.to_owned(),
        slug: format!("slug-{id}"),
        author: "ada".to_owned(),
        occurred_at: 1_000,
        ..PostPublished::default()
    }
}

fn comment(post: &str, id: &str) -> CommentCreated {
    CommentCreated {
        event_id: format!("created-{id}"),
        post_id: post.to_owned(),
        comment_id: id.to_owned(),
        author: "ben".to_owned(),
        occurred_at: 2_000,
        ..CommentCreated::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_values_are_fresh_after_events_and_an_outage_loses_none() {
    if std::env::var_os("POSTROOM_TEST_CACHES").is_none() {
        eprintln!("SKIPPED: POSTROOM_TEST_CACHES is not set");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let version = Arc::new(AtomicU32::new(1));
    let site = site(Arc::clone(&version)).await;
    let (varnish, pages) = varnish(folder.path(), site).await;
    let redis_port = free_port();
    let store = redis(folder.path(), redis_port, &[]).await;
    let values = Values(redis_port);
    let shows = async |path: &str, version: u32| get(pages, path).await == Some(format!("version {version}"));
    let all = ["/posts/slug-p1", "/tagged/p1", "/posts/slug-p2", "/tagged/p2", "/tagged/p3"];
    for path in all {
        assert!(shows(path, 1).await, "{path}");
    }
    for key in [":1:post:p1", ":1:post:p2", ":1:post:p3"] {
        values.put(key).await;
    }
    version.store(2, Ordering::SeqCst);
    assert!(shows("/posts/slug-p1", 1).await, "Varnish keeps the page");
    let mut running = Running::start(folder.path(), pages, redis_port).await;

    running.publish(&post("p1")).await;
    until("the post's page is fresh", async || shows("/posts/slug-p1", 2).await).await;
    until("what is tagged with the post is fresh", async || shows("/tagged/p1", 2).await).await;
    assert!(!values.has(":1:post:p1").await);
    for path in ["/posts/slug-p2", "/tagged/p2", "/tagged/p3"] {
        assert!(shows(path, 1).await, "{path} was purged without a reason");
    }
    assert!(values.has(":1:post:p2").await);

    drop(store);
    running.publish(&comment("p2", "c1")).await;
    running.until_it_waits_for_the_cache(true).await;
    assert!(shows("/tagged/p2", 1).await, "the page would be made anew from the old value");
    let store = redis(folder.path(), redis_port, &[]).await;
    until("the value is gone", async || !values.has(":1:post:p2").await).await;
    until("the page is fresh", async || shows("/tagged/p2", 2).await).await;
    assert!(shows("/posts/slug-p2", 1).await, "a comment does not know its post's slug");

    running.until_it_waits_for_the_cache(false).await;
    varnish.signal(Signal::STOP);
    let removed =
        PostRemoved { event_id: "r3".to_owned(), post_id: "p3".to_owned(), ..PostRemoved::default() };
    running.publish(&removed).await;
    running.until_it_waits_for_the_cache(true).await;
    assert!(!values.has(":1:post:p3").await, "values go first");
    varnish.signal(Signal::CONT);
    until("the removed post's page is fresh", async || shows("/tagged/p3", 2).await).await;

    until("all is done", async || running.service.status().totals.by_outcome.values().sum::<u64>() == 3)
        .await;
    let totals = running.service.status().totals;
    assert_eq!(totals.by_outcome.get("ok"), Some(&3), "{totals:#?}");
    running.service.drain(Duration::from_secs(10));
    let endings = running.service.ended(Duration::from_secs(10)).await;
    assert_eq!(endings, [("postroom.purge".to_owned(), Ending::Drained)]);
    drop((varnish, store));
}

#[tokio::test]
async fn redis_lets_in_whoever_has_the_password() {
    if std::env::var_os("POSTROOM_TEST_CACHES").is_none() {
        eprintln!("SKIPPED: POSTROOM_TEST_CACHES is not set");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _store = redis(folder.path(), port, &["--requirepass", "open sesame"]).await;
    let settings = config(&[
        ("PURGE__REDIS", format!("redis://127.0.0.1:{port}/3")),
        ("PURGE__REDIS_KEYS", "post:{post_id}".to_owned()),
    ])
    .purge;
    let cache = |password: Option<&str>| {
        let password = password.map(Secret::new);
        RedisCache::new(settings.redis.as_ref().unwrap(), password.as_ref(), settings.timeout)
    };
    let stale =
        Stale { entries: (0..1_200).map(|number| format!("post:{number}")).collect(), ..Stale::default() };

    assert_eq!(cache(Some("open sesame")).purge(&stale).await, Ok(()));
    for wrong in [None, Some("sesame")] {
        let answer = cache(wrong).purge(&stale).await;
        assert!(matches!(answer, Err(CacheError::Away(_))), "{answer:?}");
        assert!(!format!("{answer:?}").contains("sesame"), "{answer:?}");
    }
}
