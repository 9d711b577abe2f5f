//! SIGTERM and SIGINT: the first asks the process to end, the second ends it at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::exit::Exit;

/// The signals that end a process.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to listen. Must be called within a tokio runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one and returns its code.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }

    /// Ends the process at the next one, whatever it is doing.
    pub(crate) fn leave_at_the_next(mut self) {
        tokio::spawn(async move {
            let exit = self.next().await;
            tracing::error!(exit = exit.number(), "second signal: leaving at once");
            std::process::exit(i32::from(exit.number()));
        });
    }
}
