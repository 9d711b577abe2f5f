//! Bounded concurrency, deadlines and panic capture around the workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use postroom_core::{Class, Ended, Failure, Generation, Run, RunId, TopicPartition};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::event::RawRecord;
use crate::runtime::age;
use crate::runtime::worker::{Desk, RunFuture, RunReport, SharedClaim, Worker, panic_failure};

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) run: RunId,
    pub(crate) generation: Generation,
    pub(crate) partition: TopicPartition,
    pub(crate) report: RunReport,
    pub(crate) took: Duration,
    /// The timestamp of its first record.
    timestamp: Option<i64>,
}

impl Completion {
    /// How old its first record is now.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.timestamp.map(age::since)
    }
}

/// How a group's runs share the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Each run is a task of its own: its handler may compute for a while.
    Task,
    /// Runs that are dispatched together share a task: their handlers never block it.
    Inline,
}

/// Runs what the driver dispatches and reports back in batches.
pub(crate) struct Workers {
    worker: Arc<dyn Worker>,
    desk: Arc<Desk>,
    placement: Placement,
    reports: UnboundedSender<Vec<Completion>>,
    running: Arc<Running>,
}

/// Handles of the runs that did not end at their first poll, to cancel them by.
#[derive(Default)]
struct Running {
    handles: Mutex<HashMap<RunId, AbortHandle>>,
}

impl Workers {
    pub(crate) fn new(
        worker: Arc<dyn Worker>,
        desk: Desk,
        placement: Placement,
        reports: UnboundedSender<Vec<Completion>>,
    ) -> Self {
        Self { worker, desk: Arc::new(desk), placement, reports, running: Arc::default() }
    }

    /// Starts runs that were dispatched together.
    pub(crate) fn start(&self, runs: Vec<(Run<RawRecord>, SharedClaim)>) {
        match self.placement {
            Placement::Task => {
                for run in runs {
                    self.spawn(vec![run]);
                }
            }
            Placement::Inline => self.spawn(runs),
        }
    }

    /// Cancels a run at its next await point. Its completion, if any, is ignored by the core.
    pub(crate) fn abandon(&self, run: RunId) {
        if let Some(handle) = self.running.take(run) {
            handle.abort();
        }
    }

    fn spawn(&self, runs: Vec<(Run<RawRecord>, SharedClaim)>) {
        let worker = Arc::clone(&self.worker);
        let desk = Arc::clone(&self.desk);
        let reports = self.reports.clone();
        let running = Arc::clone(&self.running);
        tokio::spawn(async move {
            let mut ended = Vec::with_capacity(runs.len());
            let pending = FuturesUnordered::new();
            for (run, claim) in runs {
                let begun = Begun::now(&run);
                let mut future = worker.run(Arc::clone(&desk), run, claim);
                match poll_once(&mut future) {
                    Some(report) => ended.push(begun.completion(report)),
                    None => pending.push(wait(begun, future, desk.deadline, Arc::clone(&running))),
                }
            }
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
        });
    }
}

impl Running {
    fn insert(&self, run: RunId, handle: AbortHandle) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).insert(run, handle);
    }

    fn take(&self, run: RunId) -> Option<AbortHandle> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).remove(&run)
    }
}

struct Begun {
    run: RunId,
    generation: Generation,
    partition: TopicPartition,
    timestamp: Option<i64>,
    at: Instant,
}

impl Begun {
    fn now(run: &Run<RawRecord>) -> Self {
        Self {
            run: run.id,
            generation: run.generation,
            partition: run.partition.clone(),
            timestamp: run.records.first().and_then(|(_, record)| record.timestamp()),
            at: Instant::now(),
        }
    }

    fn completion(self, report: RunReport) -> Completion {
        Completion {
            run: self.run,
            generation: self.generation,
            partition: self.partition,
            report,
            took: self.at.elapsed(),
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

/// Runs one run to its end, with its deadline and its panics caught.
pub(crate) async fn run_to_end(
    worker: &dyn Worker,
    desk: Arc<Desk>,
    run: Run<RawRecord>,
    claim: SharedClaim,
) -> RunReport {
    let deadline = desk.deadline;
    bounded(deadline, worker.run(desk, run, claim)).await
}

/// Waits for a run until its deadline; `None` when it was abandoned.
async fn wait(
    begun: Begun,
    future: RunFuture,
    deadline: Duration,
    running: Arc<Running>,
) -> Option<Completion> {
    let (handle, registration) = AbortHandle::new_pair();
    running.insert(begun.run, handle);
    let ended = Abortable::new(bounded(deadline, future), registration).await;
    let _ = running.take(begun.run);
    ended.ok().map(|report| begun.completion(report))
}

async fn bounded(deadline: Duration, future: RunFuture) -> RunReport {
    let guarded = std::panic::AssertUnwindSafe(future).catch_unwind();
    match tokio::time::timeout(deadline, guarded).await {
        Ok(Ok(report)) => report,
        Ok(Err(panic)) => RunReport::failed(panic_failure(&*panic)),
        Err(_elapsed) => RunReport::failed(Failure::new(
            Class::Transient { retry_after: None, ended: Ended::ByDeadline },
            "deadline",
            format!("the handler did not end within {deadline:?}"),
        )),
    }
}
