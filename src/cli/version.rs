//! `postroom version`: for a bug report.

use serde_json::json;

use crate::cli::args::{Output, VersionArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::terminal::Terminal;
use crate::telemetry::BuildInfo;

pub(crate) fn run(arguments: &VersionArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let build = BuildInfo::current(crate::kafka::client_version());
    match arguments.output {
        Output::Json => terminal.json(&json!({
            "version": build.version, "revision": build.revision, "rustc": build.rustc, "librdkafka": build.librdkafka,
        }))?,
        Output::Text => terminal.line(&format!(
            "postroom {} (revision {}, rustc {}, librdkafka {})",
            build.version, build.revision, build.rustc, build.librdkafka
        ))?,
    }
    Ok(Exit::Ok)
}
