//! `postroom tail`: events of a topic, decoded, with addresses masked.

use serde_json::{Map, Value, json};

use crate::cli::args::{Global, Output, Place, TailArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::schemas::Reading;
use crate::cli::settings::loaded_for_cluster;
use crate::cli::terminal::{Style, Terminal};
use crate::event::RawRecord;
use crate::kafka::{ReadFrom, follow};
use crate::runtime::connection;

pub(crate) fn run(global: &Global, arguments: &TailArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let loaded = loaded_for_cluster(global, terminal)?;
    let reading = Reading::new(&loaded.config)?;
    let connection = connection(&loaded.config);
    if let (None, Some(count)) = (arguments.from, arguments.count) {
        let mut lines = last(&connection, &reading, arguments, count)?;
        lines.sort_by_key(|line| line.time);
        let surplus = lines.len().saturating_sub(count);
        for line in lines.iter().skip(surplus) {
            line.print(arguments.output, terminal)?;
        }
        return Ok(Exit::Ok);
    }
    let mut left = arguments.count.unwrap_or(usize::MAX);
    let mut failure = None;
    follow(&connection, &arguments.topic, begin(arguments.from), |record| {
        match Line::read(&reading, record) {
            Ok(line) if left > 0 && line.passes(&arguments.filter) => {
                left = left.saturating_sub(1);
                failure = line.print(arguments.output, terminal).err();
            }
            Ok(_) => {}
            Err(error) => failure = Some(error),
        }
        left > 0 && failure.is_none()
    })?;
    failure.map_or(Ok(Exit::Ok), Err)
}

/// Reads the last `count` of each partition, of which the newest are then shown.
fn last(
    connection: &crate::kafka::Connection,
    reading: &Reading,
    arguments: &TailArgs,
    count: usize,
) -> Result<Vec<Line>, Failure> {
    // With a filter the last that pass may lie anywhere.
    let reach = if arguments.filter.is_empty() { i64::try_from(count).unwrap_or(i64::MAX) } else { i64::MAX };
    let mut lines = Vec::new();
    let mut failure = None;
    follow(connection, &arguments.topic, ReadFrom::Last(reach), |record| {
        match Line::read(reading, record) {
            Ok(line) if line.passes(&arguments.filter) => lines.push(line),
            Ok(_) => {}
            Err(error) => failure = Some(error),
        }
        failure.is_none()
    })?;
    failure.map_or(Ok(lines), Err)
}

fn begin(from: Option<Place>) -> ReadFrom {
    match from {
        None | Some(Place::Latest) => ReadFrom::End,
        Some(Place::Earliest) => ReadFrom::Start,
        Some(Place::Offset(offset)) => ReadFrom::Offset(offset),
        Some(Place::Time(time)) => ReadFrom::Time(time),
        Some(Place::Ago(span)) => {
            let ago = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
            ReadFrom::Time(jiff::Timestamp::now().as_millisecond().saturating_sub(ago))
        }
    }
}

/// One record as it is shown.
struct Line {
    place: String,
    partition: i32,
    time: i64,
    event_type: String,
    key: String,
    content: Result<Map<String, Value>, String>,
}

impl Line {
    fn read(reading: &Reading, record: &RawRecord) -> Result<Self, Failure> {
        reading.prepare_now(record)?;
        let (event_type, content) = match reading.codec().to_json(record) {
            Ok(Some(readable)) => (readable.event_type, Ok(masked(of_record(readable.fields)))),
            Ok(None) => ("tombstone".to_owned(), Ok(Map::new())),
            Err(error) => (error.reason().code().to_owned(), Err(reading.why(&error))),
        };
        Ok(Self {
            place: format!("{}/{}", record.partition(), record.offset()),
            partition: record.partition().partition.0,
            time: record.timestamp().unwrap_or_default(),
            event_type,
            key: String::from_utf8_lossy(record.key().unwrap_or_default()).escape_debug().to_string(),
            content,
        })
    }

    fn passes(&self, filters: &[(String, String)]) -> bool {
        filters.iter().all(|(name, value)| match name.as_str() {
            "type" => self.event_type == *value,
            "key" => self.key == *value,
            "partition" => self.partition.to_string() == *value,
            field => {
                let found = self.content.as_ref().ok().and_then(|fields| fields.get(field));
                found.map(written).is_some_and(|found| found == *value)
            }
        })
    }

    fn print(&self, output: Output, terminal: &mut Terminal) -> Result<(), Failure> {
        let time = jiff::Timestamp::from_millisecond(self.time)
            .map_or_else(|_| "–".to_owned(), |time| format!("{time:.3}"));
        if output == Output::Json {
            let (fields, error) = match &self.content {
                Ok(fields) => (Some(fields), None),
                Err(error) => (None, Some(error)),
            };
            let line = json!({
                "record": self.place, "time": time, "type": self.event_type, "key": self.key, "event": fields, "error": error,
            });
            return terminal.line(&line.to_string());
        }
        let (style, content) = match &self.content {
            Ok(fields) => (Style::Good, shown(fields)),
            Err(error) => (Style::Bad, error.escape_debug().to_string()),
        };
        let place = terminal.styled(Style::Faint, &format!("{} {time}", self.place));
        let event_type = terminal.styled(style, &self.event_type);
        terminal.line(&format!("{place} {event_type} {content}"))
    }
}

/// An event is a record; any other datum stands under the name `value`.
fn of_record(datum: Value) -> Map<String, Value> {
    if let Value::Object(fields) = datum { fields } else { Map::from_iter([("value".to_owned(), datum)]) }
}

/// A value as a person would type it.
fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Fields in a line: what is not set left out, long texts cut.
fn shown(fields: &Map<String, Value>) -> String {
    let set = fields.iter().filter(|(_, value)| !value.is_null());
    let words = set.map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), |text| format!("{:?}", cut(text)));
        format!("{name}={text}")
    });
    words.collect::<Vec<_>>().join(" ")
}

fn cut(text: &str) -> String {
    let short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

/// Hides what names a person beyond their account.
fn masked(mut fields: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::String(address)) = fields.get_mut("email") {
        let first = address.chars().next().unwrap_or('*');
        let domain = address.rsplit('@').next().unwrap_or_default();
        *address = format!("{first}***@{domain}");
    }
    fields
}

/// How many characters of a text are shown.
const LONGEST: usize = 60;
