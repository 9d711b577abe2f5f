//! What a running instance has measured, read from its `/metrics`.

use std::collections::BTreeMap;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::fetch::get;
use crate::config::Config;
use crate::runtime::Group;

/// Samples by family, each with its labels.
pub(crate) struct Measured(Vec<(String, BTreeMap<String, String>, f64)>);

impl Measured {
    /// Asks an instance.
    pub(crate) fn of(address: &str) -> Result<Self, Failure> {
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        let read = Self::read(&get(address, "/metrics", None)?);
        if read.0.is_empty() {
            return Err(Failure::new(Exit::Data, format!("{address} tells no metrics of Postroom's")));
        }
        Ok(read)
    }

    fn read(page: &str) -> Self {
        Self(page.lines().filter(|line| line.starts_with("postroom_")).filter_map(sample).collect())
    }

    /// Returns how many partitions the topic with the most has.
    pub(crate) fn partitions(&self) -> Option<u32> {
        let most = self.of_family("postroom_topic_partitions").map(|(_, value)| value).fold(0.0, f64::max);
        u32::try_from(whole(most)?).ok().filter(|most| *most > 0)
    }

    /// Returns how many records a second an instance can finish of a group, and how that was found: what it finished in the
    /// time that its handler worked, by as many as work at a time. What the store applies is applied by one writer.
    pub(crate) fn rate(&self, group: &Group, config: &Config) -> Option<(u64, String)> {
        let name = group.full_name(&config.kafka.group_prefix);
        let sum = |family: &str, outcomes: &[&str]| -> f64 {
            let own = self.of_family(family).filter(|(labels, _)| labels.get("group") == Some(&name));
            let counted = own.filter(|(labels, _)| {
                labels.get("outcome").is_none_or(|outcome| outcomes.contains(&outcome.as_str()))
            });
            counted.map(|(_, value)| value).sum()
        };
        let finished = sum("postroom_messages_total", &["ok", "deferred", "dead_lettered"]);
        let busy = sum("postroom_message_processing_seconds_sum", &[]);
        if finished < FEWEST || busy <= 0.0 {
            return None;
        }
        let settings = group.settings(0);
        let at_once = if settings.batch.get() > 1 { 1 } else { settings.concurrency.get() };
        let rate = whole(finished / busy * f64::from(u32::try_from(at_once).ok()?))?.max(1);
        let how = format!(
            "{rate} records a second × 30 s; measured: {finished:.0} finished in {busy:.1} s of work, {at_once} at a time"
        );
        Some((rate, how))
    }

    fn of_family<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a BTreeMap<String, String>, f64)> {
        self.0.iter().filter(move |(name, ..)| name == family).map(|(_, labels, value)| (labels, *value))
    }
}

/// Reads one line: no label of ours holds a quote or a comma.
fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    let labels = pairs.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned()));
    Some((name.to_owned(), labels.collect(), value.parse().ok()?))
}

/// Returns the whole part of a number that a record count can have.
fn whole(value: f64) -> Option<u64> {
    format!("{:.0}", value.floor()).parse().ok()
}

/// Of fewer records nothing can be said.
const FEWEST: f64 = 100.0;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn labels_and_values_are_read_from_the_page() {
        let page =
            "# HELP x\npostroom_topic_partitions{group=\"postroom.mail\",topic=\"blog.mail\"} 12\nother 3\n";
        let measured = Measured::read(page);

        assert_eq!(measured.partitions(), Some(12));
        assert_eq!(measured.of_family("postroom_topic_partitions").next().unwrap().0["topic"], "blog.mail");
        assert_eq!(measured.0.len(), 1);
    }
}
