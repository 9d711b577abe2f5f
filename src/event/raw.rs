//! Records as they were polled: bytes in one buffer a batch, shared by cheap handles.

use std::sync::Arc;

use postroom_core::{Offset, TopicPartition};

/// Records of one partition, copied out of the client into one buffer.
#[derive(Debug)]
pub(crate) struct RawBatch {
    partition: TopicPartition,
    bytes: Vec<u8>,
    records: Vec<Entry>,
    headers: Vec<HeaderEntry>,
}

/// One record of a batch. Cloning is cheap; a clone keeps its whole batch in memory.
#[derive(Clone, Debug)]
pub struct RawRecord {
    batch: Arc<RawBatch>,
    index: u32,
}

/// A record header: names may repeat, values may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawHeader<'a> {
    /// The name.
    pub name: &'a str,
    /// The value; `None` is null, which is not the empty value.
    pub value: Option<&'a [u8]>,
}

/// What a record carries beside its headers, for [`RawBatchBuilder::push`].
#[derive(Clone, Copy, Debug)]
pub struct RawParts<'a> {
    /// Where it stands in its partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch, as the record says; `None` where it says nothing.
    pub timestamp: Option<i64>,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

impl RawRecord {
    /// Returns the partition it was read from.
    pub fn partition(&self) -> &TopicPartition {
        &self.batch.partition
    }

    /// Returns its offset.
    pub fn offset(&self) -> Offset {
        self.entry().offset
    }

    /// Returns its timestamp in milliseconds since the Unix epoch, unchecked.
    pub fn timestamp(&self) -> Option<i64> {
        self.entry().timestamp
    }

    /// Returns its key; `None` is null.
    pub fn key(&self) -> Option<&[u8]> {
        self.batch.slice(self.entry().key)
    }

    /// Returns its value; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.batch.slice(self.entry().value)
    }

    /// Returns its headers in their order, duplicates included.
    pub fn headers(&self) -> impl Iterator<Item = RawHeader<'_>> {
        let entry = self.entry();
        let entries = self.batch.headers.get(entry.headers_from..entry.headers_to).unwrap_or_default();
        entries.iter().map(|header| RawHeader {
            name: self
                .batch
                .slice(Some(header.name))
                .and_then(|name| std::str::from_utf8(name).ok())
                .unwrap_or_default(),
            value: self.batch.slice(header.value),
        })
    }

    /// Returns the value of the last header of that name which is not null.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().filter(|header| header.name == name).filter_map(|header| header.value).last()
    }

    /// Returns what it weighs in memory: key, value and headers, in bytes.
    pub fn size(&self) -> usize {
        let entry = self.entry();
        entry.bytes_to.saturating_sub(entry.bytes_from)
    }

    /// Returns a handle to a copy of its own, so that the rest of its batch can be freed.
    #[must_use]
    pub fn detached(&self) -> Self {
        let mut builder = RawBatchBuilder::new(self.partition().clone());
        let parts = RawParts {
            offset: self.offset(),
            timestamp: self.timestamp(),
            key: self.key(),
            value: self.value(),
        };
        builder.push(parts, self.headers());
        let batch = Arc::new(builder.batch);
        Self { batch, index: 0 }
    }

    fn entry(&self) -> &Entry {
        static NONE: Entry = Entry {
            offset: Offset(-1),
            timestamp: None,
            key: None,
            value: None,
            headers_from: 0,
            headers_to: 0,
            bytes_from: 0,
            bytes_to: 0,
        };
        let index = usize::try_from(self.index).unwrap_or(usize::MAX);
        self.batch.records.get(index).unwrap_or(&NONE)
    }
}

/// Collects records of one partition into a batch.
#[derive(Debug)]
pub struct RawBatchBuilder {
    batch: RawBatch,
}

impl RawBatchBuilder {
    /// Starts a batch.
    pub fn new(partition: TopicPartition) -> Self {
        let batch = RawBatch { partition, bytes: Vec::new(), records: Vec::new(), headers: Vec::new() };
        Self { batch }
    }

    /// Starts a batch with room for so many records and bytes.
    pub fn with_capacity(partition: TopicPartition, records: usize, bytes: usize) -> Self {
        let batch = RawBatch {
            partition,
            bytes: Vec::with_capacity(bytes),
            records: Vec::with_capacity(records),
            headers: Vec::new(),
        };
        Self { batch }
    }

    /// Copies a record in.
    pub fn push<'a>(&mut self, parts: RawParts<'_>, headers: impl Iterator<Item = RawHeader<'a>>) {
        let bytes_from = self.batch.bytes.len();
        let headers_from = self.batch.headers.len();
        let key = parts.key.map(|key| self.copy(key));
        let value = parts.value.map(|value| self.copy(value));
        for header in headers {
            let name = self.copy(header.name.as_bytes());
            let value = header.value.map(|value| self.copy(value));
            self.batch.headers.push(HeaderEntry { name, value });
        }
        self.batch.records.push(Entry {
            offset: parts.offset,
            timestamp: parts.timestamp,
            key,
            value,
            headers_from,
            headers_to: self.batch.headers.len(),
            bytes_from,
            bytes_to: self.batch.bytes.len(),
        });
    }

    /// Returns how many bytes were copied so far.
    pub fn bytes(&self) -> usize {
        self.batch.bytes.len()
    }

    /// Returns how many records were copied so far.
    pub fn len(&self) -> usize {
        self.batch.records.len()
    }

    /// Says whether nothing was copied yet.
    pub fn is_empty(&self) -> bool {
        self.batch.records.is_empty()
    }

    /// Ends the batch: one handle a record, in their order.
    pub fn finish(self) -> Vec<RawRecord> {
        let batch = Arc::new(self.batch);
        let count = u32::try_from(batch.records.len()).unwrap_or(u32::MAX);
        (0..count).map(|index| RawRecord { batch: Arc::clone(&batch), index }).collect()
    }

    fn copy(&mut self, bytes: &[u8]) -> Span {
        let from = self.batch.bytes.len();
        self.batch.bytes.extend_from_slice(bytes);
        Span { from, to: self.batch.bytes.len() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Span {
    from: usize,
    to: usize,
}

#[derive(Debug)]
struct Entry {
    offset: Offset,
    timestamp: Option<i64>,
    key: Option<Span>,
    value: Option<Span>,
    headers_from: usize,
    headers_to: usize,
    bytes_from: usize,
    bytes_to: usize,
}

#[derive(Debug)]
struct HeaderEntry {
    name: Span,
    value: Option<Span>,
}

impl RawBatch {
    fn slice(&self, span: Option<Span>) -> Option<&[u8]> {
        let span = span?;
        self.bytes.get(span.from..span.to)
    }
}
