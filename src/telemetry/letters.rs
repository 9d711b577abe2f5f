//! The series of a group's dead-letter topics, and of how long its topics keep records.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, GaugeVec, IntCounter, IntGauge};

use crate::telemetry::families::Families;
use crate::telemetry::outcome::Ending;
use crate::telemetry::topic::{Each, OTHER};

/// The dead-letter topics of one group.
pub(crate) struct LetterSeries {
    group: String,
    families: Arc<Families>,
    topics: Vec<LetterTopic>,
    /// Replays whose origin is none of the group's topics.
    other: Each<Ending, IntCounter>,
}

struct LetterTopic {
    source: String,
    name: String,
    open: IntGauge,
    oldest: Gauge,
    replays: Each<Ending, IntCounter>,
}

impl LetterSeries {
    /// Makes the series of these pairs of source and dead-letter topic, at zero.
    pub(crate) fn new(
        families: Arc<Families>,
        group: &str,
        pairs: &[(String, String)],
    ) -> Result<Self, prometheus::Error> {
        let replays = |topic: &str| {
            Each::make(&ENDINGS, |ending| {
                families.replays.get_metric_with_label_values(&[group, topic, ending.word()])
            })
        };
        let topics = pairs.iter().map(|(source, name)| {
            let labels = [group, name];
            Ok(LetterTopic {
                source: source.clone(),
                name: name.clone(),
                open: families.dead_letters_open.get_metric_with_label_values(&labels)?,
                oldest: families.dead_letters_oldest.get_metric_with_label_values(&labels)?,
                replays: replays(name)?,
            })
        });
        let topics = topics.collect::<Result<_, prometheus::Error>>()?;
        Ok(Self { group: group.to_owned(), topics, other: replays(OTHER)?, families })
    }

    /// Tells what is open in a dead-letter topic; `oldest` in milliseconds since the Unix epoch.
    pub(crate) fn open(&self, name: &str, letters: u64, oldest: Option<i64>) {
        if let Some(topic) = self.topics.iter().find(|topic| topic.name == name) {
            topic.open.set(i64::try_from(letters).unwrap_or(i64::MAX));
            let since = Duration::from_millis(oldest.and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
            topic.oldest.set(since.as_secs_f64());
        }
    }

    /// Tells how long a topic keeps records, be it a source or one of dead letters; `None`: for ever, or not told.
    pub(crate) fn kept(&self, name: &str, kept: Option<Duration>) {
        let is_letters = self.topics.iter().any(|topic| topic.name == name);
        let family = if is_letters { &self.families.dead_letters_kept } else { &self.families.topic_kept };
        set_or_remove(family, &[&self.group, name], kept);
    }

    /// Replays of letters of a source topic ended the same way.
    pub(crate) fn replayed(&self, source: &str, ending: Ending, count: u64) {
        let topic = self.topics.iter().find(|topic| topic.source == source);
        if let Some(counter) = topic.map_or(&self.other, |topic| &topic.replays).of(ending) {
            counter.inc_by(count);
        }
    }
}

fn set_or_remove(family: &GaugeVec, labels: &[&str], kept: Option<Duration>) {
    match kept {
        Some(kept) => {
            if let Ok(gauge) = family.get_metric_with_label_values(labels) {
                gauge.set(kept.as_secs_f64());
            }
        }
        // Where it was not there, nothing is to be removed.
        None => family.remove_label_values(labels).unwrap_or_default(),
    }
}

/// How a replay can end.
const ENDINGS: [Ending; 5] =
    [Ending::DeadLettered, Ending::Deferred, Ending::Duplicate, Ending::Ok, Ending::Skipped];

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::telemetry::{Board, BuildInfo, Metrics};

    fn series(families: &Arc<Families>) -> LetterSeries {
        let pairs = [("posts".to_owned(), "dlq.g.posts".to_owned())];
        #[expect(clippy::unwrap_used, reason = "tests")]
        LetterSeries::new(Arc::clone(families), "g", &pairs).unwrap()
    }

    fn families() -> Arc<Families> {
        let build = BuildInfo::current("1".to_owned());
        #[expect(clippy::unwrap_used, reason = "tests")]
        Metrics::new(&build, Arc::new(Board::new("1"))).unwrap().families
    }

    fn page(families: &Families) -> String {
        let registry = Registry::new();
        for family in [&families.dead_letters_oldest, &families.dead_letters_kept, &families.topic_kept] {
            drop(registry.register(Box::new(family.clone())));
        }
        drop(registry.register(Box::new(families.replays.clone())));
        drop(registry.register(Box::new(families.dead_letters_open.clone())));
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default()
    }

    #[test]
    fn a_retention_is_absent_until_it_is_told_and_the_rest_stands_at_zero() {
        let families = families();
        let series = series(&families);
        let letters = "{dlq_topic=\"dlq.g.posts\",group=\"g\"}";

        let zero = page(&families);
        assert!(zero.contains(&format!("postroom_dead_letter_topic_messages{letters} 0\n")), "{zero}");
        assert!(zero.contains(&format!("postroom_dead_letter_oldest_timestamp_seconds{letters} 0\n")));
        assert!(!zero.contains("retention_seconds"), "{zero}");

        series.kept("dlq.g.posts", Some(Duration::from_secs(60)));
        series.kept("posts", Some(Duration::from_secs(30)));
        series.open("dlq.g.posts", 2, Some(1_500));
        let told = page(&families);
        assert!(told.contains(&format!("postroom_dead_letter_retention_seconds{letters} 60\n")), "{told}");
        assert!(told.contains("postroom_topic_retention_seconds{group=\"g\",topic=\"posts\"} 30\n"));
        assert!(told.contains(&format!("postroom_dead_letter_topic_messages{letters} 2\n")));
        assert!(told.contains(&format!("postroom_dead_letter_oldest_timestamp_seconds{letters} 1.5\n")));

        series.kept("dlq.g.posts", None);
        series.open("dlq.g.posts", 0, None);
        let open_no_longer = page(&families);
        assert!(!open_no_longer.contains("dead_letter_retention_seconds"), "{open_no_longer}");
        assert!(
            open_no_longer.contains(&format!("postroom_dead_letter_oldest_timestamp_seconds{letters} 0\n"))
        );
    }

    #[test]
    fn replays_are_counted_by_where_their_letter_stood() {
        let families = families();
        let series = series(&families);

        series.replayed("posts", Ending::Ok, 2);
        series.replayed("of somebody else", Ending::DeadLettered, 1);

        let page = page(&families);
        let count = |topic: &str, outcome: &str, count: u64| {
            let labels = format!("{{dlq_topic=\"{topic}\",group=\"g\",outcome=\"{outcome}\"}}");
            page.contains(&format!("postroom_dead_letter_replays_total{labels} {count}\n"))
        };
        assert!(count("dlq.g.posts", "ok", 2) && count("dlq.g.posts", "skipped", 0), "{page}");
        assert!(count("other", "dead_lettered", 1), "{page}");
    }
}
