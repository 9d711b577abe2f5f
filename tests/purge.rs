//! What the effect `purge` asks of a cache, and what it makes of the answers.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use postroom::Group;
use postroom::adapters::cache::{HttpCache, RedisCache};
use postroom::config::{self, Config, Sources, load};
use postroom::core::Reason;
use postroom::effects::Purge;
use postroom::event::{
    CommentCreated, CommentRemoved, PostPublished, PostRemoved, PostUpdated, UserRegistered, UserUpdated,
};
use postroom::ports::{Cache, CacheError, CacheFuture, Stale};
use postroom::testkit::TestBench;

/// Notes what it is asked for; away for the first so many calls.
#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<Stale>>,
    away: Mutex<u32>,
}

impl Cache for Recorder {
    fn purge<'a>(&'a self, stale: &'a Stale) -> CacheFuture<'a> {
        Box::pin(async move {
            let mut away = self.away.lock().unwrap();
            if *away > 0 {
                *away -= 1;
                return Err(CacheError::Away("not now".to_owned()));
            }
            if let Some(key) = stale.urls.iter().find(|url| url.contains("refused")) {
                return Err(CacheError::Refused { key: key.clone(), why: "414".to_owned() });
            }
            self.calls.lock().unwrap().push(stale.clone());
            Ok(())
        })
    }
}

fn config(settings: &[(&str, &str)]) -> Config {
    let environment =
        settings.iter().map(|(key, value)| (format!("POSTROOM_PURGE__{key}"), (*value).to_owned())).collect();
    load(&Sources { environment, ..Sources::default() }).unwrap_or_else(|error| panic!("{error}")).config
}

const URLS: &str = "http://cache/{+slug}, http://cache/id?post={post_id}, http://cache/feed";
const KEYS: (&str, &str) = ("SURROGATE_KEYS", "post-{post_id},section-{section},tag-{tag},author-{author}");
const AT: (&str, &str) = ("SURROGATE_URL", "http://cache/");
const REDIS: (&str, &str) = ("REDIS", "redis://cache/2");

fn bench(config: &Config) -> (TestBench, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let cache: Arc<dyn Cache> = recorder.clone();
    let purge = Purge::new(&config.purge, vec![cache]);
    (TestBench::new(Group::batches("purge", purge)), recorder)
}

fn post(id: &str, slug: &str) -> PostPublished {
    PostPublished {
        event_id: format!("published-{id}"),
        post_id: id.to_owned(),
        slug: slug.to_owned(),
        author: "ada".to_owned(),
        section: Some("news".to_owned()),
        tags: vec!["rust".to_owned(), "kafka".to_owned()],
        ..PostPublished::default()
    }
}

fn comment(post: &str, id: &str) -> CommentCreated {
    CommentCreated {
        event_id: format!("created-{id}"),
        post_id: post.to_owned(),
        comment_id: id.to_owned(),
        author: "ben".to_owned(),
        ..CommentCreated::default()
    }
}

#[test]
fn an_event_purges_what_its_values_name_and_leaves_out_what_it_lacks() {
    let (bench, cache) =
        bench(&config(&[("URLS", URLS), KEYS, AT, REDIS, ("REDIS_KEYS", ":1:post:{post_id}")]));

    let report = bench.given(&post("p/1 &", "news/hello")).run();

    assert!(report.dead_letters().len() == 1, "a key cannot hold the space: {:?}", report.dead_letters());
    let stale = cache.calls.lock().unwrap().remove(0);
    assert_eq!(
        stale.urls,
        ["http://cache/feed", "http://cache/id?post=p%2F1%20%26", "http://cache/news/hello"]
    );
    assert_eq!(stale.surrogate_keys, ["author-ada", "section-news", "tag-kafka", "tag-rust"]);
    assert_eq!(stale.entries, [""; 0]);
}

#[test]
fn a_batch_purges_each_thing_once() {
    let (mut bench, cache) =
        bench(&config(&[("URLS", URLS), KEYS, AT, REDIS, ("REDIS_KEYS", "post:{post_id}")]));
    for number in 0..50 {
        bench = bench.given(&comment("p1", &number.to_string()));
    }
    let removed = CommentRemoved {
        event_id: "e1".to_owned(),
        post_id: "p1".to_owned(),
        comment_id: "1".to_owned(),
        ..CommentRemoved::default()
    };

    let report = bench.given(&removed).run();

    assert_eq!((report.committed(), report.dead_letters().len()), (51, 0));
    let calls = cache.calls.lock().unwrap();
    let [stale] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(stale.urls, ["http://cache/feed", "http://cache/id?post=p1"]);
    assert_eq!(stale.surrogate_keys, ["author-ben", "post-p1"]);
    assert_eq!(stale.entries, ["post:p1"]);
}

