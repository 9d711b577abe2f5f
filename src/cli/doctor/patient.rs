//! What is looked at: the configuration, and what was found out about the cluster, once for all checks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::OnceCell;

use crate::cli::effects::{groups, left_out};
use crate::cli::failure::Failure;
use crate::cli::fetch::get;
use crate::cli::running::Running;
use crate::cli::settings::is_default;
use crate::cli::topics::desired;
use crate::config::{Config, Loaded};
use crate::event::{BlogEvent, EventRecord, EventType, MailRequested, WebhookRequested};
use crate::kafka::{ActualTopic, Admin, Connection, DesiredTopic, Letters, Need, Operation};
use crate::ports::EdgeError;
use crate::runtime::{connection, dead_letter_route};

/// What is looked at.
pub(crate) struct Patient {
    pub(crate) config: Config,
    pub(crate) connection: Connection,
    pub(crate) admin: Admin,
    pub(crate) desired: Vec<DesiredTopic>,
    pub(crate) groups: Vec<Member>,
    /// Effects that are enabled and cannot run, with what they lack.
    pub(crate) lacking: Vec<(&'static str, &'static str)>,
    /// Why the groups cannot be made, where they cannot.
    pub(crate) flawed: Option<Failure>,
    /// Where a running instance would be.
    pub(crate) instance: String,
    topics: OnceCell<Result<BTreeMap<String, ActualTopic>, EdgeError>>,
    away: AtomicBool,
}

/// A consumer group and its topics.
pub(crate) struct Member {
    /// Its full name.
    pub(crate) group: String,
    /// What it reads.
    pub(crate) sources: Vec<String>,
    pub(crate) retry: String,
    /// Where the letters of each source go.
    pub(crate) letters: Vec<Letters>,
}

impl Patient {
    pub(crate) fn new(loaded: Loaded, url: Option<String>) -> Result<Self, Failure> {
        let of_the_demo = || Running::find().filter(|_| is_default(&loaded, "http.listen"))?.http;
        let instance = url.or_else(of_the_demo).unwrap_or_else(|| loaded.config.http.listen.0.to_string());
        let instance = instance.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let mut config = loaded.config;
        let (groups, flawed) = match groups(&mut config, &[]) {
            Ok(groups) => (groups, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let connection = connection(&config);
        let members = groups.iter().map(|group| {
            let route = dead_letter_route(&config, group);
            let sources: Vec<String> = group.topics().into_iter().map(str::to_owned).collect();
            let letters = sources
                .iter()
                .map(|source| Letters { source: source.clone(), letters: route.topic(source) })
                .collect();
            Member { group: route.group.clone(), retry: route.retry_topic(), sources, letters }
        });
        Ok(Self {
            groups: members.collect(),
            desired: desired(&config, &groups),
            lacking: left_out(&config).unwrap_or_default(),
            admin: Admin::connect(&connection)?,
            connection,
            config,
            flawed,
            instance,
            topics: OnceCell::new(),
            away: AtomicBool::new(false),
        })
    }

    /// Says whether no broker answered.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(crate) fn not_reached(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    /// Returns the topics that we need and that are there, with their settings where the cluster tells them.
    pub(crate) async fn topics(&self) -> Result<&BTreeMap<String, ActualTopic>, &EdgeError> {
        let asked = self.topics.get_or_init(|| async {
            let names: Vec<&str> = self.desired.iter().map(|topic| topic.name.as_str()).collect();
            let described = match self.admin.described(&names).await {
                // No admin API: names and partitions are known all the same.
                Err(EdgeError::Configuration(_)) => {
                    let topics = self.admin.topics().await?;
                    topics.into_iter().filter(|topic| names.contains(&topic.name.as_str())).collect()
                }
                described => described?,
            };
            Ok(described.into_iter().map(|topic| (topic.name.clone(), topic)).collect())
        });
        asked.await.as_ref()
    }

    /// Returns each source with its dead letters.
    pub(crate) fn letters(&self) -> Vec<Letters> {
        self.groups.iter().flat_map(|member| member.letters.clone()).collect()
    }

    /// Returns each source with the topic through which its records come back.
    pub(crate) fn retries(&self) -> Vec<Letters> {
        let of = |member: &Member| {
            let retry = member.retry.clone();
            let pair = move |source: &String| Letters { source: source.clone(), letters: retry.clone() };
            member.sources.iter().map(pair).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of).collect()
    }

    /// Returns the rights that running needs.
    pub(crate) fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        for member in &self.groups {
            needs.push(Need::group(Operation::Read, &member.group));
            let read = member.sources.iter().chain([&member.retry]);
            needs.extend(read.map(|topic| Need::topic(Operation::Read, topic)));
            needs.extend(member.letters.iter().map(|pair| Need::topic(Operation::Write, &pair.letters)));
        }
        // What the relay publishes, where somebody carries it out.
        let requests = [("mail", MailRequested::TYPE), ("webhooks", WebhookRequested::TYPE)];
        let asked_for = requests.iter().filter(|(name, _)| {
            self.config.effects.named(name).enabled && self.lacking.iter().all(|(lacking, _)| lacking != name)
        });
        needs.extend(asked_for.map(|(_, kind)| Need::topic(Operation::Write, kind.topic)));
        needs.sort();
        needs.dedup();
        needs
    }

    /// Returns the rights that commands of operators need beside them: `topics` and `dlq`.
    pub(crate) fn needs_of_operators(&self) -> Vec<Need> {
        let mut needs = vec![Need::cluster(Operation::Create)];
        for topic in &self.desired {
            needs.extend(
                [Operation::DescribeConfigs, Operation::AlterConfigs, Operation::Alter]
                    .map(|operation| Need::topic(operation, &topic.name)),
            );
        }
        for member in &self.groups {
            needs.push(Need::topic(Operation::Write, &member.retry));
            needs.extend(member.letters.iter().map(|pair| Need::topic(Operation::Read, &pair.letters)));
        }
        needs.sort();
        needs.dedup();
        needs
    }

    /// Gets a page of the running instance; `None` where none runs.
    pub(crate) async fn page(&self, path: &'static str) -> Option<String> {
        let (instance, token) = (self.instance.clone(), self.config.admin.token.clone());
        let asked = tokio::task::spawn_blocking(move || get(&instance, path, token.as_ref()));
        asked.await.ok()?.ok()
    }
}

/// The kinds of events that Postroom reads and writes.
pub(crate) fn kinds() -> Vec<EventType> {
    BlogEvent::TYPES.iter().copied().chain([MailRequested::TYPE, WebhookRequested::TYPE]).collect()
}
