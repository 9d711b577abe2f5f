//! The topics that Postroom needs, and the steps from a cluster's topics to them: `postroom topics plan`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::kafka::dead_letter::DeadLetterRoute;

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredTopic {
    /// Its name.
    pub name: String,
    /// What it is for: decides what may be changed.
    pub role: TopicRole,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas; `None`: the broker's default.
    pub replication: Option<i32>,
    /// Its settings, by Kafka's names.
    pub settings: BTreeMap<String, String>,
}

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRole {
    /// Events: adding partitions would move keys, so that is never planned.
    Source,
    /// Dead letters of one group.
    DeadLetters,
    /// Replays for one group.
    Retry,
}

/// What topics are made with.
#[derive(Clone, Debug)]
pub struct TopicDefaults {
    /// Partitions of source topics. Default 6.
    pub partitions: i32,
    /// Replicas; `None`: the broker's default.
    pub replication: Option<i32>,
    /// How long source topics keep records. Default 30 days.
    pub retention: Duration,
    /// How much longer dead letters are kept: their age counts from the source record's timestamp. Default 30 days.
    pub dead_letter_retention: Duration,
    /// The largest record of a source topic, in bytes (`max.message.bytes`). Default 1 MiB.
    pub max_record_bytes: u64,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self {
            partitions: 6,
            replication: None,
            retention: Duration::from_secs(30 * 86_400),
            dead_letter_retention: Duration::from_secs(30 * 86_400),
            max_record_bytes: 1_048_588,
        }
    }
}

/// Lists the topics that are needed: those of `events`, each group's sources, its dead letters for each, and its retry
/// topic.
pub fn desired_topics(
    events: &[&str],
    groups: &[(DeadLetterRoute, Vec<String>)],
    defaults: &TopicDefaults,
) -> Vec<DesiredTopic> {
    let mut topics: BTreeMap<String, DesiredTopic> = BTreeMap::new();
    let mut add = |name: String, role, retention: Duration, max_bytes: u64| {
        let settings = BTreeMap::from([
            ("cleanup.policy".to_owned(), "delete".to_owned()),
            ("max.message.bytes".to_owned(), max_bytes.to_string()),
            ("retention.ms".to_owned(), retention.as_millis().to_string()),
        ]);
        topics.entry(name.clone()).or_insert(DesiredTopic {
            name,
            role,
            partitions: defaults.partitions,
            replication: defaults.replication,
            settings,
        });
    };
    // Kafka counts retention from a record's own timestamp, which a dead letter keeps from its source.
    let kept = defaults.retention.saturating_add(defaults.dead_letter_retention);
    let kept_for_replay = kept.saturating_add(defaults.dead_letter_retention);
    let with_headers = defaults.max_record_bytes.saturating_add(HEADER_ROOM);
    for event in events {
        add((*event).to_owned(), TopicRole::Source, defaults.retention, defaults.max_record_bytes);
    }
    for (route, sources) in groups {
        let retry = route.retry_topic();
        for source in sources.iter().filter(|source| **source != retry) {
            add(source.clone(), TopicRole::Source, defaults.retention, defaults.max_record_bytes);
            add(route.topic(source), TopicRole::DeadLetters, kept, with_headers);
        }
        add(retry, TopicRole::Retry, kept_for_replay, with_headers);
    }
    topics.into_values().collect()
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActualTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas its first partition has.
    pub replication: i32,
    /// How many replicas are in step, in the partition that has the fewest of them.
    pub in_sync: i32,
    /// Its settings, by Kafka's names; empty where they are not known.
    pub settings: BTreeMap<String, String>,
}

/// What is to be done, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which it is done.
    pub steps: Vec<Step>,
    /// What a person must decide.
    pub conflicts: Vec<Conflict>,
    /// Topics that are as they should be.
    pub unchanged: usize,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create a topic.
    Create(DesiredTopic),
    /// Add partitions.
    AddPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        from: i32,
        /// How many it should have.
        to: i32,
    },
    /// Change settings.
    Change {
        /// The topic.
        topic: String,
        /// Kafka's name of the setting, the value that is and the value that should be.
        settings: Vec<(String, Option<String>, String)>,
    },
}