#[test]
fn updates_and_removals_of_posts_and_people_purge_too() {
    let (bench, cache) = bench(&config(&[("URLS", "http://cache/{slug}"), KEYS, AT]));
    let updated = PostUpdated {
        event_id: "e2".to_owned(),
        post_id: "p1".to_owned(),
        slug: Some("new name".to_owned()),
        ..PostUpdated::default()
    };
    let removed =
        PostRemoved { event_id: "e3".to_owned(), post_id: "p2".to_owned(), ..PostRemoved::default() };
    let renamed =
        UserUpdated { event_id: "e4".to_owned(), user_id: "ada".to_owned(), ..UserUpdated::default() };

    bench.given(&updated).given(&removed).given(&renamed).run();

    let calls = cache.calls.lock().unwrap();
    let urls: Vec<_> = calls.iter().flat_map(|stale| &stale.urls).collect();
    let keys: Vec<_> = calls.iter().flat_map(|stale| &stale.surrogate_keys).collect();
    assert_eq!(urls, ["http://cache/new%20name"]);
    assert_eq!(keys, ["post-p1", "post-p2", "author-ada"]);
}

#[test]
fn no_value_leaves_its_segment_of_the_path_or_its_parameter() {
    let (bench, cache) = bench(&config(&[("URLS", "http://cache/a/{slug}/b?q={slug}")]));
    let report = ["x/../y?z#f", "ä;=@", "%2e%2e", "a\\b", "q&p=1+1"]
        .iter()
        .enumerate()
        .fold(bench, |bench, (number, slug)| bench.given(&post(&number.to_string(), slug)))
        .run();

    assert_eq!(report.dead_letters(), []);
    assert_eq!(
        cache.calls.lock().unwrap().concat_urls(),
        [
            "http://cache/a/%252e%252e/b?q=%252e%252e",
            "http://cache/a/%C3%A4;=@/b?q=%C3%A4%3B%3D%40",
            "http://cache/a/a%5Cb/b?q=a%5Cb",
            "http://cache/a/q&p=1+1/b?q=q%26p%3D1%2B1",
            "http://cache/a/x%2F..%2Fy%3Fz%23f/b?q=x%2F..%2Fy%3Fz%23f",
        ]
    );
}

trait Urls {
    fn concat_urls(&self) -> Vec<String>;
}

impl Urls for Vec<Stale> {
    fn concat_urls(&self) -> Vec<String> {
        self.iter().flat_map(|stale| stale.urls.clone()).collect()
    }
}

#[test]
fn a_key_that_could_stand_for_others_is_refused_and_the_good_ones_beside_it_are_purged() {
    for slug in ["*", "a*b", "..", ".", "line\nend", "x".repeat(3_000).as_str()] {
        let (bench, cache) =
            bench(&config(&[("URLS", "http://cache/p/{slug},http://cache/by-id/{post_id}")]));

        let report =
            bench.given(&post("p1", "fine")).given(&post("p2", slug)).given(&post("p3", "fine too")).run();

        let [(reason, message)] = report.dead_letters() else {
            panic!("{slug:?}: {:?}", report.dead_letters())
        };
        assert_eq!((*reason, report.committed()), (Reason::Invalid, 3), "{message}");
        let calls = cache.calls.lock().unwrap().concat_urls();
        let fine = ["by-id/p1", "p/fine", "by-id/p2", "by-id/p3", "p/fine%20too"];
        assert!(fine.iter().all(|url| calls.contains(&format!("http://cache/{url}"))), "{calls:?}");
        assert_eq!(calls.len(), fine.len(), "{calls:?}");
    }
}

#[test]
fn a_key_with_white_space_is_refused() {
    for id in ["a b", "a\u{a0}b", "a\tb", "*"] {
        let (bench, cache) = bench(&config(&[REDIS, ("REDIS_KEYS", "post:{post_id}")]));

        let report = bench.given(&comment(id, "1")).run();

        assert_eq!(report.dead_letters().len(), 1, "{id:?}");
        assert!(cache.calls.lock().unwrap().iter().all(|stale| stale.entries.is_empty()));
    }
}

