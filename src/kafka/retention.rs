//! How long topics keep their records.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{ConfigEntry, OwnedResourceSpecifier, ResourceSpecifier};

use crate::kafka::admin::{Admin, options};
use crate::kafka::errors;
use crate::ports::EdgeError;

impl Admin {
    /// Returns how long those of these topics keep records whose settings the cluster tells; `None`: for ever, or as long as
    /// no newer record has the key.
    ///
    /// # Errors
    /// Says why the cluster did not answer. A cluster without an admin API takes 5 s for it.
    pub async fn retention(
        &self,
        topics: &[String],
    ) -> Result<BTreeMap<String, Option<Duration>>, EdgeError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let told = self.client().describe_configs(&resources, &options()).await;
        let told = told.map_err(|error| errors::of_request(&error))?;
        let mut kept = BTreeMap::new();
        for resource in told {
            // Topics that we may not see, or that are not there, are left out.
            let Ok(resource) = resource else { continue };
            if let OwnedResourceSpecifier::Topic(name) = resource.specifier {
                kept.insert(name, span(&resource.entries));
            }
        }
        Ok(kept)
    }
}

fn span(entries: &[ConfigEntry]) -> Option<Duration> {
    let value = |name: &str| entries.iter().find(|entry| entry.name == name)?.value.as_deref();
    if !value("cleanup.policy")?.contains("delete") {
        return None;
    }
    value("retention.ms")?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::ConfigSource;

    use super::*;

    fn entries(policy: &str, retention: &str) -> Vec<ConfigEntry> {
        let entry = |name: &str, value: &str| ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        vec![entry("cleanup.policy", policy), entry("retention.ms", retention)]
    }

    #[test]
    fn only_what_time_removes_has_a_retention() {
        assert_eq!(span(&entries("delete", "60000")), Some(Duration::from_secs(60)));
        assert_eq!(span(&entries("compact,delete", "60000")), Some(Duration::from_secs(60)));
        assert_eq!(span(&entries("compact", "60000")), None);
        assert_eq!(span(&entries("delete", "-1")), None);
        assert_eq!(span(&[]), None);
    }
}
