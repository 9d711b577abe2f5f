//! The corpus of bad input as it stands in `tests/corpus`.

use std::path::Path;

use postroom::adapters::registry::load_folder;
use postroom::codec::{Codec, Limits};
use postroom::event::{RawBatchBuilder, RawHeader, RawParts, RawRecord};
use postroom_core::{Offset, Partition, Topic, TopicPartition};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) row: u32,
    pub(crate) name: String,
    pub(crate) expect: String,
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<(String, Option<String>)>,
    pub(crate) value: Option<String>,
    pub(crate) timestamp: Option<i64>,
}

impl Case {
    pub(crate) fn record(&self) -> RawRecord {
        let headers: Vec<(&str, Option<Vec<u8>>)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref().map(bytes))).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_deref())).collect();
        let (key, value) = (self.key.as_deref().map(bytes), self.value.as_deref().map(bytes));
        record(key.as_deref(), value.as_deref(), self.timestamp, &headers)
    }
}

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn cases() -> Vec<Case> {
    let manifest = std::fs::read_to_string("tests/corpus/manifest.jsonl").unwrap();
    manifest.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn codec() -> Codec {
    let codec = Codec::new(Limits::default());
    load_folder(&codec, Path::new("tests/corpus/schemas")).unwrap();
    codec
}

/// A record of partition 3 at offset 42 of `blog.posts`.
pub(crate) fn record(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    timestamp: Option<i64>,
    headers: &[(&str, Option<&[u8]>)],
) -> RawRecord {
    let mut batch = RawBatchBuilder::new(TopicPartition::new(Topic::new("blog.posts"), Partition(3)));
    let headers = headers.iter().map(|(name, value)| RawHeader { name, value: *value });
    batch.push(RawParts { offset: Offset(42), timestamp, key, value }, headers);
    batch.finish().remove(0)
}
