//! Dead letters: what failed for good, listed, grouped by cause, inspected and replayed.
//!
//! A dead letter is open until a marker record says otherwise: a record of the same dead-letter topic and
//! partition with the letter's id, a state and no value. A replay that fails again writes a letter with the
//! same id and a higher count of replays behind the marker, which opens it again: copies of an id collapse
//! into the newest.

mod cause;
mod collection;
mod dialect;
mod entry;
mod replay;
mod show;
mod watch;

pub use cause::Cause;
pub use collection::{CauseError, Collection, Selection};
pub use dialect::Dialect;
pub use entry::{Entry, Origin, Place, State};
pub use replay::{Discard, Replay, ReplayReport, discard, replay};
pub use show::render;
pub use watch::{Watch, topics};

use postroom_core::{Offset, Partition, Topic, TopicPartition};

use crate::event::RawRecord;
use crate::kafka::{Connection, read_at, scan};
use crate::ports::EdgeError;

/// Reads dead-letter topics and collapses what they hold by id. Topics that are not there are left out.
/// Must be called within a tokio runtime.
///
/// # Errors
/// Says why the cluster did not answer.
pub async fn collect(connection: &Connection, topics: &[String]) -> Result<Collection, EdgeError> {
    let connection = connection.clone();
    let topics = topics.to_vec();
    let scanned = tokio::task::spawn_blocking(move || {
        let mut collection = Collection::default();
        scan(&connection, &topics, |record| {
            collection.add(record);
            true
        })
        .map(|()| collection)
    });
    scanned.await.unwrap_or_else(|error| Err(EdgeError::Client(error.to_string())))
}

/// Reads the record of a dead letter; `None` where it is gone.
///
/// # Errors
/// Says why the cluster did not answer.
pub async fn read(connection: &Connection, place: &Place) -> Result<Option<RawRecord>, EdgeError> {
    let connection = connection.clone();
    let partition = TopicPartition::new(Topic::new(&place.topic), Partition(place.partition));
    let offset = Offset(place.offset);
    let read = tokio::task::spawn_blocking(move || read_at(&connection, &partition, offset));
    read.await.unwrap_or_else(|error| Err(EdgeError::Client(error.to_string())))
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::event::RawRecord;

    /// The letter of a delivery of that id.
    pub(crate) fn letter(id: &str) -> RawRecord {
        let headers: &[(&str, Option<&[u8]>)] = &[
            ("ce_id", Some(id.as_bytes())),
            ("postroom-dlq-id", Some(b"postroom.webhooks/blog.webhooks/1/9")),
            ("postroom-dlq-group", Some(b"postroom.webhooks")),
            ("postroom-dlq-topic", Some(b"blog.webhooks")),
            ("postroom-dlq-partition", Some(b"1")),
            ("postroom-dlq-offset", Some(b"9")),
        ];
        super::entry::tests::record(headers, 5)
    }
}
