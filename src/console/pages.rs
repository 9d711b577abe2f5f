//! The pages: what is put into the templates, and the answers to programs.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use minijinja::value::{Serde, merge_maps};
use minijinja::{Environment, Value, context};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::adapters::store::AnyStore;
use crate::console::caused::caused;
use crate::console::groups::signed;
use crate::console::letters::{Letters, Seen};
use crate::console::mails::Mailbox;
use crate::console::rates::Rates;
use crate::console::scale::Scale;
use crate::console::story::{Caused, Mark, Material, Story, tell};
use crate::console::thumbs::{Gallery, checked};
use crate::console::words::{grouped, rfc3339};
use crate::console::{assets, events, groups, mails, views};
use crate::event::{EventRecord, MailRequested, WebhookRequested};
use crate::telemetry::{Board, JournalEvent, RecordPlace, Status};

/// What the pages read. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) parts: Arc<Parts>,
}

pub(crate) struct Parts {
    pub(crate) board: Arc<Board>,
    pub(crate) store: OnceLock<AnyStore>,
    pub(crate) mailbox: OnceLock<Arc<dyn Mailbox>>,
    pub(crate) gallery: OnceLock<Arc<dyn Gallery>>,
    pub(crate) letters: Letters,
    pub(crate) rates: Rates,
    pub(crate) scale: Scale,
    pub(crate) templates: Environment<'static>,
}

impl Desk {
    pub(crate) fn mailbox(&self) -> Option<&Arc<dyn Mailbox>> {
        self.parts.mailbox.get()
    }

    pub(crate) fn gallery(&self) -> Option<&Arc<dyn Gallery>> {
        self.parts.gallery.get()
    }

    /// The time in milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }

    /// Waits a moment for an answer: the page must come even while what it asks hangs.
    pub(crate) async fn in_time<V>(&self, answer: impl Future<Output = V>) -> Option<V> {
        tokio::time::timeout(PATIENCE, answer).await.ok()
    }
}

/// The page at `/`.
pub(crate) async fn home(State(desk): State<Desk>) -> Response {
    let mut all = context! {};
    for part in PARTS {
        all = merge_maps([all, part_context(&desk, part).await]);
    }
    page(&desk, "home.html", all)
}

/// One part of the page, which its script puts in the place of the one before.
pub(crate) async fn part(State(desk): State<Desk>, Path(name): Path<String>) -> Response {
    let Some(part) = PARTS.iter().find(|part| **part == name) else {
        return (StatusCode::NOT_FOUND, "there is no such part of the page\n").into_response();
    };
    let context = part_context(&desk, part).await;
    render(&desk, &format!("part_{part}.html"), context)
}

/// Says whether a topic holds requests of the outbox.
fn is_request(topic: &str) -> bool {
    topic == MailRequested::TYPE.topic || topic == WebhookRequested::TYPE.topic
}

async fn part_context(desk: &Desk, part: &str) -> Value {
    let (now, board) = (desk.now(), &desk.parts.board);
    let status = board.status();
    match part {
        "summary" => summary(desk, &status),
        "groups" => context! { groups => served(groups::view(&status)) },
        "events" => {
            let journal = board.journal();
            // What Postroom asks of itself stands in the story of the event that caused it.
            let latest = journal.latest(MOST_EVENTS, |topic| !is_request(topic));
            let passed_over = journal.passed_over();
            context! {
                events => served(events::view(&latest, &status, now)),
                passed_over => (passed_over > 0).then(|| grouped(signed(passed_over))),
            }
        }
        "letters" => context! { letters => served(desk.parts.letters.seen()) },
        "mails" => {
            context! { mails => served(desk.mailbox().map(|mailbox| mails::view(&**mailbox, MOST_MAILS, now))) }
        }
        "thumbs" => {
            let thumbs = match desk.gallery() {
                Some(gallery) => {
                    Some(checked(desk.in_time(gallery.recent(MOST_THUMBS)).await.unwrap_or_default()))
                }
                None => None,
            };
            context! { thumbs => served(thumbs) }
        }
        _ => Value::UNDEFINED,
    }
}