#[test]
fn a_cache_that_is_away_costs_no_attempt_and_the_purge_comes_after() {
    let (bench, cache) = bench(&config(&[("URLS", URLS)]));
    *cache.away.lock().unwrap() = 100;

    let report = bench.given(&comment("p1", "1")).given(&comment("p2", "2")).run();

    assert_eq!((report.committed(), report.dead_letters().len(), report.retries()), (2, 0, 0));
    assert_eq!(cache.calls.lock().unwrap().concat_urls().len(), 3);
}

#[test]
fn what_the_cache_refuses_is_one_dead_letter_and_the_rest_is_purged() {
    let (bench, cache) = bench(&config(&[("URLS", "http://cache/{post_id}")]));

    let report =
        ["a", "b", "refused", "c"].iter().fold(bench, |bench, id| bench.given(&comment(id, id))).run();

    assert_eq!(
        report.dead_letters().iter().map(|(reason, _)| *reason).collect::<Vec<_>>(),
        [Reason::Rejected]
    );
    let mut urls = cache.calls.lock().unwrap().concat_urls();
    urls.sort();
    assert_eq!(urls, ["http://cache/a", "http://cache/b", "http://cache/c"]);
}

#[test]
fn registrations_make_nothing_stale() {
    assert!(Purge::TYPES.iter().all(|kind| kind.name != "user.registered" && kind.name != "image.uploaded"));
    let (bench, cache) = bench(&config(&[("URLS", "http://cache/u/{author}")]));

    bench
        .given(&UserRegistered {
            event_id: "e5".to_owned(),
            user_id: "ada".to_owned(),
            ..UserRegistered::default()
        })
        .run();

    assert_eq!(cache.calls.lock().unwrap().concat_urls(), [""; 0]);
}

/// What arrived at a server: method, path, host, keys.
type Seen = Arc<Mutex<Vec<(String, String, String, String)>>>;

/// A cache that answers with the status that the path names.
async fn server() -> (String, Seen) {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| async move {
        let header = |name: &str| {
            request.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let path = request.uri().path().to_owned();
        let status = path.trim_start_matches('/').parse().unwrap_or(200);
        noted.lock().unwrap().push((
            request.method().to_string(),
            path,
            header("host"),
            header("xkey-purge"),
        ));
        let location = [("location", "/200")];
        (axum::http::StatusCode::from_u16(status).unwrap(), location, "an answer".repeat(10_000))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, seen)
}

fn http(settings: &[(&str, &str)]) -> HttpCache {
    HttpCache::new(&config(settings).purge)
}

fn urls(urls: &[String]) -> Stale {
    Stale { urls: urls.to_vec(), ..Stale::default() }
}

#[tokio::test]
async fn what_a_cache_answers_decides_whether_it_is_away_or_the_key_is_bad() {
    let (address, seen) = server().await;
    let cache = http(&[("URLS", "http://unused/")]);
    for fine in [200, 204, 404, 410] {
        assert_eq!(cache.purge(&urls(&[format!("http://{address}/{fine}")])).await, Ok(()), "{fine}");
    }
    for (status, word) in [
        (405, "not set up"),
        (501, "not set up"),
        (403, "does not let"),
        (301, "301"),
        (429, "429"),
        (503, "503"),
    ] {
        let answer = cache.purge(&urls(&[format!("http://{address}/{status}")])).await;
        let Err(CacheError::Away(why)) = answer else { panic!("{status}: {answer:?}") };
        assert!(why.contains(word), "{why}");
    }
    for status in [400, 414, 431] {
        let answer = cache.purge(&urls(&[format!("http://{address}/{status}")])).await;
        assert!(matches!(answer, Err(CacheError::Refused { .. })), "{status}: {answer:?}");
    }
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(method, ..)| method == "PURGE"), "{seen:?}");
    assert_eq!(seen.iter().filter(|(_, path, ..)| path == "/200").count(), 1, "a redirect is not followed");
}

