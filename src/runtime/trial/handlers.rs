//! Handlers that do what the word in the event says.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::PATIENCE;
use crate::event::{Envelope, EventRecord, EventType};
use crate::handler::{BatchContext, BatchHandler, Context, Error, Handler};
use crate::ports::Param;

#[derive(serde::Deserialize, serde::Serialize)]
pub(super) struct Like {
    pub(super) word: String,
    pub(super) id: String,
}

impl EventRecord for Like {
    const TYPE: EventType = EventType {
        name: "like.added",
        record: "test.Like",
        topic: "likes",
        schema: r#"{"type": "record", "name": "Like", "namespace": "test", "fields": [
            {"name": "word", "type": "string"}, {"name": "id", "type": "string"}]}"#,
    };

    fn key(&self) -> Option<&str> {
        Some(&self.word)
    }

    fn event_id(&self) -> Option<&str> {
        Some(self.id.as_str()).filter(|id| !id.is_empty())
    }
}

/// What the handlers did, and the gate at which `wait` waits.
#[derive(Clone)]
pub(super) struct Log {
    calls: watch::Sender<Vec<String>>,
    pub(super) cancelled: Arc<AtomicUsize>,
    pub(super) gate: Arc<Semaphore>,
}

impl Default for Log {
    fn default() -> Self {
        let calls = watch::Sender::new(Vec::new());
        Self { calls, cancelled: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }
}

impl Log {
    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }

    pub(super) async fn until(&self, enough: impl FnMut(&Vec<String>) -> bool) -> Vec<String> {
        let mut calls = self.calls.subscribe();
        let waited = tokio::time::timeout(PATIENCE, calls.wait_for(enough)).await;
        let seen = waited.map(|seen| seen.unwrap().clone());
        seen.unwrap_or_else(|_| panic!("waited in vain; called was {:?}", self.calls()))
    }

    pub(super) fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn note(&self, call: &str) {
        self.calls.send_modify(|calls| calls.push(call.to_owned()));
    }

    async fn play(&self, word: &str) -> Result<(), Error> {
        self.note(word);
        match word {
            "panic" => panic!("as the event asked"),
            "hang" => {
                let _cancelled = Dropped(Arc::clone(&self.cancelled));
                pending().await
            }
            "wait" => {
                let _cancelled = Dropped(Arc::clone(&self.cancelled));
                drop(self.gate.acquire().await.unwrap());
                Ok(())
            }
            "retry" => Err(Error::retry("not now")),
            "later" => Err(Error::retry_after(Duration::from_millis(80), "the other side said when")),
            "dead" => Err(Error::dead("never")),
            "invalid" => Err(Error::invalid("against the rules")),
            "skip" => Err(Error::skip("not for us")),
            "fatal" => Err(Error::fatal("nothing goes any more")),
            "parse" => {
                let _number: i64 = "x".parse()?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Counts futures that were dropped, ended or not.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Takes one event at a time; words that begin with `write` are written.
pub(super) struct Each(pub(super) Log);

impl Handler for Each {
    type Event = Like;

    async fn handle(&self, like: &Envelope<Like>, context: &mut Context) -> Result<(), Error> {
        if like.event.word.starts_with("write") {
            let params = [Param::Text(like.event.word.clone()), Param::Text(like.event.id.clone())];
            context.execute("INSERT INTO written VALUES (?1, ?2)", params);
        }
        if like.event.word == "flaky" && context.attempt() < 3 {
            return Err(Error::retry("not before the third attempt"));
        }
        self.0.play(&like.event.word).await
    }
}

/// Takes batches and writes every word.
pub(super) struct Batches(pub(super) Log);

impl BatchHandler for Batches {
    type Event = Like;

    async fn handle(&self, likes: &[Envelope<Like>], context: &mut BatchContext) -> Result<(), Error> {
        for like in likes {
            let params = [Param::Text(like.event.word.clone()), Param::Text(like.event.id.clone())];
            context.execute("INSERT INTO written VALUES (?1, ?2)", params);
            self.0.play(&like.event.word).await?;
        }
        Ok(())
    }
}
