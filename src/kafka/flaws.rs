//! What is wrong with topics as they are: where events or dead letters could be lost, refused or mixed up.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kafka::topics::{ActualTopic, HEADER_ROOM};

/// A source topic of a group, and where its dead letters go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letters {
    /// The source topic.
    pub source: String,
    /// The topic of its dead letters, or the retry topic.
    pub letters: String,
}

/// What a flaw is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// The number of partitions.
    Partitions,
    /// How long records are kept.
    Retention,
    /// How old records go.
    Cleanup,
    /// The largest record.
    Size,
    /// How many brokers have a record when it is acknowledged.
    Replication,
}

/// Something that is wrong with a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What it is about.
    pub aspect: Aspect,
    /// Whether events or dead letters can be lost or refused because of it.
    pub is_grave: bool,
    /// What was seen.
    pub seen: String,
    /// What to do about it.
    pub fix: String,
}

/// Finds what is wrong. Topics that are not there, and settings that are not known, are left out. `kept` is how much longer
/// than their source dead letters should be kept.
pub fn flaws(pairs: &[Letters], topics: &BTreeMap<String, ActualTopic>, kept: Duration) -> Vec<Flaw> {
    let mut found = Vec::new();
    for Letters { source, letters } in pairs {
        let (Some(source), Some(letters)) = (topics.get(source), topics.get(letters)) else { continue };
        found.extend(partitions(source, letters));
        found.extend(retention(source, letters, kept));
        found.extend(cleanup(letters));
        found.extend(size(source, letters));
    }
    let used = pairs.iter().flat_map(|pair| [&pair.source, &pair.letters]);
    let mut used: Vec<_> = used.filter_map(|name| topics.get(name)).collect();
    used.sort_by_key(|topic| &topic.name);
    used.dedup_by_key(|topic| &topic.name);
    found.extend(used.into_iter().filter_map(replication));
    // A retry topic belongs to several sources.
    let mut told = Vec::new();
    found.retain(|flaw| {
        let is_new = !told.contains(&flaw.seen);
        told.push(flaw.seen.clone());
        is_new
    });
    found
}

fn partitions(source: &ActualTopic, letters: &ActualTopic) -> Option<Flaw> {
    (letters.partitions < source.partitions).then(|| Flaw {
        aspect: Aspect::Partitions,
        is_grave: false,
        seen: format!(
            "{} has {} partitions, {} has {}: what failed in different partitions is mixed",
            letters.name, letters.partitions, source.name, source.partitions
        ),
        fix: format!("kafka-topics --alter --topic {} --partitions {}", letters.name, source.partitions),
    })
}