/// Makes a value for the templates.
pub(crate) fn served(value: impl Serialize) -> Value {
    Value::from(Serde(value))
}

fn summary(desk: &Desk, status: &Status) -> Value {
    let totals = &status.totals;
    let rate = desk.parts.rates.look(status, Instant::now());
    let dead = totals.dead_letters.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let behind =
        status.groups.iter().map(crate::telemetry::GroupStatus::lag).fold(0_i64, i64::saturating_add);
    let waiting: usize = status.groups.iter().map(|group| group.retries_waiting).sum();
    context! {
        finished => grouped(signed(totals.finished())),
        rate => rate.map(|rate| if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }),
        behind => grouped(behind),
        waiting => grouped(i64::try_from(waiting).unwrap_or(i64::MAX)),
        dead => grouped(signed(dead)),
        is_dead => dead > 0,
        draining => status.draining,
    }
}

/// What a program that knows more may say of the event it asks for.
#[derive(Deserialize)]
pub(crate) struct Hint {
    id: Option<String>,
}

/// The latest events, for programs.
pub(crate) async fn api_events(State(desk): State<Desk>) -> Response {
    let journal = desk.parts.board.journal();
    let events: Vec<_> =
        journal.latest(MOST_API_EVENTS, |_| true).into_iter().map(views::without_addresses).collect();
    Json(json!({ "events": events, "passed_over": journal.passed_over() })).into_response()
}

/// The story of an event, for programs: from the journal and the store alone.
pub(crate) async fn api_story(
    State(desk): State<Desk>,
    Path(asked): Path<String>,
    Query(hint): Query<Hint>,
) -> Response {
    let mut stories = stories(&desk, &asked, hint.id.as_deref()).await;
    if stories.is_empty() {
        let told = json!({ "error": format!("nothing is known here of {asked:?}"), "hint": HINT });
        return (StatusCode::NOT_FOUND, Json(told)).into_response();
    }
    let first = stories.remove(0);
    if stories.is_empty() {
        return Json(first).into_response();
    }
    let others: Vec<_> =
        stories.into_iter().filter_map(|story| story.place).map(|place| place.to_string()).collect();
    let mut told = serde_json::to_value(first).unwrap_or_default();
    if let Some(fields) = told.as_object_mut() {
        fields.insert("other_records".to_owned(), json!(others));
    }
    Json(told).into_response()
}

/// The story of an event, for people.
pub(crate) async fn story(State(desk): State<Desk>, Path(asked): Path<String>) -> Response {
    let stories = stories(&desk, &asked, None).await;
    if stories.is_empty() {
        return not_found(&desk, &format!("nothing is known here of {asked}. {HINT}"));
    }
    let now = desk.now();
    let stories: Vec<_> = stories.into_iter().map(|story| views::story(story, now)).collect();
    page(&desk, "story.html", context! { stories, asked })
}

/// Answers to what is not there.
pub(crate) fn not_found(desk: &Desk, why: &str) -> Response {
    let mut answer = page(desk, "missing.html", context! { why });
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

/// Any other address.
pub(crate) async fn nothing(State(desk): State<Desk>) -> Response {
    not_found(&desk, "there is no such page")
}

/// Renders a whole page.
pub(crate) fn page(desk: &Desk, template: &str, own: Value) -> Response {
    let status = desk.parts.board.status();
    let common = context! {
        style => &*assets::STYLE, script => &*assets::SCRIPT, version => status.version, pid => status.pid,
        brokers => status.brokers, has_mails => desk.mailbox().is_some(), has_thumbs => desk.gallery().is_some(),
        rendered_at => rfc3339(desk.now()),
    };
    render(desk, template, merge_maps([common, own]))
}

fn render(desk: &Desk, template: &str, context: Value) -> Response {
    let rendered = desk.parts.templates.get_template(template).and_then(|template| template.render(context));
    match rendered {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, template, "a page cannot be rendered");
            let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
            (StatusCode::INTERNAL_SERVER_ERROR, [kind], "this page cannot be rendered: see the log\n")
                .into_response()
        }
    }
}

