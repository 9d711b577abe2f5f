//! Where a claimed partition goes on: the store's row, Kafka's commit and the log's range, by the core's table.

use postroom_core::{Adopt, Known, NewGroup, OnGap, Start, StartPolicy, start};
use postroom_core::{Offset, OffsetRange, TopicPartition};

use crate::config::{self, Config, Effect};
use crate::ports::{CommittedPosition, LogRange, StoreId};
use crate::runtime::group::{Group, Position};

/// How a group's start is decided.
#[derive(Clone, Debug)]
pub(crate) struct StartRules {
    position: Position,
    retry_topic: String,
    policy: StartPolicy,
}

impl StartRules {
    pub(crate) fn new(config: &Config, group: &Group, effect: &Effect, retry_topic: &str) -> Self {
        let policy = StartPolicy {
            on_gap: match effect.on_gap {
                config::OnGap::Continue => OnGap::Continue,
                config::OnGap::Stop => OnGap::Stop,
            },
            new_group: match effect.start {
                config::Start::Earliest => NewGroup::Earliest,
                config::Start::Latest => NewGroup::Latest,
            },
            adopt: if config.store.adopt { Adopt::Kafka } else { Adopt::Refuse },
        };
        Self { position: group.position, retry_topic: retry_topic.to_owned(), policy }
    }

    /// Says whether the store keeps positions for this group.
    pub(crate) fn keep_positions(&self) -> bool {
        self.position == Position::InStore
    }

    /// Says whether the store keeps the position of this partition. Records of a retry topic are applied once by
    /// their letters' ids: no row counts them.
    pub(crate) fn keeps_position(&self, partition: &TopicPartition) -> bool {
        self.keep_positions() && partition.topic.as_str() != self.retry_topic
    }

    /// Returns the next offset to read, and what was removed before it.
    ///
    /// # Errors
    /// What a person has to decide first.
    pub(crate) fn decide(
        &self,
        partition: &TopicPartition,
        row: Option<Offset>,
        committed: Option<&CommittedPosition>,
        log: LogRange,
        store: &StoreId,
    ) -> Result<Start, String> {
        let mut policy = self.policy;
        let commit = committed.map(|position| position.next);
        let known = if !self.keeps_position(partition) {
            Known::Kafka { commit }
        } else {
            match committed.and_then(|position| position.store.as_ref()) {
                // Our own commit, before anything was applied: there is no row yet.
                Some(theirs) if theirs == store => policy.adopt = Adopt::Kafka,
                Some(theirs) if policy.adopt == Adopt::Refuse => return Err(foreign(theirs, store)),
                Some(_) | None => {}
            }
            Known::Store { row, commit }
        };
        let log = OffsetRange { from: log.start, to: log.end };
        start(known, log, policy).map_err(|refusal| refusal.to_string())
    }
}

fn foreign(theirs: &StoreId, ours: &StoreId) -> String {
    format!(
        "the group's commits come from the store {theirs}, this is the store {ours}: connect the store that the \
         group used before, or set `store.adopt = true` to go on at Kafka's commit with this one"
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use postroom_core::{Partition, Topic};

    use super::*;
    use crate::effects::Project;

    const LOG: LogRange = LogRange { start: Offset(10), end: Offset(20) };

    fn rules() -> StartRules {
        let config = config::load(&config::Sources::default()).unwrap().config;
        StartRules::new(&config, &Group::effect(Project), &Effect::default(), "retry.postroom.project")
    }

    fn at(topic: &str) -> TopicPartition {
        TopicPartition::new(Topic::new(topic), Partition(0))
    }

    fn committed(next: i64, store: &str) -> CommittedPosition {
        CommittedPosition { next: Offset(next), finished: Vec::new(), store: Some(StoreId(store.to_owned())) }
    }

    fn decide(row: Option<i64>, commit: Option<CommittedPosition>) -> Result<Offset, String> {
        let store = StoreId("ours".to_owned());
        let start = rules().decide(&at("blog.posts"), row.map(Offset), commit.as_ref(), LOG, &store)?;
        Ok(start.next)
    }

    #[test]
    fn our_own_commit_before_anything_was_applied_goes_on_there() {
        assert_eq!(decide(None, Some(committed(12, "ours"))), Ok(Offset(12)));
    }

    #[test]
    fn the_commit_of_another_store_is_refused_even_where_there_is_a_row() {
        for row in [None, Some(15)] {
            let message = decide(row, Some(committed(12, "theirs"))).unwrap_err();
            assert!(message.contains("theirs") && message.contains("store.adopt"), "{message}");
        }
    }

    #[test]
    fn a_retry_topic_follows_kafkas_commit_alone() {
        let store = StoreId("ours".to_owned());
        let at = at("retry.postroom.project");

        let next = rules().decide(&at, None, Some(&committed(12, "theirs")), LOG, &store);

        assert_eq!(next, Ok(Start { next: Offset(12), removed: None }));
    }
}
