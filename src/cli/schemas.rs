//! The codec that a configuration asks for.

use std::path::Path;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::codec::{Codec, Limits, parse_index};
use crate::config::Config;

/// Makes the codec: our own schemas, and those of `registry.directory`. Returns what it knows in words.
pub(crate) fn codec(config: &Config) -> Result<(Codec, String), Failure> {
    let limits = Limits {
        max_record_bytes: config.topics.max_record_bytes.bytes().saturating_add(HEADROOM),
        ..Limits::default()
    };
    let codec = Codec::new(limits);
    let Some(directory) = &config.registry.directory else {
        return Ok((codec, "those built in".to_owned()));
    };
    let count = add_directory(&codec, directory)?;
    Ok((codec, format!("those built in, and {count} of {}", directory.display())))
}

fn add_directory(codec: &Codec, directory: &Path) -> Result<usize, Failure> {
    let bad = |path: &Path, why: String| {
        Failure::new(Exit::Configuration, format!("{}: {why}", path.display()))
            .fix("correct it, or point registry.directory to another folder")
    };
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| bad(path, format!("cannot be read: {error}")))
    };
    let index = directory.join("index.toml");
    let entries = parse_index(&read(&index)?).map_err(|error| bad(&index, error.to_string()))?;
    for entry in &entries {
        let path = directory.join(&entry.file);
        codec.add_entry(entry, &read(&path)?).map_err(|error| bad(&path, error.to_string()))?;
    }
    Ok(entries.len())
}

/// Room for headers beside the largest record that producers may write.
const HEADROOM: usize = 64 * 1_024;
