//! The directory registry: an index of schemas, and our own one, which the binary carries.

use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;

use crate::codec::{Codec, SchemaError};

/// One schema of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The kind of event, such as `post.published`.
    pub event: String,
    /// Its version, from 1.
    pub version: u32,
    /// The file, relative to the index.
    pub file: String,
    /// The id in Confluent's frame.
    pub id: u32,
    /// The GUID for the header `__value_schema_id`.
    pub guid: [u8; 16],
    /// CRC-64-AVRO of the schema's parsing canonical form.
    pub fingerprint: u64,
    /// The topic of such events, which subjects of a registry are made from; ours are known without.
    pub topic: Option<String>,
}

/// What is wrong with an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It is not TOML of the form that is documented in `docs/events.md`.
    #[error("the index cannot be read: {0}")]
    Malformed(String),
    /// A schema's file holds something else than the index says.
    #[error(
        "{file} has the fingerprint {found:016x}, the index says {expected:016x}: a shipped schema never changes, add a version instead"
    )]
    Changed {
        /// The file.
        file: String,
        /// What it holds.
        found: u64,
        /// What it should hold.
        expected: u64,
    },
    /// A schema is refused.
    #[error("{file}: {error}")]
    Refused {
        /// The file.
        file: String,
        /// Why.
        error: SchemaError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    #[serde(default)]
    schema: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    event: String,
    version: u32,
    file: String,
    id: u32,
    guid: String,
    fingerprint: String,
    topic: Option<String>,
}

/// Reads an `index.toml`.
///
/// # Errors
/// It is malformed; the message names the entry.
pub fn parse_index(text: &str) -> Result<Vec<IndexEntry>, IndexError> {
    let index: Index = Figment::from(Toml::string(text))
        .extract()
        .map_err(|error| IndexError::Malformed(error.to_string()))?;
    index.schema.into_iter().map(entry).collect()
}

fn entry(row: Row) -> Result<IndexEntry, IndexError> {
    let of = |what: &str| IndexError::Malformed(format!("{} of {} v{}", what, row.event, row.version));
    let guid = guid_from_text(&row.guid).ok_or_else(|| of("the guid"))?;
    let fingerprint = u64::from_str_radix(&row.fingerprint, 16).map_err(|_| of("the fingerprint"))?;
    let Row { event, version, file, id, topic, .. } = row;
    Ok(IndexEntry { event, version, file, id, guid, fingerprint, topic })
}

/// Reads a GUID such as `6f1c0a52-…`: 32 hexadecimal digits, dashes ignored. `None` where it is none.
pub fn guid_from_text(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

impl Codec {
    /// Adds the schema of an index entry after checking it against the fingerprint that the index holds.
    ///
    /// # Errors
    /// It is not what the index says, or it is refused.
    pub fn add_entry(&self, entry: &IndexEntry, avsc: &str) -> Result<(), IndexError> {
        let refused = |error| IndexError::Refused { file: entry.file.clone(), error };
        let ready = crate::codec::writer::ready(avsc, self.limits.max_record_bytes).map_err(refused)?;
        let found = ready.writer.rabin;
        if found != entry.fingerprint {
            let (file, expected) = (entry.file.clone(), entry.fingerprint);
            return Err(IndexError::Changed { file, found, expected });
        }
        self.add_schema(Some(entry.id), Some(entry.guid), avsc).map_err(refused)
    }
}

/// Our own index, and every schema in it by its file's name.
pub(crate) const OUR_INDEX: &str = include_str!("../../schemas/index.toml");

macro_rules! shipped {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../schemas/", $file)))),*]
    };
}

/// Every writer's schema that was ever shipped.
pub(crate) const OURS: &[(&str, &str)] = shipped![
    "comment.created/v1.avsc",
    "comment.created/v2.avsc",
    "comment.removed/v1.avsc",
    "comment.updated/v1.avsc",
    "image.uploaded/v1.avsc",
    "mail.requested/v1.avsc",
    "post.published/v1.avsc",
    "post.published/v2.avsc",
    "post.removed/v1.avsc",
    "post.updated/v1.avsc",
    "user.registered/v1.avsc",
    "user.registered/v2.avsc",
    "user.removed/v1.avsc",
    "user.updated/v1.avsc",
    "webhook.requested/v1.avsc",
];

/// Adds our own schemas.
#[expect(clippy::expect_used, reason = "constants of this binary, which a test loads")]
pub(crate) fn add_ours(codec: &Codec) {
    for entry in parse_index(OUR_INDEX).expect("our index is well-formed") {
        let (_, avsc) = OURS.iter().find(|(file, _)| *file == entry.file).expect("our index names our files");
        codec.add_entry(&entry, avsc).expect("our schemas are as our index says");
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashMap;

    use super::*;
    use crate::codec::fit::Fit;
    use crate::codec::resolve::pair;
    use crate::codec::shape::MAX_SCHEMA_BYTES;
    use crate::codec::writer::{Ready, ready};

    fn shipped(file: &str) -> &'static Ready {
        let (_, avsc) = OURS.iter().find(|(known, _)| *known == file).unwrap();
        ready(avsc, MAX_SCHEMA_BYTES).unwrap()
    }

    #[test]
    fn every_schema_on_disk_is_carried_and_indexed() {
        let indexed: Vec<String> =
            parse_index(OUR_INDEX).unwrap().into_iter().map(|entry| entry.file).collect();
        let mut found = 0;
        for folder in
            std::fs::read_dir("schemas").unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir())
        {
            for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
                let name = format!("{}/{}", folder.file_name().display(), file.file_name().display());
                assert!(OURS.iter().any(|(known, _)| *known == name), "{name} is not carried");
                assert!(indexed.contains(&name), "{name} is not indexed");
                found += 1;
            }
        }
        assert_eq!((found, indexed.len()), (OURS.len(), OURS.len()));
    }

    #[test]
    fn guids_are_made_as_the_documentation_says() {
        for entry in parse_index(OUR_INDEX).unwrap() {
            let mut guid: [u8; 16] = shipped(&entry.file).writer.identity[..16].try_into().unwrap();
            guid[6] = guid[6] & 0x0f | 0x80;
            guid[8] = guid[8] & 0x3f | 0x80;
            assert_eq!(entry.guid, guid, "{}", entry.file);
        }
    }

    #[test]
    fn every_version_reads_what_every_other_version_wrote() {
        let mut versions: HashMap<String, Vec<&'static Ready>> = HashMap::new();
        for entry in parse_index(OUR_INDEX).unwrap() {
            versions.entry(entry.event).or_default().push(shipped(&entry.file));
        }
        for (event, versions) in versions {
            for (writer, reader) in
                versions.iter().flat_map(|writer| versions.iter().map(move |reader| (writer, reader)))
            {
                let fit = pair(writer, reader).fit();
                assert!(matches!(fit, Fit::Same | Fit::Convert), "{event}: {fit:?}");
            }
        }
    }

    #[test]
    fn an_index_with_a_mistake_is_refused_with_its_place() {
        for (from, to, words) in [
            ("guid = \"", "guid = \"x", "the guid of post.published v1"),
            ("fingerprint = \"", "fingerprint = \"x", "the fingerprint of post.published v1"),
            ("version = 1", "versoin = 1", "versoin"),
        ] {
            let error = parse_index(&OUR_INDEX.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
