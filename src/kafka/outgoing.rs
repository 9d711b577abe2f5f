//! Publishing what the codec encoded.

use crate::codec::Outgoing;
use crate::kafka::producer::{Delivery, Producer, Publication, PublishError, Published};

impl Producer {
    /// Publishes an encoded event and waits until all replicas have it.
    ///
    /// # Errors
    /// As [`Producer::publish`].
    pub async fn publish_event(&self, outgoing: &Outgoing) -> Result<Published, PublishError> {
        self.enqueue_event(outgoing).await?.await
    }

    /// Hands an encoded event over; the delivery is awaited by the caller.
    ///
    /// # Errors
    /// As [`Producer::enqueue`].
    pub async fn enqueue_event(&self, outgoing: &Outgoing) -> Result<Delivery, PublishError> {
        let headers: Vec<_> =
            outgoing.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        self.enqueue(Publication {
            topic: &outgoing.topic,
            partition: None,
            key: outgoing.key.as_deref(),
            value: outgoing.value.as_deref(),
            headers: &headers,
            timestamp: outgoing.timestamp,
        })
        .await
    }
}
