//! What the client library says about itself: the last failure, for messages; its lines, for the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;

/// Takes the lines of one client. Warnings are logged at most once in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct ClientLog {
    state: Mutex<State>,
}

/// Whether brokers can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// None can.
    None,
    /// Some answered.
    Some,
}

#[derive(Debug, Default)]
struct State {
    last_failure: Option<String>,
    logged: Option<Instant>,
    suppressed: u64,
    away: bool,
}

impl ClientLog {
    /// Takes a line.
    pub(crate) fn line(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                if facility == "FAIL" {
                    self.failed(line);
                }
                tracing::debug!(facility, line, "kafka client");
            }
            RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Emerg => {
                if facility == "FAIL" || facility == "ERROR" {
                    self.failed(line);
                }
                if let Some(suppressed) = self.may_log() {
                    tracing::warn!(facility, line, suppressed, "kafka client reports trouble");
                }
            }
        }
    }

    /// Notes an error that the client reported, in its own words.
    pub(crate) fn failed(&self, reason: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last_failure = Some(without_thread(reason).to_owned());
    }

    /// Returns the last connection failure, in the client's words.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).last_failure.clone()
    }

    /// Notes whether any broker can be reached.
    pub(crate) fn reached(&self, reach: Reach) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).away = reach == Reach::None;
    }

    /// Says whether no broker could be reached when that was last heard of.
    pub(crate) fn is_away(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).away
    }

    /// Says whether it is time for another line, and how many were left out.
    pub(crate) fn may_log(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.logged.is_some_and(|logged| now.duration_since(logged) < QUIET) {
            state.suppressed += 1;
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

/// Cuts the `[thrd:…]: ` that the library puts before its lines.
fn without_thread(line: &str) -> &str {
    line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(line, |(_, text)| text)
}

const QUIET: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_is_kept_without_the_thread() {
        let log = ClientLog::default();

        log.line(RDKafkaLogLevel::Error, "FAIL", "[thrd:a/bootstrap]: a/bootstrap: Connection refused");

        assert_eq!(log.last_failure().as_deref(), Some("a/bootstrap: Connection refused"));
    }
}
