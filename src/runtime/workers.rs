//! Tasks, cancelling and panic capture around the workers.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use postroom_core::{Attempt, Generation, Run, RunId, TopicPartition};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::event::RawRecord;
use crate::runtime::age::WallClock;
use crate::runtime::worker::{Desk, RunFuture, RunReport, SharedClaim, Worker, panic_failure};
use crate::telemetry::Journal;

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) run: RunId,
    pub(crate) generation: Generation,
    pub(crate) partition: TopicPartition,
    pub(crate) report: RunReport,
    pub(crate) took: Duration,
    pub(crate) records: usize,
    /// Which attempt it was for its first record.
    pub(crate) attempt: Attempt,
    /// The first of its records, as many as the journal takes.
    pub(crate) noted: Vec<RawRecord>,
    /// The timestamp of its first record.
    timestamp: Option<i64>,
}

impl Completion {
    /// How old its first record is now.
    pub(crate) fn age(&self, clock: WallClock) -> Option<Duration> {
        self.timestamp.map(|timestamp| clock.since(timestamp))
    }
}

/// How a group's runs share the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Each run is a task of its own on the handlers' threads: it may compute for a while.
    Task,
    /// Runs that are dispatched together share a task beside the driver: their handlers never block it.
    Inline,
}

/// Runs what the driver dispatches and reports back in batches.
pub(crate) struct Workers {
    worker: Arc<dyn Worker>,
    desk: Arc<Desk>,
    placement: Placement,
    threads: Handle,
    reports: UnboundedSender<Vec<Completion>>,
    running: Arc<Running>,
}

/// The runs that can be cancelled.
#[derive(Default)]
struct Running {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Handles of the runs that did not end at their first poll.
    handles: HashMap<RunId, AbortHandle>,
    /// Runs that were abandoned, until they notice or their completions are dropped.
    abandoned: HashSet<RunId>,
    /// Nobody takes completions any more.
    closed: bool,
}

impl Workers {
    pub(crate) fn new(
        worker: Arc<dyn Worker>,
        desk: Arc<Desk>,
        placement: Placement,
        threads: Handle,
        reports: UnboundedSender<Vec<Completion>>,
    ) -> Self {
        Self { worker, desk, placement, threads, reports, running: Arc::default() }
    }

    /// Starts runs that were dispatched together.
    pub(crate) fn start(&self, runs: Vec<(Run<RawRecord>, SharedClaim)>) {
        match self.placement {
            Placement::Task => {
                for run in runs {
                    drop(self.threads.spawn(self.together(vec![run])));
                }
            }
            Placement::Inline => drop(tokio::spawn(self.together(runs))),
        }
    }

    /// Cancels a run at its next await point, or before it begins.
    pub(crate) fn abandon(&self, run: RunId) {
        let mut known = self.running.lock();
        known.abandoned.insert(run);
        if let Some(handle) = known.handles.remove(&run) {
            handle.abort();
        }
    }

    /// Drops the completions of runs that were abandoned meanwhile: they count for nothing.
    pub(crate) fn standing(&self, mut completions: Vec<Completion>) -> Vec<Completion> {
        let mut known = self.running.lock();
        if !known.abandoned.is_empty() {
            completions.retain(|completion| !known.abandoned.remove(&completion.run));
        }
        completions
    }

    /// Returns how many runs are remembered to be cancelled, and how many as abandoned.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> (usize, usize) {
        let known = self.running.lock();
        (known.handles.len(), known.abandoned.len())
    }

    /// Runs some in one task.
    fn together(
        &self,
        runs: Vec<(Run<RawRecord>, SharedClaim)>,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        let worker = Arc::clone(&self.worker);
        let desk = Arc::clone(&self.desk);
        let reports = self.reports.clone();
        let running = Arc::clone(&self.running);
        async move {
            let mut ended = Vec::with_capacity(runs.len());
            let pending = FuturesUnordered::new();
            // The end of one run is the beginning of the next: one look at the clock serves both.
            let mut now = Instant::now();
            let mut passed_over = 0;
            for (run, claim) in runs {
                let begun = Begun::at(now, &run, &desk.journal);
                passed_over += begun.records.saturating_sub(begun.noted.len());
                let mut future = worker.run(Arc::clone(&desk), run, claim);
                let report = poll_once(&mut future);
                now = Instant::now();
                match report {
                    Some(report) => ended.push(begun.completion(now, report)),
                    None => pending.push(wait(begun, future, Arc::clone(&running))),
                }
            }
            desk.journal.pass_over(passed_over);
            if !ended.is_empty() && reports.send(ended).is_err() {
                return;
            }
            let mut batches = pending.ready_chunks(64);
            while let Some(ended) = batches.next().await {
                let ended: Vec<_> = ended.into_iter().flatten().collect();
                if reports.send(ended).is_err() {
                    return;
                }
            }
        }
    }
}

