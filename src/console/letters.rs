//! The dead letters, looked up in the background while somebody looks at the page.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::console::events::link;
use crate::console::text::masked;
use crate::dead_letters::{Cause, Collection, Entry, Selection, Watch};
use crate::kafka::Connection;
use crate::telemetry::RecordPlace;

/// Looks at the dead-letter topics from a thread of its own, as long as it is asked for what it saw.
pub(crate) struct Letters {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    asked: Option<Instant>,
    seen: Seen,
}

/// What was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Seen {
    /// Whether anything was seen yet.
    pub(crate) ever: bool,
    /// Why the last look saw nothing.
    pub(crate) failed: Option<String>,
    /// Open letters.
    pub(crate) open: usize,
    /// Whether there are more than were read.
    pub(crate) more: bool,
    /// By cause, the most frequent first.
    pub(crate) causes: Vec<CauseView>,
    /// All open letters of the causes that are shown, for the stories.
    #[serde(skip)]
    pub(crate) collection: Arc<Collection>,
}

/// Dead letters of one cause.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CauseView {
    key: String,
    /// The groups that failed of it, a cause each.
    groups: Vec<String>,
    topic: String,
    reason: String,
    detail: String,
    message: Option<String>,
    count: usize,
    latest: Vec<LetterView>,
    more: usize,
}

#[derive(Clone, Debug, Serialize)]
struct LetterView {
    id: String,
    link: String,
    failed_at: String,
}

impl Letters {
    /// Watches the topics of a cluster from the first time that it is asked.
    pub(crate) fn new(connection: Connection, template: String) -> Self {
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        let watch = Watch::new(connection, template);
        let thread =
            std::thread::Builder::new().name("letters".to_owned()).spawn(move || own.keep_looking(watch));
        if let Err(error) = &thread {
            shared.lock().seen.failed = Some(format!("no thread for it: {error}"));
        }
        Self { shared, thread: Mutex::new(thread.ok()) }
    }

    /// Returns what was seen last, and sees to it that it is looked again.
    pub(crate) fn seen(&self) -> Seen {
        let mut state = self.shared.lock();
        state.asked = Some(Instant::now());
        self.shared.woken.notify_one();
        state.seen.clone()
    }

    /// Ends the looking and waits for the client to be gone: an embedded broker must outlive it.
    pub(crate) fn close(&self) {
        self.shared.end();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join().unwrap_or_default();
        }
    }
}

impl Drop for Letters {
    /// Does not wait: a cluster that is away must not hold up the end of the process.
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn keep_looking(&self, mut watch: Watch) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                self.lock().seen.failed = Some(format!("no runtime for it: {error}"));
                return;
            }
        };
        while self.wait_until_asked() {
            let failed = runtime.block_on(watch.look(&self.stop)).err().map(|error| error.to_string());
            let seen = see(&watch, failed);
            let mut state = self.lock();
            let ever = state.seen.ever;
            state.seen = Seen { ever: ever || seen.failed.is_none(), ..seen };
            drop(state);
            if !self.rest() {
                return;
            }
        }
    }

    /// Waits until somebody has asked lately; `false` ends the looking.
    fn wait_until_asked(&self) -> bool {
        let mut state = self.lock();
        while !self.is_stopped() {
            if state.asked.is_some_and(|asked| asked.elapsed() < INTEREST) {
                return true;
            }
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// Rests until the next look is due; `false` ends the looking.
    fn rest(&self) -> bool {
        let until = Instant::now() + INTERVAL;
        let mut state = self.lock();
        while !self.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self
                .woken
                .wait_timeout(state, left)
                .map_or_else(|poison| poison.into_inner().0, |woken| woken.0);
        }
        false
    }

    fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // Whoever looks whether to stop holds the lock: none misses the word.
        drop(self.lock());
        self.woken.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn see(watch: &Watch, failed: Option<String>) -> Seen {
    let collection = watch.collection();
    let selection = Selection::default();
    let causes = collection.causes(&selection);
    let open = causes.iter().map(|cause| cause.count).sum();
    Seen {
        ever: false,
        failed,
        open,
        more: watch.is_full(),
        causes: together(causes)
            .into_iter()
            .take(MOST_CAUSES)
            .map(|alike| view(&collection, &alike))
            .collect(),
        collection,
    }
}

/// Puts the causes together that differ in the group alone: a bad record fails in every group that reads it.
fn together(causes: Vec<Cause>) -> Vec<Vec<Cause>> {
    let mut alike: Vec<Vec<Cause>> = Vec::new();
    for cause in causes {
        let is_same = |one: &Cause| {
            (&one.topics, &one.reason, &one.detail, &one.message)
                == (&cause.topics, &cause.reason, &cause.detail, &cause.message)
        };
        match alike.iter_mut().find(|known| known.iter().any(is_same)) {
            Some(known) => known.push(cause),
            None => alike.push(vec![cause]),
        }
    }
    alike.sort_by_key(|alike| std::cmp::Reverse(count(alike)));
    alike
}

fn count(alike: &[Cause]) -> usize {
    alike.iter().map(|cause| cause.count).sum()
}

fn view(collection: &Collection, alike: &[Cause]) -> CauseView {
    let first = alike.first().cloned().unwrap_or_default();
    let of_cause = |cause: &Cause| {
        collection.select(&Selection { cause: Some(cause.whole_id.clone()), ..Selection::default() })
    };
    let mut latest: Vec<_> = alike.iter().flat_map(|cause| of_cause(cause).into_iter().take(SHOWN)).collect();
    latest.sort_by(|one, other| other.failed_at.cmp(&one.failed_at));
    latest.truncate(SHOWN);
    CauseView {
        key: first.whole_id,
        message: latest.first().and_then(|entry| entry.message.as_deref()).map(masked),
        more: count(alike).saturating_sub(latest.len()),
        latest: latest.into_iter().map(letter).collect(),
        groups: alike.iter().map(|cause| cause.group.clone()).collect(),
        topic: first.topics.into_iter().collect::<Vec<_>>().join(", "),
        reason: first.reason,
        detail: first.detail,
        count: count(alike),
    }
}

fn letter(entry: &Entry) -> LetterView {
    let place = RecordPlace {
        topic: entry.origin.topic.clone(),
        partition: entry.origin.partition,
        offset: entry.origin.offset,
    };
    LetterView {
        id: entry.id.clone(),
        link: link(&place),
        failed_at: entry.failed_at.clone().unwrap_or_default(),
    }
}

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long after the last question it is still looked.
const INTEREST: Duration = Duration::from_secs(30);
/// How many causes are shown, and how many letters of each.
const MOST_CAUSES: usize = 40;
const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn cause(group: &str, reason: &str, count: usize) -> Cause {
        Cause { group: group.to_owned(), reason: reason.to_owned(), count, ..Cause::default() }
    }

    #[test]
    fn causes_that_differ_in_the_group_alone_stand_together() {
        let causes = vec![cause("a", "rejected", 5), cause("a", "invalid", 3), cause("b", "invalid", 3)];

        let alike = together(causes);

        let told: Vec<_> = alike.iter().map(|alike| (alike.len(), alike[0].reason.as_str())).collect();
        assert_eq!(told, [(2, "invalid"), (1, "rejected")]);
    }
}
