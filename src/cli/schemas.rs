//! The codec that a configuration asks for.

use crate::adapters::registry;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::codec::{Codec, Limits};
use crate::config::Config;

/// Makes the codec: our own schemas, and those of `registry.directory`.
pub(crate) fn codec(config: &Config) -> Result<Codec, Failure> {
    let record = config.topics.max_record_bytes.bytes().saturating_add(HEADROOM);
    let limits = Limits { max_record_bytes: record, ..Limits::default() };
    registry::codec(limits, config.registry.directory.as_deref()).map_err(|why| {
        Failure::new(Exit::Configuration, format!("the schemas cannot be used: {why}"))
            .fix("correct registry.directory, or the files in it")
    })
}

/// Room for headers beside the largest record that producers may write.
const HEADROOM: usize = 64 * 1_024;
