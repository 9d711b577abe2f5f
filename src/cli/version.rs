//! `postroom version`: for a bug report.

use serde_json::json;

use crate::cli::args::{Output, VersionArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::terminal::Terminal;
use crate::telemetry::BuildInfo;

pub(crate) fn run(arguments: &VersionArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let build = build();
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

/// Returns what this binary was built from.
pub(crate) fn build() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: option_env!("POSTROOM_REVISION").unwrap_or("unknown").to_owned(),
        rustc: option_env!("POSTROOM_RUSTC").unwrap_or("unknown").to_owned(),
        librdkafka: rdkafka_version(),
    }
}

fn rdkafka_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
