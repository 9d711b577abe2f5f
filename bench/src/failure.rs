//! Why a benchmark did not come to an end.

/// What went wrong; it is shown and the process ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The events could not be decoded or encoded.
    #[error("codec: {0}")]
    Codec(String),
    /// A program ended without a result.
    #[error("{program} ended with {status}: {output}")]
    Child {
        /// Which.
        program: &'static str,
        /// Its exit status.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// The wrong events came.
    #[error("the checksum of the events is {found}, expected {expected}")]
    Checksum {
        /// What was read.
        found: u64,
        /// What was written.
        expected: u64,
    },
    /// Reading the process's own figures, or starting another.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A result that is not ours.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Kafka's answer.
    #[error(transparent)]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// Postroom's group.
    #[error("postroom: {0}")]
    Postroom(String),
    /// A figure that the system does not tell.
    #[error("the system does not tell {0}")]
    Untold(&'static str),
}
