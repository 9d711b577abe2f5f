//! Looks at dead-letter topics again and again, each time at what is new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dead_letters::collection::Collection;
use crate::kafka::{Admin, Connection, ReadTo, scan_on};
use crate::ports::EdgeError;

/// Returns the topics that are called as the template says: what stands before its first `{` is their start.
/// Must be called within a tokio runtime.
///
/// # Errors
/// Says why the cluster did not answer.
pub async fn topics(connection: &Connection, template: &str) -> Result<Vec<String>, EdgeError> {
    let start = template.split('{').next().unwrap_or_default();
    let all = Admin::connect(connection)?.topics().await?;
    Ok(all.into_iter().map(|topic| topic.name).filter(|name| name.starts_with(start)).collect())
}

/// What was seen of all dead-letter topics of a cluster.
pub struct Watch {
    connection: Connection,
    template: String,
    collection: Arc<Collection>,
    read_to: ReadTo,
}

impl Watch {
    /// Watches the topics that the template names.
    pub fn new(connection: Connection, template: String) -> Self {
        Self { connection, template, collection: Arc::default(), read_to: ReadTo::default() }
    }

    /// Reads what is new, until `stop` says so. Of more than 20,000 dead letters it keeps the first, and
    /// reads no further. Must be called within a tokio runtime that may block.
    ///
    /// # Errors
    /// Says why the cluster did not answer; what was seen before stands.
    pub async fn look(&mut self, stop: &Arc<AtomicBool>) -> Result<(), EdgeError> {
        let topics = topics(&self.connection, &self.template).await?;
        let Self { connection, collection, read_to, .. } = self;
        scan_on(connection, &topics, read_to, &mut |record| {
            // Whoever holds what was seen before keeps it.
            let collection = Arc::make_mut(collection);
            collection.add(record);
            collection.len() < MOST_LETTERS && !stop.load(Ordering::Relaxed)
        })
    }

    /// Returns what was seen.
    pub fn collection(&self) -> Arc<Collection> {
        Arc::clone(&self.collection)
    }

    /// Says whether there are more dead letters than are kept.
    pub fn is_full(&self) -> bool {
        self.collection.len() >= MOST_LETTERS
    }
}

/// How many dead letters are kept: some 20 MB.
const MOST_LETTERS: usize = 20_000;
