//! What runs beside the groups, such as the relay: one that ends unasked ends the process, instead of leaving its work
//! undone without a word.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use tokio::task::JoinSet;

use crate::telemetry::Board;

/// The helpers of a process. Dropped, it ends them.
pub(crate) struct Helpers {
    tasks: JoinSet<Option<Lost>>,
    board: Arc<Board>,
    /// From now on they may end.
    leaving: Arc<AtomicBool>,
}

/// A helper that ended unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) name: &'static str,
    pub(crate) why: String,
}

impl Helpers {
    pub(crate) fn new(board: Arc<Board>) -> Self {
        Self { tasks: JoinSet::new(), board, leaving: Arc::default() }
    }

    /// Starts a helper. Where it ends before they may, with or without an error, the process is not ready any more.
    pub(crate) fn spawn<E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        helper: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let (board, leaving) = (Arc::clone(&self.board), Arc::clone(&self.leaving));
        self.tasks.spawn(async move {
            let ended = AssertUnwindSafe(helper).catch_unwind().await;
            if leaving.load(Ordering::Relaxed) {
                return None;
            }
            let why = match ended {
                Ok(Ok(())) => "it ended by itself".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("it panicked: {}", said(&*panic)),
            };
            tracing::error!(helper = name, why, "a helper of the process has ended");
            board.lost(name, &why);
            Some(Lost { name, why })
        });
    }

    /// Lets them end.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Waits for one that ends unasked. May be dropped and called again: nothing is missed.
    pub(crate) async fn lost(&mut self) -> Lost {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Some(lost))) => return lost,
                Some(Ok(None) | Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Ends them all.
    pub(crate) async fn shutdown(&mut self) {
        self.leave();
        self.tasks.shutdown().await;
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "tests")]

    use super::*;
    use crate::telemetry::Health;

    type End = Result<(), String>;

    #[tokio::test]
    async fn one_that_panics_fails_or_just_ends_is_told_by_name_and_readiness_says_so() {
        for (helper, why) in [
            (async { panic!("at {}", 5) }.boxed(), "it panicked: at 5"),
            (async { Err("the store is gone".to_owned()) }.boxed(), "the store is gone"),
            (async { End::Ok(()) }.boxed(), "it ended by itself"),
        ] {
            let board = Arc::new(Board::new("test"));
            let mut helpers = Helpers::new(Arc::clone(&board));
            helpers.spawn("well", std::future::pending::<End>());
            helpers.spawn::<String>("the relay", helper);

            let lost = helpers.lost().await;

            assert_eq!(lost, Lost { name: "the relay", why: why.to_owned() });
            let Health::Ill(lines) = board.readiness() else { panic!("it is ready") };
            assert!(lines.contains(&format!("the relay has ended: {why}")), "{lines:?}");
        }
    }

    #[tokio::test]
    async fn those_that_may_leave_are_not_missed() {
        let mut helpers = Helpers::new(Arc::new(Board::new("test")));
        helpers.leave();
        helpers.spawn("the relay", async { End::Ok(()) });

        assert_eq!(helpers.lost().now_or_never(), None);
        helpers.shutdown().await;
    }
}
