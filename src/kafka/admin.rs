//! Questions to the cluster, and changes of its topics.

#![expect(clippy::wildcard_enum_match_arm, reason = "the client library's enums are not exhaustive")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::task::spawn_blocking;

use crate::kafka::config::{Connection, Role};
use crate::kafka::dead_letter::DeadLetterRoute;
use crate::kafka::direct::Security;
use crate::kafka::grant::{Need, Operation, lacking};
use crate::kafka::standing::{GroupPosition, GroupPositions};
use crate::kafka::topics::{ActualTopic, DesiredTopic, HEADER_ROOM, Plan, Step};
use crate::kafka::{access, errors, reach};
use crate::ports::EdgeError;

/// A client for questions and changes. Its calls must be made within a tokio runtime.
pub struct Admin {
    client: Arc<AdminClient<DefaultClientContext>>,
    connection: Connection,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("brokers", &self.connection.brokers).finish_non_exhaustive()
    }
}

impl Admin {
    /// Makes a client. Does not wait for the cluster.
    ///
    /// # Errors
    /// Says what is wrong with the configuration.
    pub fn connect(connection: &Connection) -> Result<Self, EdgeError> {
        let client = connection.base(Role::Producer)?.create().map_err(|error| errors::of_request(&error))?;
        Ok(Self { client: Arc::new(client), connection: connection.clone() })
    }

    pub(crate) fn client(&self) -> &AdminClient<DefaultClientContext> {
        &self.client
    }

    /// Returns the cluster's topics without their settings, Kafka's own left out.
    ///
    /// # Errors
    /// Says why no broker answered.
    pub async fn topics(&self) -> Result<Vec<ActualTopic>, EdgeError> {
        let (client, connection) = (Arc::clone(&self.client), self.connection.clone());
        let metadata = blocking(move || {
            reach::ask(&connection, PATIENCE, |patience| client.inner().fetch_metadata(None, patience))
        });
        let metadata = metadata.await?;
        let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
        let count = |many: usize| i32::try_from(many).unwrap_or(i32::MAX);
        Ok(topics
            .map(|topic| ActualTopic {
                name: topic.name().to_owned(),
                partitions: count(topic.partitions().len()),
                replication: topic.partitions().first().map_or(0, |first| count(first.replicas().len())),
                in_sync: topic.partitions().iter().map(|one| count(one.isr().len())).min().unwrap_or(0),
                settings: BTreeMap::new(),
            })
            .collect())
    }

    /// Returns the cluster's brokers: their numbers and the addresses that they give themselves.
    ///
    /// # Errors
    /// Says why no broker answered, and what is in the way.
    pub async fn brokers(&self) -> Result<Vec<(i32, String)>, EdgeError> {
        let (client, connection) = (Arc::clone(&self.client), self.connection.clone());
        let metadata = blocking(move || {
            reach::ask(&connection, PATIENCE, |patience| client.inner().fetch_metadata(None, patience))
        });
        let metadata = metadata.await?;
        let brokers = metadata.brokers().iter();
        Ok(brokers.map(|broker| (broker.id(), format!("{}:{}", broker.host(), broker.port()))).collect())
    }

