//! The arguments of `tail`.

use clap::Args;

use super::{Output, key_value};

/// Arguments of `tail`.
#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// The topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Where to begin: earliest, latest, an offset, @-1h, or @2026-01-31T12:00:00Z
    #[arg(long, value_name = "PLACE", value_parser = place)]
    pub(crate) from: Option<Place>,
    /// Show those alone where NAME=VALUE holds: type, key, partition, or any field; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) filter: Vec<(String, String)>,
    /// End after so many; without --from, the last so many
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) count: Option<usize>,
    /// How to print: text, or a JSON object a line
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// Where `tail` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// So long ago.
    Ago(std::time::Duration),
    /// At the first record.
    Earliest,
    /// At what comes from now on.
    Latest,
    /// At this offset of every partition.
    Offset(i64),
    /// At this time, in milliseconds since the Unix epoch.
    Time(i64),
}

fn place(text: &str) -> Result<Place, String> {
    let unknown = || "write earliest, latest, an offset, @-1h, or @2026-01-31T12:00:00Z".to_owned();
    if let Some(span) = text.strip_prefix("@-") {
        return crate::config::parse_span(span).map(Place::Ago).ok_or_else(unknown);
    }
    if let Some(time) = text.strip_prefix('@') {
        let time: jiff::Timestamp = time.parse().map_err(|_unreadable| unknown())?;
        return Ok(Place::Time(time.as_millisecond()));
    }
    match text {
        "earliest" | "start" => Ok(Place::Earliest),
        "latest" | "end" => Ok(Place::Latest),
        offset => offset.parse().ok().filter(|offset| *offset >= 0).map(Place::Offset).ok_or_else(unknown),
    }
}
