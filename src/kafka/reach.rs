//! Why no broker answers: found out by a connection of our own, when the library has got no answer.

use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

use crate::kafka::config::Connection;
use crate::kafka::direct::{Direct, Obstacle, Security, Trouble};
use crate::kafka::errors;
use crate::ports::EdgeError;

/// Returns what is in the way and does not pass by itself, with what to do about it; `None` where nothing is, or nobody is
/// there. Blocks, some seconds at most.
pub(crate) fn obstacle(connection: &Connection) -> Option<EdgeError> {
    look(connection).filter(|obstacle| !obstacle.is_away).map(Obstacle::error)
}

fn look(connection: &Connection) -> Option<Obstacle> {
    let (broker, trouble) = Direct::to_any(connection, PATIENCE).err()?;
    tracing::debug!(broker, ?trouble, "no broker talks to us");
    Some(trouble.obstacle(&broker, connection))
}

/// Says what is in the way between us and the broker at `address` (`host:port`); `None` where it talks to us, or it cannot
/// be judged. Blocks.
pub fn obstacle_at(address: &str, connection: &Connection, patience: Duration) -> Option<Obstacle> {
    match Direct::to(address, connection, Instant::now() + patience) {
        Ok(_) | Err(Trouble::Unknown(_)) => None,
        Err(trouble) => Some(trouble.obstacle(address, connection)),
    }
}

/// Says under which name the broker knows us, and how we prove it.
pub fn identity(connection: &Connection) -> String {
    let security = Security::of(connection);
    let how = match (security.has_sasl(), security.has_tls()) {
        (false, false) => "in the clear, nobody asks who we are".to_owned(),
        (false, true) if security.certificate().is_some() => "by a certificate over TLS".to_owned(),
        (false, true) => "over TLS, nobody asks who we are".to_owned(),
        (true, tls) => {
            let channel = if tls { "over TLS" } else { "in the clear" };
            format!("by {} {channel}", security.mechanism().unwrap_or_default())
        }
    };
    format!("{}, {how}", security.principal())
}

/// Returns for how many more days our certificate is valid; `None` where there is none.
pub fn certificate_days(connection: &Connection) -> Option<i32> {
    Security::of(connection).certificate_days()
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
        let obstacle = look(connection);
        if let Some(obstacle) = obstacle.clone().filter(|obstacle| !obstacle.is_away) {
            return Err(obstacle.error());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let brokers = &connection.brokers;
            let own = || errors::explain(error, |reason| format!("{brokers}: {reason}"));
            return Err(obstacle.map_or_else(own, Obstacle::error));
        }
        step = step.saturating_mul(2).min(left);
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_STEP: Duration = Duration::from_secs(1);
