//! What stands open in the dead-letter topics of a process's groups, and how long topics keep their records: looked up now and
//! then, for the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::kafka::{Admin, Connection, Open, OpenLetters};
use crate::ports::EdgeError;
use crate::runtime::service::Broker;
use crate::telemetry::{GroupMetrics, GroupShape};

/// Looks topics up beside the groups. Dropped, it stops.
pub(crate) struct Kept {
    connection: Connection,
    broker: Broker,
    groups: Vec<Watched>,
    stop: Arc<AtomicBool>,
    /// Held during a look.
    letters: Arc<Mutex<Option<OpenLetters>>>,
}

/// What is looked up for one group.
#[derive(Clone)]
struct Watched {
    metrics: Arc<GroupMetrics>,
    topics: Vec<String>,
    letters: Vec<String>,
}

impl Kept {
    pub(crate) fn new(connection: Connection, broker: Broker) -> Self {
        Self { connection, broker, groups: Vec::new(), stop: Arc::default(), letters: Arc::default() }
    }

    /// Adds a group.
    pub(crate) fn watch(&mut self, metrics: Arc<GroupMetrics>, shape: &GroupShape) {
        let topics = shape.topics.iter().map(|topic| topic.topic.clone()).collect();
        let letters = shape.dead_letters.iter().map(|(_, letters)| letters.clone()).collect();
        self.groups.push(Watched { metrics, topics, letters });
    }

    /// Returns what looks until it is dropped.
    pub(crate) fn looking(&self) -> impl Future<Output = Result<(), Infallible>> + Send + use<> {
        let (connection, groups) = (self.connection.clone(), self.groups.clone());
        let (stop, letters) = (Arc::clone(&self.stop), Arc::clone(&self.letters));
        // The embedded broker has no admin API, and keeps what it can.
        let describes = self.broker == Broker::Cluster;
        async move {
            let mut told = Told::default();
            let mut described: Option<Instant> = None;
            loop {
                told.once(open(&connection, &groups, &stop, &letters).await);
                if describes && described.is_none_or(|at| at.elapsed() >= DESCRIBE_INTERVAL) {
                    let answer = describe(&connection, &groups).await;
                    // A cluster that is away is asked again soon.
                    let answered = !matches!(answer, Err(EdgeError::Unreachable(_)));
                    described = answered.then(Instant::now);
                    told.once(answer);
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }

    /// Stops, and waits for a look at the embedded broker to end: its clients must be gone before it is. A look at a
    /// cluster that does not answer must not hold up the end of the process.
    pub(crate) async fn closed(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.broker == Broker::Embedded {
            let letters = Arc::clone(&self.letters);
            let wait = move || drop(letters.lock().unwrap_or_else(PoisonError::into_inner));
            tokio::task::spawn_blocking(wait).await.unwrap_or_default();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Looks at the dead-letter topics.
async fn open(
    connection: &Connection,
    groups: &[Watched],
    stop: &Arc<AtomicBool>,
    letters: &Arc<Mutex<Option<OpenLetters>>>,
) -> Result<(), EdgeError> {
    let (stop, letters, connection) = (Arc::clone(stop), Arc::clone(letters), connection.clone());
    let topics: BTreeSet<_> = groups.iter().flat_map(|group| group.letters.iter().cloned()).collect();
    let look = move || {
        let mut held = letters.lock().unwrap_or_else(PoisonError::into_inner);
        if stop.load(Ordering::Relaxed) {
            return Ok(BTreeMap::new());
        }
        held.get_or_insert_with(|| OpenLetters::new(connection, topics.into_iter().collect())).look(&stop)
    };
    let looked = tokio::task::spawn_blocking(look).await;
    let found = looked.unwrap_or_else(|error| Err(EdgeError::Client(error.to_string())))?;
    for group in groups {
        for name in &group.letters {
            if let Some(Open { letters, oldest }) = found.get(name) {
                group.metrics.letters().open(name, *letters, *oldest);
            }
        }
    }
    Ok(())
}

/// Asks how long topics keep records.
async fn describe(connection: &Connection, groups: &[Watched]) -> Result<(), EdgeError> {
    let topics: BTreeSet<_> =
        groups.iter().flat_map(|group| group.topics.iter().chain(&group.letters).cloned()).collect();
    let topics: Vec<_> = topics.into_iter().collect();
    let kept = Admin::connect(connection)?.retention(&topics).await?;
    for group in groups {
        for name in group.topics.iter().chain(&group.letters) {
            group.metrics.letters().kept(name, kept.get(name).copied().flatten());
        }
    }
    let untold = topics.iter().filter(|name| !kept.contains_key(*name)).cloned().collect::<Vec<_>>();
    if untold.is_empty() {
        return Ok(());
    }
    Err(EdgeError::NotAuthorised(format!("the settings of {} are not told", untold.join(", "))))
}

/// What was logged.
#[derive(Default)]
struct Told(BTreeSet<String>);

impl Told {
    /// Logs a failure the first time: that a metric is missing harms no event.
    fn once(&mut self, looked: Result<(), EdgeError>) {
        if let Err(error) = looked
            && self.0.len() < MOST_TOLD
            && self.0.insert(error.to_string())
        {
            tracing::debug!(%error, "a look at topics failed: some metrics of them are missing or old");
        }
    }
}

/// How often dead-letter topics are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// How often the settings of topics are asked for.
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(120);
/// How many different failures are logged.
const MOST_TOLD: usize = 20;
