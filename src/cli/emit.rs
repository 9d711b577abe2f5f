//! `postroom emit`: publishes one event that somebody typed.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::args::{EmitArgs, Global, Output};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::publish::Publisher;
use crate::cli::running::Running;
use crate::cli::sample::BLOG as SAMPLE_BLOG;
use crate::cli::schemas::{codec, writing};
use crate::cli::serving::runtime;
use crate::cli::settings::{loaded_for_cluster, start_log};
use crate::cli::terminal::Terminal;
use crate::codec::Fill;
use crate::event::BlogEvent;
use crate::event::line::write_line;
use crate::kafka::{Producer, ProducerConfig};
use crate::runtime::connection;

pub(crate) fn run(global: &Global, arguments: &EmitArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let loaded = loaded_for_cluster(global, terminal)?;
    let codec = codec(&loaded.config)?;
    let mut fields = fields(arguments)?;
    if !fields.contains_key("blog") {
        // Most sites have one blog, and in a demo one need not know what it is called.
        let blog = if Running::find().is_some() { SAMPLE_BLOG } else { "blog" };
        fields.insert("blog".to_owned(), Value::from(blog));
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let fill = Fill { event_id: format!("emit-{:016x}", fastrand::u64(..)), now };
    let event: BlogEvent = codec
        .event_from_fields(&arguments.event_type, &fields, &fill)
        .map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    if arguments.dry_run {
        terminal.line(&write_line(&event))?;
        terminal.say("--dry-run: nothing was published");
        return Ok(Exit::Ok);
    }
    let _log = start_log(&loaded, None, terminal)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let codec = writing(&loaded.config, &[event.event_type()]).await?;
        let config =
            ProducerConfig { delivery_timeout: PATIENCE, ..ProducerConfig::new(connection(&loaded.config)) };
        let producer = Producer::start(&config)?;
        let topic = event.event_type().topic;
        // Whether anybody is there is known sooner than whether a record was taken.
        producer.check(topic).await?;
        let published = Publisher::new(producer, codec).publish_one(&event).await?;
        match arguments.output {
            Output::Json => terminal.json(&json!({
                "topic": topic, "partition": published.partition.0, "offset": published.offset.0, "event_id": event.event_id(),
            }))?,
            Output::Text => terminal.line(&format!(
                "{topic}/{}/{}  {}  {}",
                published.partition, published.offset, event.event_type().name, event.event_id()
            ))?,
        }
        Ok(Exit::Ok)
    })
}

/// How long a broker may take to take the event: somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

fn fields(arguments: &EmitArgs) -> Result<Map<String, Value>, Failure> {
    let mut fields = match &arguments.file {
        None => Map::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::new(Exit::NotFound, format!("{} cannot be read: {error}", path.display()))
            })?;
            serde_json::from_str(&text).map_err(|error| {
                Failure::new(Exit::Data, format!("{} is no JSON object: {error}", path.display()))
            })?
        }
    };
    // The type may stand in the file as well, as in a line of `import`.
    fields.remove("type");
    for (name, value) in &arguments.fields {
        fields.insert(name.clone(), Value::from(value.as_str()));
    }
    Ok(fields)
}