impl Drop for Workers {
    /// Cancels what still runs: whoever drives next repeats it.
    fn drop(&mut self) {
        let mut known = self.running.lock();
        known.closed = true;
        known.handles.drain().for_each(|(_, handle)| handle.abort());
    }
}

impl Running {
    /// Remembers a run by its handle; one that was abandoned before is cancelled at once.
    fn began(&self, run: RunId, handle: AbortHandle) {
        let mut known = self.lock();
        if known.closed || known.abandoned.contains(&run) {
            handle.abort();
        } else {
            known.handles.insert(run, handle);
        }
    }

    /// Forgets a run; the completion of one that was not cancelled is still to come.
    fn ended(&self, run: RunId, cancelled: bool) {
        let mut known = self.lock();
        known.handles.remove(&run);
        if cancelled {
            known.abandoned.remove(&run);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Begun {
    run: RunId,
    generation: Generation,
    partition: TopicPartition,
    timestamp: Option<i64>,
    records: usize,
    attempt: Attempt,
    noted: Vec<RawRecord>,
    at: Instant,
}

impl Begun {
    fn at(now: Instant, run: &Run<RawRecord>, journal: &Journal) -> Self {
        let admitted = journal.admits(run.records.len(), now.into_std());
        Self {
            run: run.id,
            generation: run.generation,
            partition: run.partition.clone(),
            timestamp: run.records.first().and_then(|(_, record)| record.timestamp()),
            records: run.records.len(),
            attempt: run.attempt,
            noted: run.records.iter().take(admitted).map(|(_, record)| record.clone()).collect(),
            at: now,
        }
    }

    fn completion(self, now: Instant, report: RunReport) -> Completion {
        Completion {
            run: self.run,
            generation: self.generation,
            partition: self.partition,
            report,
            took: now.saturating_duration_since(self.at),
            records: self.records,
            attempt: self.attempt,
            noted: self.noted,
            timestamp: self.timestamp,
        }
    }
}

/// Polls a run without waiting: most handlers that compute only end here.
fn poll_once(future: &mut RunFuture) -> Option<RunReport> {
    match std::panic::AssertUnwindSafe(future).catch_unwind().now_or_never() {
        Some(Ok(report)) => Some(report),
        Some(Err(panic)) => Some(RunReport::failed(panic_failure(&*panic))),
        None => None,
    }
}

/// Runs one run to its end, with its panics caught.
pub(crate) async fn run_to_end(
    worker: &dyn Worker,
    desk: Arc<Desk>,
    run: Run<RawRecord>,
    claim: SharedClaim,
) -> RunReport {
    caught(worker.run(desk, run, claim)).await
}

/// Waits for a run; `None` when it was abandoned.
async fn wait(begun: Begun, future: RunFuture, running: Arc<Running>) -> Option<Completion> {
    let (handle, registration) = AbortHandle::new_pair();
    running.began(begun.run, handle);
    let ended = Abortable::new(caught(future), registration).await;
    running.ended(begun.run, ended.is_err());
    ended.ok().map(|report| begun.completion(Instant::now(), report))
}

async fn caught(future: RunFuture) -> RunReport {
    let caught = std::panic::AssertUnwindSafe(future).catch_unwind().await;
    caught.unwrap_or_else(|panic| RunReport::failed(panic_failure(&*panic)))
}