/// Something that a plan does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The topic.
    pub topic: String,
    /// What is in the way, and what can be done.
    pub reason: String,
}

impl Plan {
    /// Compares what should be with what is.
    pub fn between(desired: &[DesiredTopic], actual: &[ActualTopic]) -> Self {
        let mut plan = Self::default();
        for wanted in desired {
            if let Some(twin) =
                actual.iter().find(|found| found.name != wanted.name && collides(&found.name, &wanted.name))
            {
                plan.conflict(
                    &wanted.name,
                    format!("topic {} differs only by . and _: the broker's metrics mix them up", twin.name),
                );
            }
            match actual.iter().find(|found| found.name == wanted.name) {
                None => plan.steps.push(Step::Create(wanted.clone())),
                Some(found) => plan.compare(wanted, found),
            }
        }
        plan
    }

    /// Says whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn compare(&mut self, wanted: &DesiredTopic, found: &ActualTopic) {
        let before = (self.steps.len(), self.conflicts.len());
        if found.partitions < wanted.partitions {
            match wanted.role {
                TopicRole::Source => self.conflict(
                    &wanted.name,
                    format!(
                        "it has {} partitions instead of {}: adding some would move keys to other partitions; \
                         drain its groups first, then add them by hand, or set partitions = {}",
                        found.partitions, wanted.partitions, found.partitions
                    ),
                ),
                TopicRole::DeadLetters | TopicRole::Retry => self.steps.push(Step::AddPartitions {
                    topic: wanted.name.clone(),
                    from: found.partitions,
                    to: wanted.partitions,
                }),
            }
        }
        if let Some(replication) = wanted.replication
            && found.replication < replication
        {
            self.conflict(
                &wanted.name,
                format!(
                    "it has {} replicas instead of {replication}: kafka-reassign-partitions adds them",
                    found.replication
                ),
            );
        }
        let differing: Vec<_> = wanted
            .settings
            .iter()
            .filter(|(key, value)| needs_change(wanted.role, key, value, found.settings.get(*key)))
            .map(|(key, value)| (key.clone(), found.settings.get(key).cloned(), value.clone()))
            .collect();
        if !differing.is_empty() && !found.settings.is_empty() {
            self.steps.push(Step::Change { topic: wanted.name.clone(), settings: differing });
        }
        if before == (self.steps.len(), self.conflicts.len()) {
            self.unchanged += 1;
        }
    }

    fn conflict(&mut self, topic: &str, reason: String) {
        self.conflicts.push(Conflict { topic: topic.to_owned(), reason });
    }
}

/// Where more is there than is asked for, it stays: only what is too small is changed.
fn needs_change(role: TopicRole, key: &str, wanted: &str, found: Option<&String>) -> bool {
    let Some(found) = found else { return true };
    let numbers = wanted.parse::<i64>().ok().zip(found.parse::<i64>().ok());
    match (key, numbers) {
        ("retention.ms", Some((_, -1))) => false,
        ("retention.ms" | "max.message.bytes", Some((wanted, found))) => found < wanted,
        ("cleanup.policy", _) if role == TopicRole::Source => false,
        _ => wanted != found,
    }
}

fn collides(one: &str, other: &str) -> bool {
    one.replace('.', "_") == other.replace('.', "_")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for conflict in &self.conflicts {
            writeln!(f, "! {}: {}", conflict.topic, conflict.reason)?;
        }
        match (self.steps.len(), self.conflicts.len()) {
            (0, 0) => write!(f, "all {} topics are as they should be", self.unchanged),
            (steps, conflicts) => {
                write!(f, "{steps} to do, {conflicts} to decide, {} as they should be", self.unchanged)
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(topic) => {
                write!(f, "+ {} with {} partitions", topic.name, topic.partitions)?;
                if let Some(replication) = topic.replication {
                    write!(f, ", {replication} replicas")?;
                }
                for (key, value) in &topic.settings {
                    write!(f, ", {key}={value}")?;
                }
                Ok(())
            }
            Self::AddPartitions { topic, from, to } => write!(f, "~ {topic}: partitions {from} -> {to}"),
            Self::Change { topic, settings } => {
                write!(f, "~ {topic}:")?;
                for (key, from, to) in settings {
                    write!(f, " {key} {} -> {to}", from.as_deref().unwrap_or("unset"))?;
                }
                Ok(())
            }
        }
    }
}

