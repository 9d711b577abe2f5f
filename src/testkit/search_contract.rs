//! What every store must find, as one suite: each engine runs it against itself.
#![expect(clippy::expect_used, reason = "a contract speaks by panicking")]

use postroom_core::{Offset, Partition, Topic, TopicPartition};

use crate::event::EventId;
use crate::ports::{
    Applied, Arrival, Change, DocumentBody, DocumentChange, DocumentContent, DocumentFact, DocumentKind,
    Guard, Origin, Search, SearchPage, SearchRequest, Store, Unit,
};
use crate::testkit::store_contract::Bench;

/// Runs all checks.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn everything<B: Bench<Store: Search>>(bench: &B) {
    words_are_found_whatever_their_case_and_accents(bench).await;
    languages_without_spaces_are_found_by_words_of_two_characters(bench).await;
    requests_narrow_what_is_found(bench).await;
    what_is_found_follows_the_life_of_a_document(bench).await;
    late_writers_never_overwrite_what_is_newer(bench).await;
    comments_are_hidden_while_their_post_is_removed(bench).await;
    titles_weigh_more_than_tags_and_tags_more_than_text(bench).await;
    pages_are_stable_and_apart(bench).await;
    any_text_is_a_request_and_a_document(bench).await;
}

/// # Panics
/// Where the store breaks its contract.
pub async fn words_are_found_whatever_their_case_and_accents<B: Bench<Store: Search>>(bench: &B) {
    let mut told = Told::new(bench, "accents").await;
    told.post("p", 1, "Crème Brûlée", "Der große ÖLTANKER liegt im Hafen; ΌΔΟΣ, Ёлка.").await;

    for text in [
        "creme",
        "CRÈME",
        "brulee",
        "grosse",
        "große",
        "oltanker",
        "Öltanker",
        "hafen",
        "οδος",
        "елка",
        "öl*",
        "\"grosse öltanker\"",
        "\"im ha\"*",
        "crème hafen",
    ] {
        assert_eq!(told.found(text).await, ["p"], "{text}");
    }
    for text in ["ol", "afen", "creme hafe", "\"öltanker grosse\"", "hafen -creme", "\"brulee der\""] {
        assert_eq!(told.found(text).await, [""; 0], "{text}");
    }
}

/// # Panics
/// Where the store breaks its contract.
pub async fn languages_without_spaces_are_found_by_words_of_two_characters<B: Bench<Store: Search>>(
    bench: &B,
) {
    let mut told = Told::new(bench, "dense").await;
    told.post("zh", 1, "", "我在北京大学学习中文。").await;
    told.post("ja", 2, "", "私は東京都に住んでいます。カタカナ。").await;
    told.post("ko", 3, "", "서울에서 친구를 만났습니다").await;
    told.post("th", 4, "", "ฉันรักภาษาไทย").await;

    for (text, expected) in [
        ("北京", "zh"),
        ("大学", "zh"),
        ("北京大学", "zh"),
        ("中文", "zh"),
        ("文", "zh"),
        ("東京", "ja"),
        ("京都", "ja"),
        ("東京都", "ja"),
        ("ｶﾀｶﾅ", "ja"),
        ("서울", "ko"),
        ("친구", "ko"),
        ("\"서울에서 친구를\"", "ko"),
        ("ภาษา", "th"),
    ] {
        assert_eq!(told.found(text).await, [expected], "{text}");
    }
    for text in ["京北", "大中", "東都", "서구", "北京中文"] {
        assert_eq!(told.found(text).await, [""; 0], "{text}");
    }
}

