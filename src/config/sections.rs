//! The sections and settings, with their defaults and documentation: `docs/config.md` is made from this file.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::choice::choice;
use crate::config::instance::InstanceId;
use crate::config::leaf::{Brokers, Listen, Template};
use crate::config::librdkafka::RawProperties;
use crate::config::load::Reader;
use crate::config::mail::MailSection;
use crate::config::objects::{Objects, S3Section};
use crate::config::part::{Described, Part, join, section};
use crate::config::purge::Purge;
use crate::config::registry::Registry;
use crate::config::secret::Secret;
use crate::config::size::ByteSize;
use crate::config::store::StoreSection;
use crate::config::thumbnails::Thumbnails;
use crate::config::webhooks::Webhooks;

section! {
    /// The whole configuration. Made by [`load`](crate::config::load).
    pub struct Config {
        /// Token of the API.
        admin: Admin = Admin::default(),
        /// One table an effect.
        effects: Effects = Effects::default(),
        /// The metrics, health and status pages.
        http: Http = Http::default(),
        /// How to reach Kafka.
        kafka: Kafka = Kafka::default(),
        /// The log.
        log: Log = Log::default(),
        /// The mails that are sent.
        mail: MailSection = MailSection::default(),
        /// How much memory may be used.
        memory: Memory = Memory::default(),
        /// Which caches forget what events made stale.
        purge: Purge = Purge::default(),
        /// Where uploaded pictures lie and thumbnails go.
        objects: Objects = Objects::default(),
        /// Where schemas are found.
        registry: Registry = Registry::default(),
        /// How buckets are reached.
        s3: S3Section = S3Section::default(),
        /// How the process ends.
        shutdown: Shutdown = Shutdown::default(),
        /// Where positions and effects are kept.
        store: StoreSection = StoreSection::default(),
        /// What is made of uploaded pictures.
        thumbnails: Thumbnails = Thumbnails::default(),
        /// The topics that Postroom makes and reads.
        topics: Topics = Topics::default(),
        /// How endpoints of others are told of events.
        webhooks: Webhooks = Webhooks::default(),
    }
}

section! {
    /// `[admin]`: who may use the API.
    pub struct Admin {
        /// Bearer token that `/api` asks for. Needed where `http.listen` is not on loopback; without it only `/metrics`, `/livez` and `/readyz` answer there.
        token: Option<Secret> = None,
    }
}

section! {
    /// `[http]`: one port for metrics, health and status.
    pub struct Http {
        /// Whether to listen at all.
        enabled: bool = true,
        /// Where to listen. Port 0 takes a free one and prints it.
        listen: Listen = Listen(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9464)),
    }
}

section! {
    /// `[kafka]`: how to reach Kafka and how to be a member of its groups.
    pub struct Kafka {
        /// The brokers to ask first (`bootstrap.servers`).
        brokers: Brokers = Brokers::local(),
        /// The name that brokers see in their logs and quotas (`client.id`).
        client_id: String = "postroom".to_owned(),
        /// What group names start with; the effect's name follows.
        group_prefix: String = "postroom.".to_owned(),
        /// Makes the members static (`group.instance.id`, the effect's name is added): a restart within the session causes no rebalance. Two running processes must not share it; `"{hostname}"` is the name of the pod in a StatefulSet.
        instance_id: Option<InstanceId> = None,
        /// `classic` is cooperative-sticky; `consumer` is the protocol of KIP-848, for brokers from 4.0 on.
        protocol: GroupProtocol = GroupProtocol::Classic,
        /// How long a member may be silent before its partitions go to others (`session.timeout.ms`). Under `consumer` the broker decides.
        session_timeout: Duration = Duration::from_secs(45),
        /// How long the poll thread may be away before the member is out (`max.poll.interval.ms`). Must be longer than every effect's deadline.
        max_poll_interval: Duration = Duration::from_secs(300),
        /// How connections are protected.
        security: Security = Security::Plaintext,
        /// Allows what is fit for a test network only: plaintext to other machines, SASL without TLS, one replica.
        insecure_dev: bool = false,
        /// Credentials.
        sasl: Sasl = Sasl::default(),
        /// Certificates.
        tls: Tls = Tls::default(),
        /// Passed to librdkafka as it is; below the table, or as `POSTROOM_KAFKA__LIBRDKAFKA__FETCH_WAIT_MAX_MS`. What would break a promise is refused.
        librdkafka: RawProperties = RawProperties::default(),
    }
}

