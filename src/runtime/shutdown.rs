//! Signals: the first asks for an orderly end, the second ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks to end, as its number: the exit code of an end at once is 128 more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGINT, from a terminal.
    Interrupt,
    /// SIGTERM, from a supervisor.
    Terminate,
}

impl Asked {
    /// Returns the exit code of a process that this signal ended.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Waits for SIGINT or SIGTERM. Where signals cannot be caught, waits for ever: they end the process as ever.
pub async fn asked() -> Asked {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = received(&mut interrupt) => Asked::Interrupt,
        () = received(&mut terminate) => Asked::Terminate,
    }
}

/// From now on a signal ends the process at once.
pub fn leave_at_once_when_asked_again() {
    tokio::spawn(async {
        let again = asked().await;
        tracing::warn!("asked again: leaving at once, what is in flight will be repeated");
        std::process::exit(again.exit_code());
    });
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending().await
    }
}
