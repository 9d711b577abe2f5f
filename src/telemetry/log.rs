//! The log, on standard error: pretty lines for people, JSON lines for machines, repeats left out with a count.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus::IntCounter;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::LogFormat;
use crate::telemetry::families::{LEVELS, Metrics};
use crate::telemetry::repeats::{LeftOut, Repeats, Ruling, Site};

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A level or directives.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Lines a second that one place may write about one partition.
    pub repeats: u32,
    /// Whether pretty lines have colours.
    pub color: Color,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// None.
    Off,
    /// ANSI.
    On,
}

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not understood.
    #[error("log.level is not understood: {0}")]
    Level(String),
    /// Something else logs already.
    #[error("the log is set up already")]
    Already,
}

/// Keep it until the end: dropped, it tells what was left out last.
pub struct LogGuard(Arc<Shared>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut output = self.0.lock();
        let left_out = output.repeats.end_all();
        self.0.tell(&mut output, &left_out);
    }
}

/// Sets the log up for the whole process.
///
/// # Errors
/// The level is not understood, or something else logs already.
pub fn start(settings: &LogSettings, metrics: Option<&Metrics>) -> Result<LogGuard, LogError> {
    let (layer, guard) = layer(settings, metrics, Box::new(std::io::stderr()));
    let filter: EnvFilter = settings.level.parse().map_err(|error| LogError::Level(format!("{error}")))?;
    let set = tracing_subscriber::registry().with(filter).with(layer).try_init();
    set.map(|()| guard).map_err(|_other| LogError::Already)
}

/// Makes the layer by itself, writing to `writer`.
pub fn layer(
    settings: &LogSettings,
    metrics: Option<&Metrics>,
    writer: Box<dyn Write + Send>,
) -> (LogLayer, LogGuard) {
    let pretty = match settings.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let shape = match (pretty, settings.color) {
        (false, _) => Shape::Json,
        (true, color) => Shape::Pretty(color),
    };
    let counters = metrics.map_or_else(Vec::new, |metrics| {
        let counter = |level: &&'static str| {
            let counter = metrics.families.log_events.get_metric_with_label_values(&[*level]).ok()?;
            Some((*level, counter))
        };
        LEVELS.iter().filter_map(counter).collect()
    });
    let output = Output { writer, repeats: Repeats::new(settings.repeats), swept: Instant::now() };
    let shared = Arc::new(Shared { shape, counters, output: Mutex::new(output) });
    (LogLayer(Arc::clone(&shared)), LogGuard(shared))
}

/// Writes events.
pub struct LogLayer(Arc<Shared>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().into_iter().rev() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.values.extend(of_span.values.iter().map(|(key, value)| (*key, value.clone())));
            }
        }
        event.record(&mut fields);
        self.0.event(event.metadata(), &fields);
    }
}

struct Shared {
    shape: Shape,
    counters: Vec<(&'static str, IntCounter)>,
    output: Mutex<Output>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Json,
    Pretty(Color),
}

struct Output {
    writer: Box<dyn Write + Send>,
    repeats: Repeats,
    swept: Instant,
}

impl Shared {
    fn event(&self, metadata: &'static Metadata<'static>, fields: &Fields) {
        let level = *metadata.level();
        if let Some((_, counter)) = self.counters.iter().find(|(word, _)| *word == level_word(level)) {
            counter.inc();
        }
        let now = Instant::now();
        let mut output = self.lock();
        if now.duration_since(output.swept).as_millis() >= 1_000 {
            output.swept = now;
            let left_out = output.repeats.end(now);
            self.tell(&mut output, &left_out);
        }
        // Who asks for debug lines wants all of them.
        let limited = level <= Level::INFO;
        if limited && output.repeats.rule(now, site(metadata, fields), metadata.target()) == Ruling::LeaveOut
        {
            return;
        }
        let line = self.line(level, metadata.target(), fields);
        output.write(&line);
    }

    fn tell(&self, output: &mut Output, left_out: &[LeftOut]) {
        for LeftOut { target, count } in left_out {
            let mut fields = Fields { message: "repeated lines left out".to_owned(), ..Fields::default() };
            fields.put("repeats", Value::from(*count));
            fields.put("source", Value::from(*target));
            let line = self.line(Level::WARN, target, &fields);
            output.write(&line);
        }
    }

