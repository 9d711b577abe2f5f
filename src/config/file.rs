//! Reads files: of settings, and of secrets.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::problem::Problem;

/// Reads the file that is named, else that of the working directory, if it is there; returns its path as well.
pub(crate) fn read_file(named: Option<&Path>, problems: &mut Vec<Problem>) -> (PathBuf, String) {
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    if named.is_none() && !path.exists() {
        return (path.to_owned(), String::new());
    }
    match read_capped(path, FILE_LIMIT) {
        Ok(text) => (path.to_owned(), text.trim_start_matches('\u{feff}').to_owned()),
        Err(why) => {
            problems.push(Problem {
                setting: String::new(),
                place: path.display().to_string(),
                why: format!("cannot be read: {why}"),
                fix: "name a readable file with --config or POSTROOM_CONFIG".to_owned(),
            });
            (path.to_owned(), String::new())
        }
    }
}

/// Reads a file of text, up to `limit` bytes.
pub(crate) fn read_capped(path: &Path, limit: u64) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    if file.metadata().is_ok_and(|data| data.is_dir()) {
        return Err("it is a directory".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!("it is larger than {} KiB", limit / 1_024));
    }
    String::from_utf8(bytes).map_err(|_not_text| "it is not UTF-8 text".to_owned())
}

const DEFAULT_FILE: &str = "postroom.toml";
const FILE_LIMIT: u64 = 1_024 * 1_024;
/// How large a secret may be, in bytes.
pub(crate) const SECRET_LIMIT: u64 = 64 * 1_024;
