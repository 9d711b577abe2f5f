//! Why no broker answers: found out by a connection of our own, when the library has got no answer.

use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

use crate::kafka::config::Connection;
use crate::kafka::direct::Direct;
use crate::kafka::errors;
use crate::ports::EdgeError;

/// Returns what is in the way and does not pass by itself, with what to do about it; `None` where nothing is, or nobody is
/// there. Blocks, some seconds at most.
pub(crate) fn obstacle(connection: &Connection) -> Option<EdgeError> {
    match Direct::to_any(connection, PATIENCE) {
        Ok(_) => None,
        Err((broker, trouble)) if trouble.may_pass() => {
            tracing::debug!(broker, ?trouble, "no broker talks to us");
            None
        }
        Err((broker, trouble)) => Some(trouble.error(&broker, connection)),
    }
}

/// Asks the cluster until it answers or `patience` ends. Gives up at once where something is in the way that does not
/// pass. Blocks.
///
/// # Errors
/// What is in the way, else what the last question ended with.
pub(crate) fn ask<V>(
    connection: &Connection,
    patience: Duration,
    mut question: impl FnMut(Duration) -> Result<V, KafkaError>,
) -> Result<V, EdgeError> {
    let deadline = Instant::now() + patience;
    let mut step = FIRST_STEP.min(patience);
    loop {
        let error = match question(step) {
            Ok(answer) => return Ok(answer),
            Err(error) => errors::of_request(&error),
        };
        if !matches!(error, EdgeError::Unreachable(_)) {
            return Err(error);
        }
        if let Some(obstacle) = obstacle(connection) {
            return Err(obstacle);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let brokers = &connection.brokers;
            return Err(errors::explain(error, |reason| format!("{brokers}: {reason}")));
        }
        step = step.saturating_mul(2).min(left);
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_STEP: Duration = Duration::from_secs(1);
