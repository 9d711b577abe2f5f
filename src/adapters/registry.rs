//! The directory registry: `index.toml` and the schemas beside it, for development, tests and small sites.

use std::path::Path;

use crate::codec::{Codec, Limits, parse_index};

/// Makes the process's codec: it knows the schemas that are built in, and those of `directory`.
///
/// # Errors
/// One sentence with the file that cannot be read or does not match its fingerprint.
pub fn codec(limits: Limits, directory: Option<&Path>) -> Result<Codec, String> {
    let codec = Codec::new(limits);
    if let Some(directory) = directory {
        let index = read(&directory.join("index.toml"))?;
        for entry in parse_index(&index).map_err(|error| error.to_string())? {
            let avsc = read(&directory.join(&entry.file))?;
            codec.add_entry(&entry, &avsc).map_err(|error| error.to_string())?;
        }
    }
    Ok(codec)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
