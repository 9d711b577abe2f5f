//! Sends dead letters to their group again, or marks them as needing nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use postroom_core::Partition;
use tokio::sync::mpsc;

use crate::dead_letters::collection::{Collection, Selection};
use crate::dead_letters::entry::{DISCARDED, Entry, Place, REPLAYED, State};
use crate::event::RawRecord;
use crate::kafka::{
    Connection, PREFIX, Producer, Publication, PublishError, REPLAY_OF, REPLAY_PREFIX, retry_topic, scan,
};
use crate::ports::EdgeError;

/// What is to be replayed, and how.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Which dead letters.
    pub selection: Selection,
    /// Who replays.
    pub by: String,
    /// Those that were replayed or discarded too.
    pub force: bool,
    /// Only says what would be done.
    pub dry_run: bool,
    /// How many a second at most; `None`: as fast as it goes.
    pub rate: Option<u32>,
}

/// What a replay has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// The ids that were sent (or would be), in the order of their topics.
    pub sent: Vec<String>,
    /// Those that were left alone, and why.
    pub refused: Vec<(String, String)>,
}

/// Sends the selected dead letters to `retry.<group>` of the group that gave them up, each with its origin,
/// and marks them as replayed after all replicas have them. A crash between the two leaves letters open that
/// were sent: sending them again does no harm, because their group applies an id once.
///
/// `progress` is told how many were sent, after each chunk.
///
/// # Errors
/// Says why the cluster did not take them; what was marked until then stays replayed.
pub async fn replay(
    connection: &Connection,
    producer: &Producer,
    topics: &[String],
    order: &Replay,
    mut progress: impl FnMut(usize),
) -> Result<ReplayReport, EdgeError> {
    let collection = super::collect(connection, topics).await?;
    let mut report = ReplayReport::default();
    let chosen = choose(&collection, order, &mut report);
    if order.dry_run {
        report.sent = chosen.values().map(|entry| entry.id.clone()).collect();
        return Ok(report);
    }
    let mut letters = read_chosen(connection, &chosen);
    let mut chunk = Vec::new();
    let size = order.rate.map_or(CHUNK, |rate| usize::try_from(rate.max(1)).unwrap_or(CHUNK).min(CHUNK));
    loop {
        let letter = letters.records.recv().await;
        let ended = letter.is_none();
        chunk.extend(letter);
        if chunk.len() >= size || (ended && !chunk.is_empty()) {
            let begun = tokio::time::Instant::now();
            send_chunk(producer, &chosen, &chunk, order, &mut report).await?;
            progress(report.sent.len());
            pace(begun, chunk.len(), order.rate).await;
            chunk.clear();
        }
        if ended {
            break;
        }
    }
    letters.result.await.unwrap_or_else(|error| Err(EdgeError::Client(error.to_string())))?;
    Ok(report)
}

/// What is to be discarded.
#[derive(Clone, Debug, Default)]
pub struct Discard {
    /// Which dead letters.
    pub selection: Selection,
    /// Who discards.
    pub by: String,
    /// Why, for those who look later; may be empty.
    pub why: String,
}

/// Marks the selected dead letters as needing nothing, and returns their ids. The letters themselves stay as long as their
/// topic keeps them; one that fails again after a replay is open again.
///
/// # Errors
/// Says why the cluster did not take the markers; those before it are marked.
pub async fn discard(
    connection: &Connection,
    producer: &Producer,
    topics: &[String],
    order: &Discard,
) -> Result<Vec<String>, EdgeError> {
    let collection = super::collect(connection, topics).await?;
    let entries = collection.select(&order.selection);
    for chunk in entries.chunks(CHUNK) {
        mark(producer, chunk, DISCARDED, &order.by, &order.why).await?;
    }
    Ok(entries.into_iter().map(|entry| entry.id.clone()).collect())
}

fn choose(collection: &Collection, order: &Replay, report: &mut ReplayReport) -> BTreeMap<Place, Entry> {
    let everything = Selection { done_too: true, ..order.selection.clone() };
    let mut chosen = BTreeMap::new();
    for entry in collection.select(&everything) {
        let refusal = match &entry.state {
            State::Replayed { at, by } if !order.force => {
                Some(format!("it was replayed {at} by {by}; --force sends it again"))
            }
            State::Discarded { at, by, .. } if !order.force => {
                Some(format!("it was discarded {at} by {by}; --force sends it all the same"))
            }
            State::Open | State::Replayed { .. } | State::Discarded { .. } => {
                if entry.by_reference && entry.origin.offset < 0 {
                    Some("it was too large to be published: it stands in the outbox only".to_owned())
                } else if entry.by_reference {
                    Some(
                        "its value was too large to be copied: it stands in the source topic only".to_owned(),
                    )
                } else if entry.group.is_empty() {
                    Some("its headers name no consumer group".to_owned())
                } else {
                    None
                }
            }
        };
        match refusal {
            Some(refusal) => report.refused.push((entry.id.clone(), refusal)),
            None => {
                chosen.insert(entry.place.clone(), entry.clone());
            }
        }
    }
    chosen
}

struct Letters {
    records: mpsc::Receiver<RawRecord>,
    result: tokio::task::JoinHandle<Result<(), EdgeError>>,
}

/// Reads the chosen records once more: only so many are in memory at a time.
fn read_chosen(connection: &Connection, chosen: &BTreeMap<Place, Entry>) -> Letters {
    let (sender, records) = mpsc::channel(CHUNK);
    let connection = connection.clone();
    let topics: BTreeSet<String> = chosen.keys().map(|place| place.topic.clone()).collect();
    let topics: Vec<String> = topics.into_iter().collect();
    let places: BTreeSet<Place> = chosen.keys().cloned().collect();
    let result = tokio::task::spawn_blocking(move || {
        scan(&connection, &topics, |record| {
            !places.contains(&place_of(record)) || sender.blocking_send(record.detached()).is_ok()
        })
    });
    Letters { records, result }
}