impl Kafka {
    /// Returns the properties that every client is built with: security, credentials, certificates, and what is
    /// passed through. It holds secrets: do not display it.
    pub fn client_properties(&self) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::new();
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                properties.insert(name.to_owned(), value);
            }
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        set(
            "security.protocol",
            (self.security != Security::Plaintext).then(|| self.security.word().to_owned()),
        );
        set("sasl.mechanism", self.sasl.mechanism.map(|mechanism| mechanism.word().to_owned()));
        set("sasl.username", self.sasl.username.clone());
        set("sasl.password", secret(&self.sasl.password));
        set("ssl.ca.location", path(&self.tls.ca));
        set("ssl.certificate.location", path(&self.tls.certificate));
        set("ssl.key.location", path(&self.tls.key));
        set("ssl.key.password", secret(&self.tls.key_password));
        properties.extend(self.librdkafka.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        properties
    }
}

section! {
    /// `[kafka.sasl]`: credentials.
    pub struct Sasl {
        /// How to prove who we are (`sasl.mechanism`).
        mechanism: Option<SaslMechanism> = None,
        /// The user's name.
        username: Option<String> = None,
        /// The user's password.
        password: Option<Secret> = None,
    }
}

section! {
    /// `[kafka.tls]`: certificates, in PEM files.
    pub struct Tls {
        /// The authorities to trust; the system's where it is not set.
        ca: Option<PathBuf> = None,
        /// Our certificate, for mutual TLS.
        certificate: Option<PathBuf> = None,
        /// Its key.
        key: Option<PathBuf> = None,
        /// The key's password.
        key_password: Option<Secret> = None,
    }
}

section! {
    /// `[log]`: the log, on standard error.
    pub struct Log {
        /// What is logged: a level, or directives such as `info,postroom::kafka=debug`. `RUST_LOG` is honoured where this is not set.
        level: String = "info".to_owned(),
        /// `auto` is pretty on a terminal and JSON lines otherwise.
        format: LogFormat = LogFormat::Auto,
        /// Lines a second that one place in the code may write about one partition; what is beyond is counted and told.
        repeats: NonZeroU32 = at_least_one_u32(10),
    }
}

section! {
    /// `[memory]`: bounds.
    pub struct Memory {
        /// What fetched and unfinished records may use, over all groups of the process. librdkafka's queues are derived from it.
        budget: ByteSize = ByteSize::mib(256),
    }
}

section! {
    /// `[shutdown]`: how the process ends.
    pub struct Shutdown {
        /// How long work in flight may take after SIGTERM. Must be shorter than the session, and than what the supervisor grants.
        deadline: Duration = Duration::from_secs(25),
    }
}

section! {
    /// `[topics]`: what `topics plan` and `topics apply` make, and what dead letters are called.
    pub struct Topics {
        /// Partitions of a new event topic.
        partitions: NonZeroU32 = at_least_one_u32(8),
        /// Replicas of a new topic; the broker's default where it is not set.
        replication: Option<NonZeroU32> = None,
        /// How long a new event topic keeps records (`retention.ms`).
        retention: Duration = Duration::from_secs(7 * 86_400),
        /// The dead-letter topic of a group and source topic.
        dead_letter: Template = Template::new("dlq.{group}.{topic}"),
        /// How long dead letters are kept; never shorter than `topics.retention`.
        dead_letter_retention: Duration = Duration::from_secs(30 * 86_400),
        /// The largest record of an event topic (`max.message.bytes`). Dead-letter topics take a little more, for headers.
        max_record_bytes: ByteSize = ByteSize::mib(1),
    }
}

