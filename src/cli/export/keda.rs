//! A ScaledObject for KEDA, with the reason beside each value.

use std::num::NonZeroU32;

use crate::cli::args::{Global, KedaArgs, KedaTrigger};
use crate::cli::effects::groups;
use crate::cli::export::filled;
use crate::cli::export::measured::Measured;
use crate::cli::failure::Failure;
use crate::cli::settings::loaded_for_elsewhere;
use crate::config::{Config, Start};
use crate::runtime::Group;

pub(crate) fn scaled_object(global: &Global, arguments: &KedaArgs) -> Result<String, Failure> {
    let mut config = loaded_for_elsewhere(global)?.config;
    let groups = groups(&mut config, &arguments.effects)?;
    let measured = match &arguments.from {
        Some(address) => Some(Measured::of(address)?),
        None => None,
    };
    let found = measured.as_ref().and_then(Measured::partitions);
    let said = arguments.partitions.map(NonZeroU32::get).or(found);
    let partitions = said.unwrap_or_else(|| config.topics.partitions.get());
    let asked = Asked { config: &config, arguments, measured: measured.as_ref(), partitions };
    let mut triggers = String::new();
    match arguments.trigger {
        KedaTrigger::Kafka => groups.iter().for_each(|group| triggers.push_str(&asked.kafka(group))),
        KedaTrigger::MetricsApi => {
            groups.iter().for_each(|group| triggers.push_str(&asked.metrics_api(group)))
        }
        KedaTrigger::Prometheus => triggers.push_str(PROMETHEUS),
    }
    let partitions = partitions.to_string();
    let mut object =
        filled(OBJECT, &[("PARTITIONS", partitions), ("TRIGGERS", triggers.trim_end().to_owned())]);
    if arguments.trigger == KedaTrigger::MetricsApi {
        object.push_str(AUTHENTICATION);
    }
    Ok(object)
}

struct Asked<'a> {
    config: &'a Config,
    arguments: &'a KedaArgs,
    measured: Option<&'a Measured>,
    partitions: u32,
}

impl Asked<'_> {
    /// One trigger a topic: `limitToPartitionsWithLag` needs to know which. KEDA takes the highest.
    fn kafka(&self, group: &Group) -> String {
        let (name, threshold) = (group.full_name(&self.config.kafka.group_prefix), self.threshold(group));
        let start = match self.config.effects.named(group.name()).start {
            Start::Earliest => "earliest",
            Start::Latest => "latest",
        };
        let mut triggers = String::new();
        for topic in group.topics() {
            triggers.push_str(&filled(
                KAFKA,
                &[
                    ("BROKERS", self.config.kafka.brokers.to_string()),
                    ("GROUP", name.clone()),
                    ("TOPIC", topic.to_owned()),
                    ("WHY", threshold.1.clone()),
                    ("THRESHOLD", threshold.0.to_string()),
                    ("ACTIVATION", self.partitions.to_string()),
                    ("START", start.to_owned()),
                ],
            ));
        }
        triggers
    }

    fn metrics_api(&self, group: &Group) -> String {
        let (name, threshold) = (group.full_name(&self.config.kafka.group_prefix), self.threshold(group));
        filled(
            METRICS_API,
            &[
                ("NAMESPACE", self.arguments.namespace.clone()),
                ("PORT", self.config.http.listen.0.port().to_string()),
                // A dot in a name is no step of a path.
                ("LOCATION", name.replace('.', "\\.")),
                ("WHY", threshold.1),
                ("THRESHOLD", threshold.0.to_string()),
            ],
        )
    }

    /// Returns the lag that one replica works off within a poll of KEDA's, and where the number comes from.
    fn threshold(&self, group: &Group) -> (u64, String) {
        if let Some((rate, how)) = self.measured.and_then(|measured| measured.rate(group, self.config)) {
            return (rate.saturating_mul(POLL_SECONDS).max(1), how);
        }
        let (rate, how) = match self.arguments.rate {
            Some(rate) => (u64::from(rate.get()), "as --rate says"),
            None => (ASSUMED_RATE, "a guess: measure it with --from, or say it with --rate"),
        };
        (rate.saturating_mul(POLL_SECONDS), format!("{rate} records a second × {POLL_SECONDS} s; {how}"))
    }
}

/// `pollingInterval`: what one replica does within it needs no second one.
const POLL_SECONDS: u64 = 30;
/// What a replica is taken for where nothing is known, in records a second.
const ASSUMED_RATE: u64 = 50;

const OBJECT: &str = include_str!("keda.yaml");

const KAFKA: &str = r#"    - type: kafka
      metadata:
        bootstrapServers: "@BROKERS@"
        consumerGroup: @GROUP@
        topic: @TOPIC@
        # @WHY@. KEDA's own 10 is far too small for a burst of mail.
        lagThreshold: "@THRESHOLD@"
        # The partitions of the topic: markers of transactions leave a lag of one in each.
        activationLagThreshold: "@ACTIVATION@"
        # As effects.NAME.start: where a group without a commit begins.
        offsetResetPolicy: @START@
        # More members cannot help one busy partition.
        limitToPartitionsWithLag: "true"
        # Counts of members that divide the partitions: none gets twice the work of another.
        ensureEvenDistributionOfPartitions: "true"
        # A partition counts as stuck after a single poll without a commit, and commits follow slow effects: the group would
        # shrink in mid-work. Poison is dead-lettered, so no lag persists.
        excludePersistentLag: "false"
"#;

const METRICS_API: &str = r#"    - type: metrics-api
      metadata:
        # Unfinished records of the group in the whole cluster; any member knows. It is 0 when the group has caught up, and an
        # error when Kafka does not answer.
        url: http://postroom.@NAMESPACE@.svc:@PORT@/api/scale
        format: json
        valueLocation: '@LOCATION@'
        # @WHY@.
        targetValue: "@THRESHOLD@"
        authMode: bearer
      authenticationRef:
        name: postroom-scale
"#;

const PROMETHEUS: &str = r#"    - type: prometheus
      # The age does not fall by being shared: as a value of the whole, not of each member.
      metricType: Value
      metadata:
        serverAddress: http://prometheus-operated.monitoring.svc:9090
        # The age of the oldest unfinished record, in seconds.
        query: max(postroom_consumer_lag_seconds)
        # Older than a minute: grow.
        threshold: "60"
        activationThreshold: "1"
        # No series is no answer, and not zero: members that are down export nothing.
        ignoreNullValues: "false"
"#;

const AUTHENTICATION: &str = "\
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: postroom-scale
  labels:
    app.kubernetes.io/name: postroom
    app.kubernetes.io/instance: postroom
spec:
  secretTargetRef:
    - parameter: token
      name: postroom
      key: admin_token
";