    /// Returns those of these topics that are there, with their settings.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub async fn described(&self, names: &[&str]) -> Result<Vec<ActualTopic>, EdgeError> {
        let mut topics = self.topics().await?;
        topics.retain(|topic| names.contains(&topic.name.as_str()));
        let there: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let mut settings = self.settings(&there).await?;
        for topic in &mut topics {
            if let Some((known, _)) = settings.remove(&topic.name) {
                topic.settings = known;
            }
        }
        Ok(topics)
    }

    /// Compares the cluster with what should be.
    ///
    /// # Errors
    /// Says why the cluster did not answer; [`EdgeError::Configuration`] where it has no admin API;
    /// [`EdgeError::NotAuthorised`] where we may not see what is there.
    pub async fn plan(&self, desired: &[DesiredTopic]) -> Result<Plan, EdgeError> {
        if Security::of(&self.connection).protocol() != "plaintext" {
            // A cluster hides topics that we may not see: they would be made once more.
            let see = [Operation::Describe, Operation::DescribeConfigs];
            let see =
                desired.iter().flat_map(|topic| see.map(|operation| Need::topic(operation, &topic.name)));
            let hidden = self.missing_rights(see.collect()).await.unwrap_or_default();
            if !hidden.is_empty() {
                return Err(EdgeError::NotAuthorised(lacking(&hidden, &self.connection)));
            }
        }
        let names: Vec<&str> = desired.iter().map(|topic| topic.name.as_str()).collect();
        let mut actual = self.described(&names).await?;
        // Names that differ only by a dot are told, too.
        actual.extend(self.topics().await?.into_iter().filter(|topic| !names.contains(&topic.name.as_str())));
        Ok(Plan::between(desired, &actual))
    }

    /// Carries a plan's steps out and waits until the cluster shows them. What is there already counts as
    /// done, so it may be repeated.
    ///
    /// # Errors
    /// Names the first step that failed and why.
    pub async fn apply(&self, plan: &Plan) -> Result<(), EdgeError> {
        for step in &plan.steps {
            match step {
                Step::Create(topic) => self.create(topic, plan).await?,
                Step::AddPartitions { topic, to, .. } => self.add_partitions(topic, *to).await?,
                Step::Change { topic, settings } => self.change(topic, settings).await?,
            }
        }
        self.wait_until_shown(plan).await
    }

    /// A broker answers before its own metadata shows what was done.
    async fn wait_until_shown(&self, plan: &Plan) -> Result<(), EdgeError> {
        let wanted: Vec<(&str, i32)> = plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Create(topic) => Some((topic.name.as_str(), topic.partitions)),
                Step::AddPartitions { topic, to, .. } => Some((topic.as_str(), *to)),
                Step::Change { .. } => None,
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let there = self.topics().await?;
            let shown = |(name, partitions): &(&str, i32)| {
                there.iter().any(|topic| topic.name == *name && topic.partitions >= *partitions)
            };
            let Some((missing, _)) = wanted.iter().find(|topic| !shown(topic)) else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(EdgeError::Client(format!(
                    "the cluster took topic {missing}, but does not show it yet"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks that the dead-letter topics of these sources take records as large as the sources do. Says
    /// nothing where the cluster has no admin API, but takes 5 s to find out: not for the embedded broker.
    ///
    /// # Errors
    /// Names the topic that is missing or too small, and both values.
    pub async fn check_dead_letters(
        &self,
        route: &DeadLetterRoute,
        sources: &[String],
    ) -> Result<(), EdgeError> {
        let pairs: Vec<(String, String)> = sources
            .iter()
            .filter(|source| **source != route.retry_topic())
            .map(|source| (source.clone(), route.topic(source)))
            .collect();
        let names: Vec<&str> =
            pairs.iter().flat_map(|(source, letters)| [source.as_str(), letters.as_str()]).collect();
        let settings = match self.settings(&names).await {
            Ok(settings) => settings,
            Err(EdgeError::Configuration(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let limit = |topic: &str| settings.get(topic)?.0.get("max.message.bytes")?.parse::<u64>().ok();
        for (source, letters) in &pairs {
            if source == letters {
                return Err(EdgeError::Configuration(format!("{source} would be its own dead-letter topic")));
            }
            if let (Some(source_limit), Some(letters_limit)) = (limit(source), limit(letters))
                && letters_limit < source_limit.saturating_add(HEADER_ROOM / 2)
            {
                return Err(EdgeError::Configuration(format!(
                    "topic {letters}: max.message.bytes = {letters_limit} is too small for dead letters of {source} \
                     (max.message.bytes = {source_limit}): postroom topics apply raises it"
                )));
            }
        }
        Ok(())
    }

    /// Returns where a group stands in all partitions of these topics; those that do not exist are left out.
    ///
    /// # Errors
    /// Says why the cluster did not answer.
    pub async fn group_positions(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<Vec<GroupPosition>, EdgeError> {
        GroupPositions::new(self.connection.clone()).of(group, topics).await
    }

    /// Asks the broker which of these rights it does not grant.
    ///
    /// # Errors
    /// Says why that cannot be found out.
    pub async fn missing_rights(&self, needs: Vec<Need>) -> Result<Vec<Need>, EdgeError> {
        let connection = self.connection.clone();
        blocking(move || access::missing(&connection, &needs, PATIENCE)).await
    }

    /// Says that these rights are missing: those that the broker names, else all of them.
    async fn refused(&self, needs: Vec<Need>) -> EdgeError {
        let missing = self.missing_rights(needs.clone()).await.unwrap_or_default();
        let missing = if missing.is_empty() { needs } else { missing };
        EdgeError::NotAuthorised(lacking(&missing, &self.connection))
    }

    /// Returns the settings of topics, and which of them were set for the topic itself.
    async fn settings(
        &self,
        topics: &[&str],
    ) -> Result<BTreeMap<String, (BTreeMap<String, String>, Vec<String>)>, EdgeError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let needs: Vec<_> =
            topics.iter().map(|topic| Need::topic(Operation::DescribeConfigs, *topic)).collect();
        let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let results = self.client.describe_configs(&resources, &options()).await;
        let results = match results {
            Ok(results) => results,
            Err(error) => return Err(self.admin_error("describing topics", &error, needs).await),
        };
        let mut settings = BTreeMap::new();
        for result in results {
            let resource = match result {
                Ok(resource) => resource,
                Err(Code::UnknownTopicOrPartition | Code::UnknownTopic) => continue,
                Err(code) => return Err(self.admin_code("describing topics", code, needs).await),
            };
            if let OwnedResourceSpecifier::Topic(name) = resource.specifier {
                let own = resource.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
                let own = own.map(|entry| entry.name.clone()).collect();
                let all = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
                settings.insert(name, (all.collect(), own));
            }
        }
        Ok(settings)
    }

    async fn create(&self, topic: &DesiredTopic, plan: &Plan) -> Result<(), EdgeError> {
        let needs = vec![match plan.steps.iter().filter(|step| matches!(step, Step::Create(_))).count() {
            0 | 1 => Need::topic(Operation::Create, &topic.name),
            _ => Need::cluster(Operation::Create),
        }];
        let replication = TopicReplication::Fixed(topic.replication.unwrap_or(-1));
        let mut new = NewTopic::new(&topic.name, topic.partitions, replication);
        for (key, value) in &topic.settings {
            new = new.set(key, value);
        }
        let what = format!("creating topic {}", topic.name);
        let results = self.client.create_topics([&new], &options()).await;
        match results {
            Err(error) => Err(self.admin_error(&what, &error, needs).await),
            Ok(results) => match results.into_iter().next() {
                None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
                Some(Err((_, code))) => Err(self.admin_code(&what, code, needs).await),
            },
        }
    }

    async fn add_partitions(&self, topic: &str, to: i32) -> Result<(), EdgeError> {
        let new = NewPartitions::new(topic, usize::try_from(to).unwrap_or(0));
        let what = format!("adding partitions to topic {topic}");
        let needs = vec![Need::topic(Operation::Alter, topic)];
        let results = self.client.create_partitions([&new], &options()).await;
        match results {
            Err(error) => Err(self.admin_error(&what, &error, needs).await),
            Ok(results) => match results.into_iter().next() {
                None | Some(Ok(_)) => Ok(()),
                Some(Err((_, code))) => Err(self.admin_code(&what, code, needs).await),
            },
        }
    }

    /// The client's only call replaces all settings of a topic: those that were set for it are sent along.
    async fn change(
        &self,
        topic: &str,
        changes: &[(String, Option<String>, String)],
    ) -> Result<(), EdgeError> {
        let mut settings = self.settings(&[topic]).await?;
        let (all, own) = settings.remove(topic).unwrap_or_default();
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for key in &own {
            if let Some(value) = all.get(key) {
                alter = alter.set(key, value);
            }
        }
        for (key, _, value) in changes {
            alter = alter.set(key, value);
        }
        let what = format!("changing topic {topic}");
        let needs = vec![Need::topic(Operation::AlterConfigs, topic)];
        let results = self.client.alter_configs([&alter], &options()).await;
        match results {
            Err(error) => Err(self.admin_error(&what, &error, needs).await),
            Ok(results) => match results.into_iter().next() {
                None | Some(Ok(_)) => Ok(()),
                Some(Err((_, code))) => Err(self.admin_code(&what, code, needs).await),
            },
        }
    }

    /// Turns what failed into an error; `needs` are the rights that it takes.
    async fn admin_error(&self, what: &str, error: &KafkaError, needs: Vec<Need>) -> EdgeError {
        let code = match error {
            KafkaError::AdminOp(code) => Some(*code),
            error => error.rdkafka_error_code(),
        };
        match code {
            // A broker without the API leaves the client waiting for one that has it.
            Some(Code::OperationTimedOut) if self.topics().await.is_ok() => {
                self.admin_code(what, Code::UnsupportedFeature, needs).await
            }
            Some(code) => self.admin_code(what, code, needs).await,
            None => EdgeError::Client(format!("{what}: {error}")),
        }
    }

    async fn admin_code(&self, what: &str, code: Code, needs: Vec<Need>) -> EdgeError {
        if errors::is_unsupported(code) {
            return EdgeError::Configuration(format!(
                "{what}: the cluster at {} answers, but not its admin API (the embedded broker has none)",
                self.connection.brokers
            ));
        }
        if errors::is_unreachable(&code) {
            return EdgeError::Unreachable(format!("{}: {what}: {code}", self.connection.brokers));
        }
        match code {
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => self.refused(needs).await,
            Code::InvalidReplicationFactor => EdgeError::Configuration(format!(
                "{what}: the cluster has fewer brokers than the replicas that were asked for ({code})"
            )),
            Code::PolicyViolation | Code::InvalidConfig | Code::InvalidPartitions | Code::InvalidTopic => {
                EdgeError::Configuration(format!("{what}: {code}"))
            }
            code => EdgeError::Client(format!("{what}: {code}")),
        }
    }
}

pub(crate) async fn blocking<V: Send + 'static>(
    question: impl FnOnce() -> Result<V, EdgeError> + Send + 'static,
) -> Result<V, EdgeError> {
    spawn_blocking(question).await.unwrap_or_else(|error| Err(EdgeError::Client(error.to_string())))
}

pub(crate) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ADMIN_PATIENCE)).operation_timeout(Some(ADMIN_PATIENCE))
}

const PATIENCE: Duration = Duration::from_secs(10);
const ADMIN_PATIENCE: Duration = Duration::from_secs(5);
