//! From the configuration to what the parts are built with.

use postroom_core::{Flood, Pressure, Settings};

use crate::adapters::registry::{self, Credentials, Registering, RegistryServer, RegistrySettings};
use crate::codec::{Codec, Limits};
use crate::config::{Config, Effect, GroupProtocol, OnGap, Start};
use crate::kafka::{self, Connection, ConsumerConfig, DeadLetterRoute, ProducerConfig, Protocol};
use crate::ports::StoreId;
use crate::runtime::group::{FloodGuard, Group, Position};
use crate::runtime::service::Broker;

/// How every client reaches the cluster.
pub fn connection(config: &Config) -> Connection {
    let mut connection = Connection::to(config.kafka.brokers.to_string());
    connection.client_id.clone_from(&config.kafka.client_id);
    connection.properties = config.kafka.client_properties();
    connection
}

/// How large what is read may be.
pub(crate) fn limits(config: &Config) -> Limits {
    let headers = Limits::default().max_header_bytes;
    Limits {
        max_record_bytes: config.topics.max_record_bytes.bytes().saturating_add(headers),
        ..Limits::default()
    }
}

/// Makes the codec, and the client of the registry server where one is configured.
///
/// # Errors
/// One sentence with what cannot be used.
pub(crate) fn schemas(config: &Config) -> Result<(Codec, Option<RegistryServer>), String> {
    match registry_server(config)? {
        Some(server) => Ok((Codec::without_schemas(limits(config)), Some(server))),
        None => Ok((registry::codec(limits(config), config.registry.directory.as_deref())?, None)),
    }
}

/// How schemas that this configuration publishes come to their ids.
pub(crate) fn registering(config: &Config) -> Registering {
    Registering { subject: config.registry.subject, auto_register: config.registry.auto_register }
}

/// Makes the client of the registry server; `None` where none is configured.
///
/// # Errors
/// One sentence with what cannot be used.
pub(crate) fn registry_server(config: &Config) -> Result<Option<RegistryServer>, String> {
    let registry = &config.registry;
    let Some(url) = &registry.url else { return Ok(None) };
    let url = url.parse().map_err(|error| format!("registry.url: {error}"))?;
    let basic = || {
        let password = registry.password.as_ref().map(|password| password.expose().to_owned());
        let name = registry.username.clone()?;
        Some(Credentials::Basic(name, password.unwrap_or_default()))
    };
    let token = registry.token.as_ref().map(|token| Credentials::Bearer(token.expose().to_owned()));
    let authority = registry
        .ca
        .as_ref()
        .map(|path| std::fs::read(path).map_err(|error| format!("registry.ca: {}: {error}", path.display())));
    let settings = RegistrySettings {
        url,
        credentials: token.or_else(basic),
        authorities: authority.transpose()?.into_iter().collect(),
        timeout: registry.timeout,
    };
    RegistryServer::new(settings).map(Some).map_err(|error| error.to_string())
}

/// Where a group's dead letters go.
pub fn dead_letter_route(config: &Config, group: &Group) -> DeadLetterRoute {
    let mut route = DeadLetterRoute::new(group.full_name(&config.kafka.group_prefix), group.name());
    route.template = config.topics.dead_letter.to_string();
    route
}

pub(crate) fn producer(config: &Config) -> ProducerConfig {
    ProducerConfig::new(connection(config))
}

/// How one group reads.
pub(crate) fn consumer(
    config: &Config,
    group: &Group,
    effect: &Effect,
    store: &StoreId,
    share: usize,
    broker: Broker,
) -> ConsumerConfig {
    let name = group.full_name(&config.kafka.group_prefix);
    let mut topics: Vec<String> = group.topics().into_iter().map(str::to_owned).collect();
    topics.push(kafka::retry_topic(&name));
    let mut consumer = ConsumerConfig::new(connection(config), name, topics);
    consumer.protocol = match config.kafka.protocol {
        GroupProtocol::Classic => Protocol::Cooperative,
        GroupProtocol::Consumer => Protocol::Kip848,
    };
    consumer.instance_id =
        config.kafka.instance_id.as_ref().map(|id| format!("{}.{}", id.on(&hostname()), group.name));
    consumer.start = match effect.start {
        Start::Earliest => kafka::Start::Earliest,
        Start::Latest => kafka::Start::Latest,
    };
    consumer.on_gap = match effect.on_gap {
        OnGap::Stop => kafka::Gap::Stop,
        OnGap::Continue => kafka::Gap::Continue,
    };
    consumer.session = config.kafka.session_timeout;
    consumer.max_poll_interval = config.kafka.max_poll_interval;
    consumer.drain = config.shutdown.deadline.min(config.kafka.session_timeout / 2);
    consumer.memory.queue_bytes = (budget(config, share) / 4).min(consumer.memory.queue_bytes);
    consumer.store = (group.position == Position::InStore).then(|| store.clone());
    match broker {
        Broker::Cluster => consumer,
        Broker::Embedded => consumer.for_embedded(),
    }
}

/// What the core is to know of a group.
pub(crate) fn settings(config: &Config, group: &Group, effect: &Effect, share: usize) -> Settings {
    let mut settings = group.settings(seed());
    settings.pressure = Pressure { total_bytes: budget(config, share) / 2, ..Pressure::default() };
    settings.flood = Flood {
        minimum: effect.dead_letter_limit.minimum,
        percent: effect.dead_letter_limit.percent,
        window: effect.dead_letter_limit.window,
    };
    if group.flood == FloodGuard::Off {
        settings.flood.minimum = u32::MAX;
    }
    settings
}

/// The name of this host.
fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// One group's share of the memory budget, in bytes.
fn budget(config: &Config, share: usize) -> usize {
    config.memory.budget.bytes() / share.max(1)
}

fn seed() -> u64 {
    fastrand::u64(..)
}