/// What a dead letter's own headers may take, with room for the batch around it.
pub(crate) const HEADER_ROOM: u64 = 16 * 1_024;

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn groups() -> Vec<(DeadLetterRoute, Vec<String>)> {
        vec![(DeadLetterRoute::new("postroom.search", "search"), vec!["blog.posts".to_owned()])]
    }

    fn actual(topic: &DesiredTopic) -> ActualTopic {
        ActualTopic {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication: 1,
            in_sync: 1,
            settings: topic.settings.clone(),
        }
    }

    #[test]
    fn a_group_needs_its_sources_their_dead_letters_and_its_retry_topic() {
        let topics = desired_topics(&[], &groups(), &TopicDefaults::default());

        let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
        assert_eq!(names, ["blog.posts", "dlq.postroom.search.blog.posts", "retry.postroom.search"]);
        let max: Vec<u64> =
            topics.iter().map(|topic| topic.settings["max.message.bytes"].parse().unwrap()).collect();
        assert!(max[1] > max[0]);
    }

    #[test]
    fn nothing_is_done_where_all_is_there() {
        let topics = desired_topics(&[], &groups(), &TopicDefaults::default());
        let there: Vec<_> = topics.iter().map(actual).collect();

        let plan = Plan::between(&topics, &there);

        assert!(plan.is_empty() && plan.conflicts.is_empty());
        assert_eq!(plan.to_string(), "all 3 topics are as they should be");
    }

    #[test]
    fn partitions_of_a_source_are_never_added_but_those_of_dead_letters_are() {
        let topics = desired_topics(&[], &groups(), &TopicDefaults::default());
        let there: Vec<_> =
            topics.iter().map(|topic| ActualTopic { partitions: 2, ..actual(topic) }).collect();

        let plan = Plan::between(&topics, &there);

        assert_eq!(plan.steps.len(), 2);
        assert!(plan.steps.iter().all(|step| matches!(step, Step::AddPartitions { from: 2, to: 6, .. })));
        assert_eq!(plan.conflicts.len(), 1);
        assert_eq!(plan.conflicts[0].topic, "blog.posts");
    }

    #[test]
    fn what_is_larger_than_asked_for_stays() {
        let topics = desired_topics(&[], &groups(), &TopicDefaults::default());
        let mut there: Vec<_> = topics.iter().map(actual).collect();
        for topic in &mut there {
            topic.settings.insert("retention.ms".to_owned(), "-1".to_owned());
            topic.settings.insert("max.message.bytes".to_owned(), "99999999".to_owned());
        }

        assert!(Plan::between(&topics, &there).is_empty());
    }

    #[test]
    fn a_compacted_dead_letter_topic_is_changed() {
        let topics = desired_topics(&[], &groups(), &TopicDefaults::default());
        let mut there: Vec<_> = topics.iter().map(actual).collect();
        there[1].settings.insert("cleanup.policy".to_owned(), "compact".to_owned());

        let plan = Plan::between(&topics, &there);

        assert_eq!(plan.steps.len(), 1);
        assert!(plan.to_string().contains("cleanup.policy compact -> delete"), "{plan}");
    }

    #[test]
    fn a_name_that_differs_by_a_dot_only_is_a_conflict() {
        let topics = desired_topics(&[], &groups(), &TopicDefaults::default());
        let mut there: Vec<_> = topics.iter().map(actual).collect();
        there[0].name = "blog_posts".to_owned();

        let plan = Plan::between(&topics, &there);

        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.conflicts.len(), 1);
    }
}