/// Finds an event by id or by place, and tells what is known of each of its records.
async fn stories(desk: &Desk, asked: &str, id: Option<&str>) -> Vec<Story> {
    let status = desk.parts.board.status();
    let journal = desk.parts.board.journal();
    let mut found = journal.of_id(asked);
    if let (true, Some(place)) = (found.is_empty(), RecordPlace::parse(asked)) {
        let unnoted = || {
            is_held(&status, &place).then(|| JournalEvent { place: place.clone(), ..JournalEvent::default() })
        };
        found.extend(journal.at(&place).or_else(unnoted));
    }
    let seen = desk.parts.letters.seen();
    let known_id =
        id.map(str::to_owned).or_else(|| found.first().and_then(|event| event.described.id.clone()));
    let caused = causes(desk, known_id.as_deref().unwrap_or(asked)).await;
    if found.is_empty() && !caused.is_empty() {
        // Only its traces in the store are left.
        let mut story = tell(Material { caused, ..Material::default() }, desk.now());
        story.id = Some(asked.to_owned());
        return vec![story];
    }
    let passed_over = journal.passed_over();
    let told = found.into_iter().map(|event| {
        let marks = marks(&status, &event.place);
        let material = material(event, marks, &seen, caused.clone(), passed_over);
        tell(material, desk.now())
    });
    told.collect()
}

fn material(
    event: JournalEvent,
    marks: Vec<Mark>,
    seen: &Seen,
    caused: Vec<Caused>,
    passed_over: u64,
) -> Material<'_> {
    Material {
        place: Some(event.place),
        described: event.described,
        deeds: event.deeds,
        marks,
        letters: Some(&seen.collection),
        caused,
        passed_over,
    }
}

async fn causes(desk: &Desk, id: &str) -> Vec<Caused> {
    let Some(store) = desk.parts.store.get() else { return Vec::new() };
    match desk.in_time(caused(store, id)).await {
        Some(Ok(caused)) => caused,
        Some(Err(error)) => vec![away(&error.to_string())],
        None => vec![away("it does not answer")],
    }
}

fn away(why: &str) -> Caused {
    Caused { what: "the store".to_owned(), state: why.to_owned(), ..Caused::default() }
}

/// The groups of this process that hold the record's partition.
fn marks(status: &Status, place: &RecordPlace) -> Vec<Mark> {
    let held = status.groups.iter().filter_map(|group| {
        let position = events::position(status, &group.group, place)?;
        Some(Mark { group: group.group.clone(), handler: group.handler.clone(), position: Some(position) })
    });
    held.collect()
}

/// Says whether a record can be there: a group of this process holds the partition, and its log reaches so far.
fn is_held(status: &Status, place: &RecordPlace) -> bool {
    status.groups.iter().flat_map(|group| &group.partitions).any(|one| {
        one.topic == place.topic
            && one.partition == place.partition
            && one.end.is_some_and(|end| place.offset < end)
    })
}

/// The parts that are refreshed one by one.
const PARTS: [&str; 6] = ["summary", "groups", "events", "letters", "mails", "thumbs"];
const MOST_EVENTS: usize = 40;
const MOST_API_EVENTS: usize = 500;
const MOST_MAILS: usize = 6;
const MOST_THUMBS: usize = 9;
/// How long a page waits for the store.
const PATIENCE: Duration = Duration::from_secs(1);
const HINT: &str =
    "This process keeps its latest events only; `postroom show EVENT_ID` looks through the topics.";
