//! Dead letters and their causes as tables and as JSON.

use serde_json::{Value, json};

use crate::cli::terminal::table;
use crate::dead_letters::{Cause, Collection, Entry, Selection, State};

/// A line for each letter.
pub(crate) fn letters_table(collection: &Collection, selection: &Selection) -> String {
    let rows: Vec<_> = collection
        .select(selection)
        .into_iter()
        .map(|entry| {
            vec![
                entry.id.clone(),
                entry.reason.clone(),
                entry.detail.clone().unwrap_or_default(),
                entry.replays.to_string(),
                state(&entry.state).to_owned(),
                entry.failed_at.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(&["id", "reason", "detail", "replays", "state", "failed"], &rows)
}

/// A line for each cause, with its newest letter.
pub(crate) fn causes_table(causes: &[Cause]) -> String {
    let rows: Vec<_> = causes
        .iter()
        .map(|cause| {
            let failed = cause.last_failed_at.clone().unwrap_or_default();
            let [count, cause_id] = [cause.count.to_string(), cause.id.clone()];
            let [group, reason, detail] = [&cause.group, &cause.reason, &cause.detail].map(String::clone);
            vec![count, cause_id, group, reason, detail, failed, cause.newest.clone()]
        })
        .collect();
    table(&["count", "cause", "group", "reason", "detail", "last failed", "newest"], &rows)
}

/// A line for each cause, with what it is about and what was said.
pub(crate) fn groups_table(causes: &[Cause]) -> String {
    let rows: Vec<_> = causes
        .iter()
        .map(|cause| {
            let about = if cause.event_types.is_empty() { &cause.topics } else { &cause.event_types };
            let about: Vec<_> = about.iter().map(String::as_str).collect();
            let why = match cause.detail.as_str() {
                "" => cause.reason.clone(),
                detail => format!("{}/{detail}", cause.reason),
            };
            let time = |at: &Option<String>| at.clone().unwrap_or_default();
            vec![
                cause.id.clone(),
                cause.count.to_string(),
                cause.group.clone(),
                about.join(" "),
                why,
                cause.message.clone(),
                time(&cause.first_failed_at),
                time(&cause.last_failed_at),
            ]
        })
        .collect();
    table(&["cause", "count", "group", "events", "why", "said", "first failed", "last failed"], &rows)
}

pub(crate) fn cause_json(cause: &Cause) -> Value {
    json!({
        "cause": cause.id, "group": cause.group, "reason": cause.reason, "detail": cause.detail,
        "message": cause.message, "count": cause.count, "topics": cause.topics, "event_types": cause.event_types,
        "newest": cause.newest, "first_failed_at": cause.first_failed_at, "last_failed_at": cause.last_failed_at,
    })
}

pub(crate) fn letter_json(entry: &Entry) -> Value {
    let (at, by, why) = match &entry.state {
        State::Discarded { at, by, why } => (Some(at), Some(by), Some(why)),
        State::Open => (None, None, None),
        State::Replayed { at, by } => (Some(at), Some(by), None),
    };
    json!({
        "id": entry.id, "group": entry.group, "handler": entry.handler, "topic": entry.origin.topic,
        "partition": entry.origin.partition, "offset": entry.origin.offset, "event_type": entry.event_type,
        "reason": entry.reason, "detail": entry.detail, "message": entry.message, "cause": entry.cause,
        "attempts": entry.attempts, "replays": entry.replays, "first_failed_at": entry.first_failed_at,
        "failed_at": entry.failed_at, "schema_id": entry.schema_id, "state": state(&entry.state),
        "state_at": at, "state_by": by, "state_why": why,
        "place": format!("{}/{}/{}", entry.place.topic, entry.place.partition, entry.place.offset),
    })
}

fn state(state: &State) -> &'static str {
    match state {
        State::Discarded { .. } => "discarded",
        State::Open => "open",
        State::Replayed { .. } => "replayed",
    }
}