section! {
    /// `[effects.NAME]`: one effect, which is one consumer group.
    pub struct Effect {
        /// Whether it runs.
        enabled: bool = true,
        /// How often a record is tried before it is dead-lettered, over restarts.
        max_attempts: NonZeroU32 = at_least_one_u32(8),
        /// The waits between attempts.
        backoff: Backoff = Backoff::default(),
        /// How many runs may be in flight. Where it is not set, the effect's own: 16 for effects in the store, 1024 for `webhooks`.
        concurrency: Option<NonZeroUsize> = None,
        /// How many records an effect in the store takes in one transaction. Where it is not set, the effect's own: 500.
        batch: Option<NonZeroUsize> = None,
        /// How long one attempt may take before it is cancelled. Where it is not set, the effect's own: 30s, for `thumbnails` 60s.
        deadline: Option<Duration> = None,
        /// Where a group that is new begins.
        start: Start = Start::Earliest,
        /// What to do where the log no longer holds the next record.
        on_gap: OnGap = OnGap::Stop,
        /// When dead letters stop the group.
        dead_letter_limit: DeadLetterLimit = DeadLetterLimit::default(),
    }
}

section! {
    /// `[effects.NAME.backoff]`: full jitter below a bound that doubles.
    pub struct Backoff {
        /// The bound of the first wait.
        base: Duration = Duration::from_millis(200),
        /// The bound of every wait.
        cap: Duration = Duration::from_secs(30),
    }
}

section! {
    /// `[effects.NAME.dead_letter_limit]`: a bad deployment must not divert a whole topic.
    pub struct DeadLetterLimit {
        /// Dead letters that are always allowed within the window.
        minimum: u32 = 100,
        /// Share of the window's records, in percent, beyond which the group stops.
        percent: u32 = 50,
        /// The window.
        window: Duration = Duration::from_secs(60),
    }
}

choice! {
    /// How members find their share of partitions.
    pub enum GroupProtocol {
        /// The classic protocol with cooperative-sticky assignment.
        Classic = "classic",
        /// KIP-848: the broker assigns.
        Consumer = "consumer",
    }
}

choice! {
    /// How connections to brokers are protected (`security.protocol`).
    pub enum Security {
        /// Not at all.
        Plaintext = "plaintext",
        /// Credentials in the clear.
        SaslPlaintext = "sasl_plaintext",
        /// Credentials over TLS.
        SaslSsl = "sasl_ssl",
        /// TLS.
        Ssl = "ssl",
    }
}

choice! {
    /// How credentials are proved.
    pub enum SaslMechanism {
        /// The password itself is sent.
        Plain = "PLAIN",
        /// Salted challenge and response.
        ScramSha256 = "SCRAM-SHA-256",
        /// Salted challenge and response.
        ScramSha512 = "SCRAM-SHA-512",
    }
}

choice! {
    /// How log lines look.
    pub enum LogFormat {
        /// Pretty on a terminal, else JSON.
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Pretty = "pretty",
    }
}

choice! {
    /// Where a group that is new begins.
    pub enum Start {
        /// At the first record of the log.
        Earliest = "earliest",
        /// At what is written from now on.
        Latest = "latest",
    }
}

choice! {
    /// What to do where the log no longer holds the next record.
    pub enum OnGap {
        /// Stop and name the removed range.
        Stop = "stop",
        /// Go on at what is left, and say what was missed.
        Continue = "continue",
    }
}

/// The effects' settings by name. An effect without a table has the defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects(BTreeMap<String, Effect>);

impl Effects {
    /// Returns the settings of an effect.
    pub fn named(&self, name: &str) -> Effect {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// Returns the names and settings of all known effects.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Effect)> {
        self.0.iter().map(|(name, effect)| (name.as_str(), effect))
    }

    /// Enables these effects alone.
    pub fn only(&mut self, names: &[String]) {
        for (name, effect) in &mut self.0 {
            effect.enabled = names.contains(name);
        }
    }
}

impl Part for Effects {
    fn read(reader: &mut Reader<'_>, path: &str, _default: Self) -> Self {
        let names = reader.effects().to_vec();
        Self(
            names
                .iter()
                .map(|name| (name.clone(), Effect::read(reader, &join(path, name), Effect::default())))
                .collect(),
        )
    }

    fn show(&self, path: &str, out: &mut Vec<(String, String)>) {
        for (name, effect) in &self.0 {
            effect.show(&join(path, name), out);
        }
    }

    fn describe(&self, path: &str, doc: &'static str, out: &mut Vec<Described>) {
        Effect::default().describe(&join(path, "NAME"), doc, out);
    }
}

const fn at_least_one_u32(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}
