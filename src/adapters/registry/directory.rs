//! The directory registry: a folder of schemas with an `index.toml`, for those who run no registry server.

use std::fs;
use std::path::{Path, PathBuf};

use crate::codec::{Codec, IndexError, Limits, parse_index};

/// Why a folder of schemas was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The index, or a schema in it, is not in order.
    #[error("{}: {error}", path.display())]
    Wrong {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        error: IndexError,
    },
    /// The index names a file outside its folder.
    #[error("{} names the file {file}, which is outside its folder", path.display())]
    Outside {
        /// The index.
        path: PathBuf,
        /// The file as it is named.
        file: String,
    },
}

/// Makes the process's codec: it knows the schemas that are built in, and those of `folder`.
///
/// # Errors
/// One sentence with the file that cannot be read or does not match its fingerprint.
pub fn codec(limits: Limits, folder: Option<&Path>) -> Result<Codec, String> {
    let codec = Codec::new(limits);
    if let Some(folder) = folder {
        load_folder(&codec, folder).map_err(|error| error.to_string())?;
    }
    Ok(codec)
}

/// Adds every schema of `folder/index.toml` to the codec, each checked against the fingerprint in the index.
/// Returns how many there are.
///
/// # Errors
/// The first file that is missing, changed or refused; what came before it is added already.
pub fn load_folder(codec: &Codec, folder: &Path) -> Result<usize, RegistryError> {
    let path = folder.join("index.toml");
    let entries =
        parse_index(&read(&path)?).map_err(|error| RegistryError::Wrong { path: path.clone(), error })?;
    for entry in &entries {
        let file = Path::new(&entry.file);
        if file.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(RegistryError::Outside { path, file: entry.file.clone() });
        }
        let avsc = read(&folder.join(file))?;
        codec.add_entry(entry, &avsc).map_err(|error| RegistryError::Wrong { path: path.clone(), error })?;
    }
    Ok(entries.len())
}

fn read(path: &Path) -> Result<String, RegistryError> {
    fs::read_to_string(path).map_err(|error| RegistryError::Unreadable { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const INDEX: &str = r#"
[[schema]]
event = "like.added"
version = 1
file = "like.avsc"
id = 70
guid = "00000000-0000-8000-8000-000000000046"
fingerprint = "FINGERPRINT"
"#;

    fn folder(fingerprint: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("index.toml"), INDEX.replace("FINGERPRINT", fingerprint)).unwrap();
        fs::write(folder.path().join("like.avsc"), r#"{"type": "long"}"#).unwrap();
        folder
    }

    #[test]
    fn a_user_s_folder_is_added_to_our_own_schemas() {
        let codec = Codec::new(Limits::default());

        assert_eq!(load_folder(&codec, folder("d054e14493f41db7").path()).unwrap(), 1);
    }

    #[test]
    fn our_own_folder_holds_what_the_binary_carries() {
        let codec = Codec::new(Limits::default());

        assert_eq!(load_folder(&codec, Path::new("schemas")).unwrap(), crate::codec::OURS.len());
    }

    #[test]
    fn a_changed_schema_is_refused() {
        let codec = Codec::new(Limits::default());

        let error = load_folder(&codec, folder("0000000000000001").path()).unwrap_err();

        assert!(error.to_string().contains("a shipped schema never changes"), "{error}");
    }

    #[test]
    fn a_missing_index_and_a_file_outside_are_named() {
        let codec = Codec::new(Limits::default());
        let away = tempfile::tempdir().unwrap();

        assert!(load_folder(&codec, away.path()).unwrap_err().to_string().contains("index.toml"));
        fs::write(
            away.path().join("index.toml"),
            INDEX.replace("like.avsc", "../like.avsc").replace("FINGERPRINT", "1"),
        )
        .unwrap();
        assert!(load_folder(&codec, away.path()).unwrap_err().to_string().contains("outside its folder"));
    }
}
