//! The import and export format: one JSON object a line, documented in `docs/events.md`.

mod import;
mod reader;

pub use import::LineError;
pub use reader::{Lines, Subscribed, missing_registrations};

use serde_json::{Map, Value};

use crate::event::{BlogEvent, each_event, time};

/// Writes an event as one line, without the line's end.
pub fn write_line(event: &BlogEvent) -> String {
    let fields = each_event!(event, event => serde_json::to_value(event)).unwrap_or_default();
    let mut line = Map::new();
    line.insert("type".to_owned(), Value::from(event.event_type().name));
    if let Value::Object(fields) = fields {
        line.extend(fields.into_iter().filter(|(_, value)| !value.is_null()).map(readable));
    }
    Value::Object(line).to_string()
}

fn readable((name, value): (String, Value)) -> (String, Value) {
    match value.as_i64() {
        Some(millis) if name.ends_with("_at") => (name, Value::from(time::write(millis))),
        _ => (name, value),
    }
}