    fn line(&self, level: Level, target: &str, fields: &Fields) -> String {
        let now = jiff::Timestamp::now();
        match self.shape {
            Shape::Json => json(now, level, target, fields),
            Shape::Pretty(color) => pretty(now, level, fields, color),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output {
    /// A log that cannot be written must not stop the work.
    fn write(&mut self, line: &str) {
        self.writer.write_all(line.as_bytes()).and_then(|()| self.writer.flush()).unwrap_or_default();
    }
}

/// The fields of an event or a span.
#[derive(Clone, Debug, Default)]
struct Fields {
    message: String,
    values: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, name: &'static str, value: Value) {
        self.values.retain(|(known, _)| *known != name);
        self.values.push((name, value));
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field.name(), Value::from(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn json(now: jiff::Timestamp, level: Level, target: &str, fields: &Fields) -> String {
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), Value::from(format!("{now:.3}")));
    line.insert("level".to_owned(), Value::from(level_word(level)));
    line.insert("target".to_owned(), Value::from(target));
    line.insert("message".to_owned(), Value::from(fields.message.as_str()));
    line.insert("service".to_owned(), Value::from("postroom"));
    line.insert("version".to_owned(), Value::from(env!("CARGO_PKG_VERSION")));
    for (name, value) in &fields.values {
        line.insert((*name).to_owned(), value.clone());
    }
    format!("{}\n", Value::Object(line))
}

fn pretty(now: jiff::Timestamp, level: Level, fields: &Fields, color: Color) -> String {
    let time = format!("{now:.3}");
    let clock = time.split('T').nth(1).unwrap_or(&time).trim_end_matches('Z');
    let word = level_word(level).to_ascii_uppercase();
    let mut line = match color {
        Color::Off => format!("{clock} {word:5} {}", one_line(&fields.message)),
        Color::On => {
            format!(
                "\u{1b}[2m{clock}\u{1b}[0m {}{word:5}\u{1b}[0m {}",
                ansi(level),
                one_line(&fields.message)
            )
        }
    };
    for (name, value) in &fields.values {
        let text = value.as_str().map_or_else(|| value.to_string(), one_line);
        let quoted = if text.contains(' ') { format!("{text:?}") } else { text };
        let (dim, plain) = if color == Color::On { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
        write!(line, " {dim}{name}={plain}{quoted}").unwrap_or_default();
    }
    line.push('\n');
    line
}

/// Makes control characters visible, so that no value can forge a line or move the cursor.
fn one_line(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

fn site(metadata: &'static Metadata<'static>, fields: &Fields) -> Site {
    let mut callsite = DefaultHasher::new();
    metadata.callsite().hash(&mut callsite);
    // Events of librdkafka's log share one place in the code: there the message makes the difference.
    if !metadata.target().starts_with("postroom") {
        fields.message.hash(&mut callsite);
    }
    let mut partition = DefaultHasher::new();
    for name in ["group", "topic", "partition"] {
        fields.get(name).map(Value::to_string).hash(&mut partition);
    }
    Site { callsite: callsite.finish(), partition: partition.finish() }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn ansi(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG | Level::TRACE => "\u{1b}[2m",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, repeats: u32, work: impl FnOnce()) -> String {
        let paper = Paper::default();
        let settings = LogSettings { level: "info".to_owned(), format, repeats, color: Color::Off };
        let (layer, guard) = layer(&settings, None, Box::new(paper.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        drop(guard);
        paper.text()
    }

    #[test]
    fn json_lines_carry_the_keys_that_dashboards_know() {
        let text = logged(LogFormat::Json, 10, || {
            let span = tracing::info_span!("process", group = "postroom.project");
            span.in_scope(|| {
                tracing::warn!(topic = "blog.posts", partition = 3, offset = 7_i64, "attempt failed")
            });
        });

        let line: Value = serde_json::from_str(&text).unwrap();
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(
            timestamp.ends_with('Z') && timestamp.len() == "2026-01-01T00:00:00.000Z".len(),
            "{timestamp}"
        );
        assert_eq!(line["level"], "warn");
        assert_eq!(line["message"], "attempt failed");
        assert_eq!(line["service"], "postroom");
        assert_eq!(line["group"], "postroom.project");
        assert_eq!(line["partition"], 3);
        assert_eq!(line["offset"], 7);
    }

    #[test]
    fn a_flood_from_one_place_is_counted_instead_of_written() {
        let text = logged(LogFormat::Pretty, 3, || {
            for _ in 0..50 {
                tracing::warn!(topic = "blog.posts", partition = 1, "attempt failed");
            }
        });

        assert_eq!(text.matches("attempt failed").count(), 3);
        assert!(text.contains("repeated lines left out repeats=47"), "{text}");
    }

    #[test]
    fn control_characters_cannot_forge_a_line() {
        let text = logged(LogFormat::Pretty, 10, || {
            tracing::info!(error = "a\n12:00:00 ERROR forged\u{1b}[2J", "failed")
        });

        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\u{1b}'));
    }
}