fn retention(source: &ActualTopic, letters: &ActualTopic, kept: Duration) -> Option<Flaw> {
    let flaw = |is_grave, seen| Flaw { aspect: Aspect::Retention, is_grave, seen, fix: APPLY.to_owned() };
    if let Some(bytes) = number(letters, "retention.bytes").filter(|bytes| *bytes >= 0) {
        let seen = format!(
            "{}: retention.bytes = {bytes} removes dead letters by size, however young",
            letters.name
        );
        let fix = change(&letters.name, "retention.bytes", "-1");
        return Some(Flaw { aspect: Aspect::Retention, is_grave: false, seen, fix });
    }
    let theirs = number(letters, "retention.ms").filter(|span| *span >= 0)?;
    let Some(sources) = number(source, "retention.ms").filter(|span| *span >= 0) else {
        return Some(flaw(
            false,
            format!(
                "{} keeps records for ever, {} for {}: a letter of an old record is gone at once, since its age counts \
                 from the source's time",
                source.name,
                letters.name,
                span(theirs)
            ),
        ));
    };
    let wanted = sources.saturating_add(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
    let seen = || {
        format!(
            "{} keeps records for {}, its source {} for {}",
            letters.name,
            span(theirs),
            source.name,
            span(sources)
        )
    };
    if theirs < sources {
        return Some(flaw(true, format!("{}: a dead letter of an old record is gone at once", seen())));
    }
    (theirs < wanted).then(|| {
        flaw(false, format!("{}: less than topics.dead_letter_retention is left for the oldest", seen()))
    })
}

fn cleanup(letters: &ActualTopic) -> Option<Flaw> {
    let policy = letters.settings.get("cleanup.policy").filter(|policy| policy.contains("compact"))?;
    Some(Flaw {
        aspect: Aspect::Cleanup,
        is_grave: true,
        seen: format!(
            "{}: cleanup.policy = {policy} removes dead letters of one key but the last, and refuses those without a key",
            letters.name
        ),
        fix: change(&letters.name, "cleanup.policy", "delete"),
    })
}

fn size(source: &ActualTopic, letters: &ActualTopic) -> Option<Flaw> {
    let (sources, theirs) = (number(source, SIZE)?, number(letters, SIZE)?);
    let room = i64::try_from(HEADER_ROOM).unwrap_or(i64::MAX);
    (theirs < sources.saturating_add(room / 2)).then(|| Flaw {
        aspect: Aspect::Size,
        is_grave: true,
        seen: format!(
            "{}: {SIZE} = {theirs} is too small for dead letters of {}, whose {SIZE} = {sources}",
            letters.name, source.name
        ),
        fix: change(&letters.name, SIZE, &sources.saturating_add(room).to_string()),
    })
}

fn replication(topic: &ActualTopic) -> Option<Flaw> {
    let flaw = |is_grave, seen, fix| Some(Flaw { aspect: Aspect::Replication, is_grave, seen, fix });
    let least = number(topic, LEAST)?;
    let (name, replicas, in_sync) = (&topic.name, i64::from(topic.replication), i64::from(topic.in_sync));
    if least > replicas {
        let seen =
            format!("{name}: {LEAST} = {least}, but it has {replicas} replicas: nothing can be written");
        return flaw(true, seen, change(name, LEAST, &replicas.saturating_sub(1).max(1).to_string()));
    }
    if in_sync < least {
        let seen =
            format!("{name}: {in_sync} replicas are in step and {LEAST} = {least}: nothing can be written");
        return flaw(true, seen, "bring the brokers back that are away".to_owned());
    }
    if in_sync < replicas {
        let seen = format!("{name}: {in_sync} of {replicas} replicas are in step");
        return flaw(false, seen, "bring the brokers back that are away".to_owned());
    }
    if replicas > 1 && least == replicas {
        let seen = format!(
            "{name}: {LEAST} = {least} of {replicas} replicas: one broker that is away stops writing"
        );
        return flaw(false, seen, change(name, LEAST, &replicas.saturating_sub(1).to_string()));
    }
    if replicas > 1 && least == 1 {
        let seen = format!(
            "{name}: {LEAST} = 1 of {replicas} replicas: a record may be acknowledged by one broker alone"
        );
        return flaw(false, seen, change(name, LEAST, "2"));
    }
    None
}

fn change(topic: &str, setting: &str, value: &str) -> String {
    format!("kafka-configs --alter --topic {topic} --add-config {setting}={value}")
}

fn number(topic: &ActualTopic, setting: &str) -> Option<i64> {
    topic.settings.get(setting)?.parse().ok()
}

fn span(millis: i64) -> String {
    match millis / 1_000 {
        seconds if seconds >= 2 * 86_400 => format!("{} days", seconds / 86_400),
        seconds if seconds >= 2 * 3_600 => format!("{} h", seconds / 3_600),
        seconds => format!("{seconds} s"),
    }
}

const APPLY: &str = "postroom topics apply";
const SIZE: &str = "max.message.bytes";
const LEAST: &str = "min.insync.replicas";

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]

    use super::*;

    const DAY: i64 = 86_400_000;

    fn topic(name: &str, settings: &[(&str, String)]) -> ActualTopic {
        let sound = [
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", (if name == "s" { 7 * DAY } else { 37 * DAY }).to_string()),
            ("retention.bytes", "-1".to_owned()),
            (SIZE, (if name == "s" { 1_000_000 } else { 1_100_000 }).to_string()),
            (LEAST, "2".to_owned()),
        ];
        let all = sound.into_iter().chain(settings.iter().cloned());
        ActualTopic {
            name: name.to_owned(),
            partitions: 8,
            replication: 3,
            in_sync: 3,
            settings: all.map(|(key, value)| (key.to_owned(), value)).collect(),
        }
    }

    fn found(source: ActualTopic, letters: ActualTopic) -> Vec<Flaw> {
        let pairs = [Letters { source: source.name.clone(), letters: letters.name.clone() }];
        let topics = [source, letters].map(|topic| (topic.name.clone(), topic)).into();
        flaws(&pairs, &topics, Duration::from_secs(30 * 86_400))
    }

    #[test]
    fn sound_topics_have_no_flaws() {
        assert_eq!(found(topic("s", &[]), topic("d", &[])), []);
    }

    #[test]
    fn each_flaw_is_found_alone_with_what_mends_it() {
        let s = || topic("s", &[]);
        let d = |key: &'static str, value: &str| topic("d", &[(key, value.to_owned())]);
        let few = ActualTopic { partitions: 2, ..topic("d", &[]) };
        let late = ActualTopic { in_sync: 1, ..topic("d", &[]) };
        let slow = ActualTopic { in_sync: 2, ..topic("d", &[]) };
        let single = ActualTopic { replication: 1, in_sync: 1, ..topic("d", &[]) };
        for (letters, aspect, is_grave, fix) in [
            (few, Aspect::Partitions, false, "kafka-topics --alter --topic d --partitions 8"),
            (d("retention.ms", &(6 * DAY).to_string()), Aspect::Retention, true, APPLY),
            (d("retention.ms", &(8 * DAY).to_string()), Aspect::Retention, false, APPLY),
            (d("retention.bytes", "1000"), Aspect::Retention, false, "retention.bytes=-1"),
            (d("cleanup.policy", "compact,delete"), Aspect::Cleanup, true, "cleanup.policy=delete"),
            (d(SIZE, "1000000"), Aspect::Size, true, "max.message.bytes=1"),
            (d(LEAST, "4"), Aspect::Replication, true, "min.insync.replicas=2"),
            (d(LEAST, "3"), Aspect::Replication, false, "min.insync.replicas=2"),
            (d(LEAST, "1"), Aspect::Replication, false, "min.insync.replicas=2"),
            (late, Aspect::Replication, true, "bring the brokers back"),
            (slow, Aspect::Replication, false, "bring the brokers back"),
            (single, Aspect::Replication, true, "min.insync.replicas=1"),
        ] {
            let flaws = found(s(), letters);
            assert_eq!(flaws.len(), 1, "{flaws:?}");
            assert_eq!((flaws[0].aspect, flaws[0].is_grave), (aspect, is_grave), "{flaws:?}");
            assert!(flaws[0].fix.contains(fix), "{flaws:?}");
        }
    }

    #[test]
    fn a_source_that_is_kept_for_ever_is_told() {
        let flaws = found(topic("s", &[("retention.ms", "-1".to_owned())]), topic("d", &[]));

        assert!(flaws[0].seen.contains("for ever"), "{flaws:?}");
        let ever = [("retention.ms", "-1".to_owned())];
        assert_eq!(found(topic("s", &ever), topic("d", &ever)), []);
    }

    #[test]
    fn what_is_not_known_is_no_flaw() {
        let bare = |name: &str| ActualTopic { settings: BTreeMap::new(), ..topic(name, &[]) };

        assert_eq!(found(bare("s"), bare("d")), []);
        let pairs = [Letters { source: "gone".to_owned(), letters: "d".to_owned() }];
        assert_eq!(flaws(&pairs, &BTreeMap::new(), Duration::ZERO), []);
    }
}