#[tokio::test]
async fn keys_travel_together_under_the_name_of_the_site() {
    let (address, seen) = server().await;
    let at = format!("http://{address}/purge");
    let keys = ("SURROGATE_KEYS", "k");
    let header = ("SURROGATE_HEADER", "xkey-purge");
    let cache = http(&[("SURROGATE_URL", at.as_str()), keys, header, ("HOST", "Blog.example.org")]);
    let surrogate_keys: Vec<String> = (0..1_000).map(|number| format!("post-{number}")).collect();

    cache.purge(&Stale { surrogate_keys: surrogate_keys.clone(), ..Stale::default() }).await.unwrap();

    let seen = seen.lock().unwrap();
    let mut arrived: Vec<_> = seen.iter().flat_map(|(.., keys)| keys.split(' ')).map(str::to_owned).collect();
    arrived.sort_by_key(|key| (key.len(), key.clone()));
    assert_eq!(arrived, surrogate_keys);
    assert!(seen.len() == 3, "few requests, each with a header that servers take: {}", seen.len());
    assert!(
        seen.iter().all(|(_, path, host, keys)| path == "/purge"
            && host == "blog.example.org"
            && keys.len() <= 4_096)
    );
}

#[tokio::test]
async fn a_cache_that_refuses_connections_or_never_answers_is_away() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let cache = http(&[("URLS", "http://unused/"), ("TIMEOUT", "200ms")]);
    for address in [silent.local_addr().unwrap(), gone] {
        let answer = cache.purge(&urls(&[format!("http://{address}/")])).await;
        assert!(matches!(answer, Err(CacheError::Away(_))), "{answer:?}");

        let settings = config(&[("REDIS", &format!("redis://{address}")), ("REDIS_KEYS", "k")]).purge;
        let redis = RedisCache::new(settings.redis.as_ref().unwrap(), None, Duration::from_millis(200));
        let answer = redis.purge(&Stale { entries: vec!["k".to_owned()], ..Stale::default() }).await;
        let Err(CacheError::Away(why)) = answer else { panic!("{answer:?}") };
        assert!(why.contains(&address.to_string()), "{why}");
    }
}

fn refusal(settings: &[(&str, &str)]) -> String {
    let environment =
        settings.iter().map(|(key, value)| (format!("POSTROOM_PURGE__{key}"), (*value).to_owned())).collect();
    load(&Sources { environment, ..Sources::default() }).unwrap_err().to_string()
}

#[test]
fn settings_that_could_purge_elsewhere_or_nothing_are_refused_with_a_reason() {
    for (settings, word) in [
        (&[("URLS", "http://{slug}/x")][..], "server"),
        (&[("URLS", "http://cache{slug}/x")], "server"),
        (&[("URLS", "ftp://cache/{slug}")], "neither http nor https"),
        (&[("URLS", "http://me:pw@cache/{slug}")], "credentials"),
        (&[("URLS", "http://cache/{slg}")], "{post_id}"),
        (&[("URLS", "http://cache/{slug")], "not closed"),
        (&[AT, ("SURROGATE_KEYS", "a b")], "separates"),
        (&[AT], "purge.surrogate_keys"),
        (&[("REDIS_KEYS", "k")], "purge.redis is not"),
        (&[("REDIS", "redis://:pw@cache"), ("REDIS_KEYS", "k")], "redis_password_file"),
        (&[("REDIS", "rediss://cache"), ("REDIS_KEYS", "k")], "is not the address of a Redis"),
        (&[("REDIS_PASSWORD", "hunter2")], "purge.redis is not"),
        (&[("URLS", "http://cache/"), ("TIMEOUT", "20s")], "effects.purge.deadline"),
        (&[AT, KEYS, ("SURROGATE_HEADER", "x key")], "header's name"),
    ] {
        let said = refusal(settings);
        assert!(
            said.contains(word) && !said.contains("hunter2") && !said.contains("pw@"),
            "{settings:?}: {said}"
        );
    }
}

#[test]
fn lists_are_read_from_the_file_and_shown_as_they_would_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postroom.toml");
    std::fs::write(&file, "[purge]\nurls = [\n  \"http://cache/a,b/{slug}\",\n  \"http://cache/\",\n]\n")
        .unwrap();

    let loaded = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();

    assert_eq!(loaded.config.purge.urls.0.len(), 2);
    let shown = loaded.settings.iter().find(|setting| setting.path == "purge.urls").unwrap();
    assert_eq!(shown.value, "[\"http://cache/a,b/{slug}\", \"http://cache/\"]");
    let lines = config(&[("URLS", "\nhttp://cache/a,b/{slug}\nhttp://cache/\n")]).purge.urls;
    assert_eq!(lines, loaded.config.purge.urls);
    assert!(!config::Purge::default().is_set_up());
}
