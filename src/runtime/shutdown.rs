//! SIGTERM and SIGINT: the first asks the process to end in order, the second ends it at once.

use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How far apart signals may be that count as one.
const TOGETHER: Duration = Duration::from_millis(200);

/// The signals that end a process.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// A signal that asked the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGINT, from a terminal.
    Interrupt,
    /// SIGTERM, from a supervisor.
    Terminate,
}

impl Asked {
    /// Returns the exit code of a process that this signal ended: 128 and its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl Signals {
    /// Starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system does not let the process catch them.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
        }
    }

    /// Ends the process at the next one, whatever it is doing. Signals that come with the first, as from a wrapper that
    /// signals the process and then its group, count as one.
    pub fn leave_at_the_next(mut self) {
        tokio::spawn(async move {
            tokio::time::sleep(TOGETHER).await;
            while self.next().now_or_never().is_some() {}
            let code = self.next().await.exit_code();
            tracing::error!(exit = code, "second signal: leaving at once");
            std::process::exit(i32::from(code));
        });
    }
}