fn place_of(record: &RawRecord) -> Place {
    Place {
        topic: record.partition().topic.as_str().to_owned(),
        partition: record.partition().partition.0,
        offset: record.offset().0,
    }
}

async fn send_chunk(
    producer: &Producer,
    chosen: &BTreeMap<Place, Entry>,
    chunk: &[RawRecord],
    order: &Replay,
    report: &mut ReplayReport,
) -> Result<(), EdgeError> {
    let mut sent = Vec::new();
    for record in chunk {
        let Some(entry) = chosen.get(&place_of(record)) else { continue };
        let topic = retry_topic(&entry.group);
        let count = producer.partitions(&topic).await?;
        let Some(partition) = entry.origin.partition.checked_rem(count) else {
            return Err(missing(&topic));
        };
        let ours = replay_headers(entry, &order.by);
        let kept = record.headers().filter(|header| !is_ours(header.name));
        let mut headers: Vec<(&str, Option<&[u8]>)> =
            kept.map(|header| (header.name, header.value)).collect();
        headers.extend(ours.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))));
        let publication = Publication {
            topic: &topic,
            partition: Some(Partition(partition)),
            key: record.key(),
            value: record.value(),
            headers: &headers,
            timestamp: entry.origin.timestamp.or_else(|| record.timestamp()),
        };
        let delivery = producer.enqueue(publication).await.map_err(|error| refused(&topic, error))?;
        sent.push((entry, topic, delivery));
    }
    let mut delivered = Vec::new();
    let mut failure = None;
    for (entry, topic, delivery) in sent {
        match delivery.await {
            Ok(_) => delivered.push(entry),
            Err(error) => failure = Some(refused(&topic, error)),
        }
    }
    mark(producer, &delivered, REPLAYED, &order.by, "").await?;
    report.sent.extend(delivered.iter().map(|entry| entry.id.clone()));
    failure.map_or(Ok(()), Err)
}

/// What a replay carries: its origin, so that a letter which fails again keeps its id, and who sent it.
fn replay_headers(entry: &Entry, by: &str) -> Vec<(String, String)> {
    let own = |name: &str, value: String| (format!("{PREFIX}{name}"), value);
    let mut headers = vec![
        own("id", entry.id.clone()),
        own("topic", entry.origin.topic.clone()),
        own("partition", entry.origin.partition.to_string()),
        own("offset", entry.origin.offset.to_string()),
        own("replays", entry.replays.saturating_add(1).to_string()),
    ];
    headers.extend(entry.origin.timestamp.map(|timestamp| own("timestamp", timestamp.to_string())));
    headers.extend(entry.first_failed_at.clone().map(|at| own("first-failed-at", at)));
    headers.push((REPLAY_OF.to_owned(), entry.id.clone()));
    headers.push((format!("{REPLAY_PREFIX}at"), format!("{:.3}", Timestamp::now())));
    headers.push((format!("{REPLAY_PREFIX}by"), by.to_owned()));
    headers
}

/// Writes a marker for each entry behind it, into its own partition.
async fn mark(
    producer: &Producer,
    entries: &[&Entry],
    state: &str,
    by: &str,
    why: &str,
) -> Result<(), EdgeError> {
    let at = Timestamp::now();
    let mut deliveries = Vec::new();
    for entry in entries {
        let replays = if state == REPLAYED { entry.replays.saturating_add(1) } else { entry.replays };
        let headers = [
            ("id", entry.id.clone()),
            ("state", state.to_owned()),
            ("state-at", at.to_string()),
            ("state-by", by.to_owned()),
            ("replays", replays.to_string()),
        ];
        let said = (!why.is_empty()).then(|| ("state-why", why.to_owned()));
        let headers: Vec<(String, String)> =
            headers.into_iter().chain(said).map(|(name, value)| (format!("{PREFIX}{name}"), value)).collect();
        let headers: Vec<(&str, Option<&[u8]>)> =
            headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))).collect();
        let publication = Publication {
            topic: &entry.place.topic,
            partition: Some(Partition(entry.place.partition)),
            key: None,
            value: None,
            headers: &headers,
            timestamp: None,
        };
        let delivery = producer.enqueue(publication).await;
        deliveries.push(delivery.map_err(|error| refused(&entry.place.topic, error))?);
    }
    for delivery in deliveries {
        delivery.await.map_err(of_delivery)?;
    }
    Ok(())
}

async fn pace(begun: tokio::time::Instant, count: usize, rate: Option<u32>) {
    if let Some(rate) = rate {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        tokio::time::sleep_until(begun + Duration::from_secs(1) * count / rate.max(1)).await;
    }
}

fn refused(topic: &str, error: PublishError) -> EdgeError {
    if matches!(error, PublishError::NoSuchTopic(_)) { missing(topic) } else { of_delivery(error) }
}

fn of_delivery(error: PublishError) -> EdgeError {
    match error {
        PublishError::NotAuthorised { lacking, .. } => EdgeError::NotAuthorised(lacking),
        PublishError::NoSuchTopic(topic) => missing(&topic),
        error @ (PublishError::TooLarge(_)
        | PublishError::Refused(_)
        | PublishError::TimedOut(_)
        | PublishError::Failed { .. }) => EdgeError::Client(error.to_string()),
    }
}

fn missing(topic: &str) -> EdgeError {
    EdgeError::NoSuchTopic { topic: topic.to_owned(), fix: "postroom topics apply creates it".to_owned() }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || name.starts_with(REPLAY_PREFIX)
}

/// How many are sent before their markers are.
const CHUNK: usize = 256;