/// # Panics
/// Where the store breaks its contract.
pub async fn requests_narrow_what_is_found<B: Bench<Store: Search>>(bench: &B) {
    let mut told = Told::new(bench, "narrow").await;
    told.tagged("p1", DAY, "Low tide", "harbour ferry", &["Boats", "slow travel"]).await;
    told.tagged("p2", 2 * DAY, "High tide", "harbour", &["Café"]).await;
    told.comment("c1", "p1", 3 * DAY, "harbour, too").await;

    let cases: [(&str, &[&str]); 18] = [
        ("harbour", &["c1", "p1", "p2"]),
        ("harbour -ferry", &["c1", "p2"]),
        ("-ferry", &["c1", "p2"]),
        ("-ferry -tide", &["c1"]),
        ("tag:boats", &["p1"]),
        ("tag:\"Slow Travel\"", &["p1"]),
        ("tag:cafe harbour", &["p2"]),
        ("tag:boats tag:cafe", &[]),
        ("\"boats slow\"", &[]),
        ("slow boats", &["p1"]),
        ("type:comment", &["c1"]),
        ("type:post harbour", &["p1", "p2"]),
        ("harbour after:1970-01-03", &["c1", "p2"]),
        ("before:1970-01-03", &["p1"]),
        ("after:1970-01-03 before:1970-01-04", &["p2"]),
        ("harbour author:nobody", &[]),
        ("after:soon", &[]),
        ("", &["c1", "p1", "p2"]),
    ];
    for (text, expected) in cases {
        let mut found = told.found(text).await;
        found.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
    assert_eq!(
        told.store.search(&SearchRequest::default()).await.expect("a page").total,
        0,
        "nothing is asked for"
    );
}

/// # Panics
/// Where the store breaks its contract.
pub async fn what_is_found_follows_the_life_of_a_document<B: Bench<Store: Search>>(bench: &B) {
    let mut told = Told::new(bench, "life").await;
    told.post("p", 10, "first", "one two").await;

    told.tell("p", 20, Updated(content(Some("second"), None))).await;
    assert_eq!(told.each(&["first", "second", "two"]).await, [0, 1, 1], "an update without a text keeps it");
    told.tell("p", 5, Updated(content(None, Some("three")))).await;
    assert_eq!(told.each(&["two", "three", "second"]).await, [0, 1, 1], "offsets decide, not times");
    told.tell("p", 30, Removed).await;
    assert_eq!(told.each(&["three", "second"]).await, [0, 0]);
    told.tell("p", 40, Updated(content(None, Some("four")))).await;
    assert_eq!(told.each(&["four"]).await, [0], "an update does not revive");
    told.post("p", 15, "again", "five").await;
    assert_eq!(told.each(&["three", "second", "four", "again five"]).await, [0, 0, 0, 1]);

    told.tell("q", 20, Updated(content(Some("held"), None))).await;
    assert_eq!(told.each(&["held"]).await, [0], "it is not created yet");
    told.post("q", 10, "older", "filled").await;
    assert_eq!(told.each(&["held filled", "older"]).await, [1, 0]);
}

/// # Panics
/// Where the store breaks its contract.
pub async fn late_writers_never_overwrite_what_is_newer<B: Bench<Store: Search>>(bench: &B) {
    let mut told = Told::new(bench, "late").await;
    told.post("p", 10, "", "newest").await;
    told.tell("p", 20, Updated(content(None, Some("newer")))).await;

    told.arrival = Arrival::OutOfOrder;
    told.tell("p", 15, Updated(content(None, Some("stale")))).await;
    told.tell("p", 9, created(content(None, Some("stale")))).await;
    told.tell("p", 9, Removed).await;
    assert_eq!(told.each(&["stale", "newer"]).await, [0, 1]);
    told.tell("p", 30, Removed).await;
    told.tell("p", 29, created(content(None, Some("stale")))).await;
    assert_eq!(told.each(&["stale", "newer"]).await, [0, 0]);
}

/// # Panics
/// Where the store breaks its contract.
pub async fn comments_are_hidden_while_their_post_is_removed<B: Bench<Store: Search>>(bench: &B) {
    let mut told = Told::new(bench, "hidden").await;
    told.comment("c", "p", 5, "orphan").await;
    assert_eq!(told.found("orphan").await, ["c"], "its post has not come");
    told.post("p", 1, "Parent", "").await;
    let hit = told.page("orphan", 0, 1).await.hits.pop().expect("a hit");
    assert_eq!((hit.post.as_str(), hit.post_title.as_deref()), ("hidden-p", Some("Parent")));
    told.tell("p", 9, Removed).await;
    assert_eq!(told.page("orphan", 0, 1).await.total, 0);
    told.post("p", 10, "Parent", "").await;
    assert_eq!(told.found("orphan").await, ["c"]);
}

/// # Panics
/// Where the store breaks its contract.
pub async fn titles_weigh_more_than_tags_and_tags_more_than_text<B: Bench<Store: Search>>(bench: &B) {
    let mut told = Told::new(bench, "weights").await;
    told.tagged("text", 4, "some title", "barnacle or other", &["tag"]).await;
    told.tagged("tag", 3, "some title", "words or other", &["barnacle"]).await;
    told.tagged("title", 2, "some barnacle", "words or other", &["tag"]).await;
    told.tagged("often", 1, "some title", "barnacle barnacle", &["tag"]).await;
    told.tagged("none", 5, "some title", "words or other", &["tag"]).await;

    assert_eq!(told.found("barnacle").await, ["title", "tag", "often", "text"]);
    let scores: Vec<_> = told.page("barnacle", 0, 9).await.hits.iter().map(|hit| hit.score).collect();
    assert!(scores.iter().all(|score| *score > 0.0) && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
}

/// # Panics
/// Where the store breaks its contract.
pub async fn pages_are_stable_and_apart<B: Bench<Store: Search>>(bench: &B) {
    let mut told = Told::new(bench, "pages").await;
    for number in 0..25 {
        told.post(&format!("p{number:02}"), i64::from(number % 5), "", "limpet").await;
    }

    let all = told.found("limpet").await;
    let mut pages = Vec::new();
    for offset in [0, 10, 20, 30] {
        let page = told.page("limpet", offset, 10).await;
        assert_eq!((page.total, page.is_whole), (25, true));
        pages.extend(page.hits.into_iter().map(|hit| hit.id.trim_start_matches("pages-").to_owned()));
    }

    assert_eq!(pages, all);
    assert_eq!(all.first().map(String::as_str), Some("p04"), "among equals the newer first, then by id");
    assert_eq!(all.last().map(String::as_str), Some("p20"));
}

/// # Panics
/// Where the store breaks its contract.
pub async fn any_text_is_a_request_and_a_document<B: Bench<Store: Search>>(bench: &B) {
    let mut told = Told::new(bench, "naughty").await;
    for (number, text) in NAUGHTY.iter().enumerate() {
        told.post(&format!("p{number}"), 1, text, text).await;
        told.page(text, 0, 3).await;
        told.page(&format!("\"{text}"), 0, 3).await;
        told.page(&format!("-{text}*"), 0, 3).await;
        told.page(&format!("author:{text} tag:{text} limpet"), 0, 3).await;
    }

    assert_eq!(told.page("", 0, 1).await.total, u64::try_from(NAUGHTY.len()).expect("few"));
    assert_eq!(told.found("robert drop").await, ["p1"]);
}

const NAUGHTY: [&str; 14] = [
    "\" OR 1=1 --",
    "Robert'); DROP TABLE documents;--",
    "title:x NEAR(a b, 2) ^first {title body}: AND OR NOT",
    "\"unclosed phrase",
    "* ** *a a*b \"*\"",
    "( ) [ ] { } : ^ + - ~ | & \\ / % _ ?",
    "NOT NOT -- - -\"",
    "<script>alert('x')</script>",
    "\u{202e}right to left\u{2066} \u{200b}\u{feff}",
    "👩‍👩‍👧‍👦 🏳️‍🌈 ☃",
    "Z̸̢̛a̷l̴g̵o̶ ͜text",
    "\u{1b}[31mred\u{7}\r\n",
    "ﷺ ﬃ ㍿ ℡",
    "'; SELECT pg_sleep(10) \u{fffd}",
];

const DAY: i64 = 86_400_000;

use DocumentFact::{Removed, Updated};

/// Documents of one check: all are written by an author of its name.
struct Told<S> {
    store: S,
    name: &'static str,
    arrival: Arrival,
    events: u32,
}

impl<S: Store + Search> Told<S> {
    async fn new<B: Bench<Store = S>>(bench: &B, name: &'static str) -> Self {
        Self { store: bench.open().await, name, arrival: Arrival::InOrder, events: 0 }
    }

    async fn post(&mut self, id: &str, time: i64, title: &str, body: &str) {
        self.tagged(id, time, title, body, &[]).await;
    }

    async fn tagged(&mut self, id: &str, time: i64, title: &str, body: &str, tags: &[&str]) {
        let tags = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
        let content = DocumentContent { tags, ..content(Some(title), Some(body)) };
        self.tell(id, time, created(content)).await;
    }

    async fn comment(&mut self, id: &str, post: &str, time: i64, body: &str) {
        let fact = DocumentFact::Created {
            post: Some(format!("{}-{post}", self.name)),
            author: self.name.to_owned(),
            format: None,
            content: content(None, Some(body)),
        };
        self.apply(DocumentKind::Comment, id, time, fact).await;
    }

    async fn tell(&mut self, id: &str, time: i64, mut fact: DocumentFact) {
        if let DocumentFact::Created { author, .. } = &mut fact {
            *author = self.name.to_owned();
        }
        self.apply(DocumentKind::Post, id, time, fact).await;
    }

    async fn apply(&mut self, kind: DocumentKind, id: &str, time: i64, fact: DocumentFact) {
        self.events += 1;
        let event = EventId::parse(&format!("{}-{}", self.name, self.events)).expect("an id");
        let origin = Origin { event, time, arrival: self.arrival };
        let change = DocumentChange { kind, id: format!("{}-{id}", self.name), origin, fact };
        let place = TopicPartition::new(Topic::new(self.name), Partition(0));
        let mut claim = self.store.claim(self.name, &place).await.expect("a claim");
        let next = claim.next.map_or(Offset(1), Offset::next);
        let unit =
            Unit { guard: Guard::Position { next }, changes: vec![Change::Document(Box::new(change))] };
        assert_eq!(self.store.apply(&mut claim, unit).await, Ok(Applied::Committed));
    }

    async fn page(&self, text: &str, offset: u32, limit: u32) -> SearchPage {
        let author = Some(self.name.to_owned());
        let request =
            SearchRequest { text: text.to_owned(), author, offset, limit, ..SearchRequest::default() };
        self.store.search(&request).await.expect("a page")
    }

    /// Returns the ids of what is found, in its order.
    async fn found(&self, text: &str) -> Vec<String> {
        let prefix = format!("{}-", self.name);
        let hits = self.page(text, 0, 100).await.hits;
        hits.into_iter().map(|hit| hit.id.trim_start_matches(&prefix).to_owned()).collect()
    }

    async fn each(&self, texts: &[&str]) -> Vec<u64> {
        let mut totals = Vec::new();
        for text in texts {
            totals.push(self.page(text, 0, 1).await.total);
        }
        totals
    }
}

fn content(title: Option<&str>, body: Option<&str>) -> DocumentContent {
    let body = body.map(|text| DocumentBody { text: text.to_owned(), is_cut: false });
    DocumentContent { title: title.map(str::to_owned), body, ..DocumentContent::default() }
}

fn created(content: DocumentContent) -> DocumentFact {
    DocumentFact::Created { post: None, author: String::new(), format: None, content }
}
