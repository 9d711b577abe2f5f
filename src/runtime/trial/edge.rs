//! An edge in memory: what is asked of it is written down and, where nothing else is wished, answered at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use postroom_core::{
    DeadLetter, Failure, FetchEpoch, Generation, Input, Moment, Offset, OffsetRange, Reason, TopicPartition,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::PATIENCE;
use crate::event::RawRecord;
use crate::ports::{Edge, EdgeEvent, EdgeFuture, LogRange};

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Commit(TopicPartition, Offset),
    Pause,
    Resume,
    Seek(Offset),
    Verify,
    Released(Generation),
    Letter { reason: Reason, offset: Offset, attempts: u32, failure: Failure },
    Close,
}

pub(super) struct FakeEdge {
    /// Taken away where the edge dies.
    events: Mutex<Option<UnboundedSender<EdgeEvent>>>,
    asked: watch::Sender<Vec<Asked>>,
    /// Dead letters that are refused before one is acknowledged.
    pub(super) refusals: AtomicUsize,
    /// Records that the driver took.
    pub(super) taken: AtomicUsize,
    /// Where assignments begin, and how many seeks had been asked for by then.
    pub(super) claimed: Mutex<Vec<(Generation, Offset, usize)>>,
}

impl FakeEdge {
    pub(super) fn new() -> (Arc<Self>, UnboundedReceiver<EdgeEvent>) {
        let (events, received) = unbounded_channel();
        let edge = Self {
            events: Mutex::new(Some(events)),
            asked: watch::Sender::new(Vec::new()),
            refusals: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            claimed: Mutex::default(),
        };
        (Arc::new(edge), received)
    }

    pub(super) fn tell(&self, event: EdgeEvent) {
        if let Some(events) = &*self.events.lock().unwrap() {
            // A driver that has ended hears nothing.
            drop(events.send(event));
        }
    }

    /// Dies without a word.
    pub(super) fn vanish(&self) {
        self.events.lock().unwrap().take();
    }

    /// Waits until what was asked is enough, and returns it.
    pub(super) async fn until(&self, enough: impl FnMut(&Vec<Asked>) -> bool) -> Vec<Asked> {
        let mut asked = self.asked.subscribe();
        let waited = tokio::time::timeout(PATIENCE, asked.wait_for(enough)).await;
        let seen = waited.map(|seen| seen.unwrap().clone());
        seen.unwrap_or_else(|_| panic!("waited in vain; asked was {:?}", self.asked()))
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    fn note(&self, asked: Asked) {
        self.asked.send_modify(|all| all.push(asked));
    }

    fn input(&self, input: Input<RawRecord>) {
        self.tell(EdgeEvent::Input(input));
    }
}

impl Edge for FakeEdge {
    fn commit(&self, at: &TopicPartition, generation: Generation, next: Offset, _: &[OffsetRange]) {
        self.note(Asked::Commit(at.clone(), next));
        self.input(Input::Committed { generation, next });
    }

    fn pause(&self, _: Generation) {
        self.note(Asked::Pause);
    }

    fn resume(&self, _: Generation) {
        self.note(Asked::Resume);
    }

    fn seek(&self, _: &TopicPartition, _: Generation, offset: Offset, _: FetchEpoch) {
        self.note(Asked::Seek(offset));
    }

    fn claimed(&self, generation: Generation, next: Offset) {
        let seeks = self.asked().iter().filter(|asked| matches!(asked, Asked::Seek(_))).count();
        self.claimed.lock().unwrap().push((generation, next, seeks));
    }

    fn verify(&self, generation: Generation) {
        self.note(Asked::Verify);
        self.input(Input::Verified { generation });
    }

    fn released(&self, generation: Generation) {
        self.note(Asked::Released(generation));
    }

    fn rounds(&self) -> u64 {
        1
    }

    fn dead_letter(&self, letter: DeadLetter<RawRecord>) {
        let DeadLetter { ticket, reason, attempts, failure, .. } = letter;
        self.note(Asked::Letter { reason, offset: ticket.offset, attempts, failure });
        let one_less = |left: usize| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            self.input(Input::DeadLetterFailed { ticket });
        } else {
            self.input(Input::DeadLettered { ticket });
        }
    }

    fn log_range(&self, _: &TopicPartition) -> EdgeFuture<'_, LogRange> {
        Box::pin(async { Ok(LogRange { start: Offset(0), end: Offset(1_000) }) })
    }

    fn partition_count<'a>(&'a self, _: &'a str) -> EdgeFuture<'a, usize> {
        Box::pin(async { Ok(1) })
    }

    fn close(&self, _: Moment) {
        self.note(Asked::Close);
        self.tell(EdgeEvent::Stopped(Ok(())));
    }

    fn taken(&self, records: usize, _: usize) {
        self.taken.fetch_add(records, Ordering::SeqCst);
    }
}
