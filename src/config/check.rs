//! What single values cannot show: settings that contradict each other. Both values are named.

use std::time::Duration;

use crate::config::load::Reader;
use crate::config::mail;
use crate::config::objects;
use crate::config::protection;
use crate::config::purge;
use crate::config::sections::{Config, Effect, GroupProtocol, SaslMechanism, Security};
use crate::config::size::ByteSize;
use crate::config::span::written;
use crate::config::thumbnails;
use crate::config::webhooks;

pub(crate) fn check(config: &Config, reader: &mut Reader<'_>) {
    times(config, reader);
    security(config, reader);
    topics(config, reader);
    memory(config, reader);
    crate::config::store::check(&config.store, reader);
    crate::config::registry::check(&config.registry, reader);
    mail::check(config, reader);
    thumbnails::check(config, reader);
    objects::check(config, reader);
    for (name, effect) in config.effects.iter() {
        check_effect(name, effect, config, reader);
    }
    webhooks::check(config, reader);
    purge::check(config, reader);
    if !config.http.listen.is_loopback() && config.http.enabled && config.admin.token.is_none() {
        let why = format!(
            "{} can be reached from other machines and admin.token is not set: /api will refuse",
            config.http.listen.0
        );
        reader.warn("http.listen", why, "set admin.token_file, or listen on 127.0.0.1");
    }
    if let Err(error) = config.log.level.parse::<tracing_subscriber::EnvFilter>() {
        reader.refuse(
            "log.level",
            format!("{:?} is not understood: {error}", config.log.level),
            "write a level such as \"info\", or directives such as \"info,postroom::kafka=debug\"",
        );
    }
}

fn times(config: &Config, reader: &mut Reader<'_>) {
    let session = config.kafka.session_timeout;
    let deadline = config.shutdown.deadline;
    if config.kafka.protocol == GroupProtocol::Classic && deadline >= session {
        let why = format!(
            "a drain of {} is not shorter than kafka.session_timeout = {}: the partitions would go to others in mid-work",
            written(deadline),
            written(session)
        );
        reader.refuse("shutdown.deadline", why, "shorten the one or lengthen the other");
    }
    if session < Duration::from_secs(1) {
        reader.refuse(
            "kafka.session_timeout",
            format!("{} is too short to be a member", written(session)),
            "use 6s or more",
        );
    }
    if config.kafka.max_poll_interval < session {
        let why = format!(
            "{} is shorter than kafka.session_timeout = {}",
            written(config.kafka.max_poll_interval),
            written(session)
        );
        reader.refuse("kafka.max_poll_interval", why, "make it longer");
    }
}

fn check_effect(name: &str, effect: &Effect, config: &Config, reader: &mut Reader<'_>) {
    let at = |key: &str| format!("effects.{name}.{key}");
    let interval = config.kafka.max_poll_interval;
    let deadline = deadline(config, name);
    if deadline >= interval {
        let why = format!(
            "{} is not shorter than kafka.max_poll_interval = {}: the member would be put out in mid-work",
            written(deadline),
            written(interval)
        );
        reader.refuse(&at("deadline"), why, "shorten the one or lengthen the other");
    }
    if deadline.is_zero() {
        reader.refuse(&at("deadline"), "no attempt could ever end in no time", "use 30s");
    }
    if effect.backoff.base > effect.backoff.cap {
        let why = format!(
            "{} is longer than {} = {}",
            written(effect.backoff.base),
            at("backoff.cap"),
            written(effect.backoff.cap)
        );
        reader.refuse(&at("backoff.base"), why, "shorten the one or lengthen the other");
    }
    if effect.backoff.base.is_zero() {
        reader.refuse(&at("backoff.base"), "retries without a wait are a busy loop", "use 200ms");
    }
    if effect.dead_letter_limit.percent > 100 {
        let why = format!("{} percent is more than everything", effect.dead_letter_limit.percent);
        reader.refuse(&at("dead_letter_limit.percent"), why, "use 100 or less");
    }
    if effect.dead_letter_limit.window.is_zero() {
        reader.refuse(&at("dead_letter_limit.window"), "an empty window holds no records", "use 60s");
    }
}

fn security(config: &Config, reader: &mut Reader<'_>) {
    let kafka = &config.kafka;
    protection::check(kafka, reader);
    if kafka.insecure_dev {
        reader.warn(
            "kafka.insecure_dev",
            "connections may be read and changed by others",
            "remove it outside of test networks",
        );
        return;
    }
    if kafka.security == Security::Plaintext && !kafka.brokers.are_loopback() {
        let why = format!("plaintext to {} lets others read and change what is sent", kafka.brokers);
        reader.refuse(
            "kafka.security",
            why,
            "set kafka.security = \"ssl\" or \"sasl_ssl\", or kafka.insecure_dev = true in a test network",
        );
    }
    if kafka.security == Security::SaslPlaintext && kafka.sasl.mechanism == Some(SaslMechanism::Plain) {
        reader.refuse(
            "kafka.security",
            "sasl_plaintext with PLAIN sends the password in the clear",
            "set kafka.security = \"sasl_ssl\"",
        );
    }
    if config.topics.replication.is_some_and(|count| count.get() == 1) && !kafka.brokers.are_loopback() {
        let why = format!("one replica on {}: one broken disk loses events", kafka.brokers);
        reader.refuse("topics.replication", why, "use 3, or remove it to take the broker's default");
    }
}

fn topics(config: &Config, reader: &mut Reader<'_>) {
    let topics = &config.topics;
    for placeholder in ["{group}", "{topic}"] {
        if !topics.dead_letter.names(placeholder) {
            let why = format!(
                "{:?} lacks {placeholder}: letters of different origin would mix",
                topics.dead_letter.to_string()
            );
            reader.refuse("topics.dead_letter", why, "use \"dlq.{group}.{topic}\"");
        }
    }
    if topics.dead_letter_retention < topics.retention {
        let why = format!(
            "{} is shorter than topics.retention = {}",
            written(topics.dead_letter_retention),
            written(topics.retention)
        );
        reader.refuse(
            "topics.dead_letter_retention",
            why,
            "keep dead letters at least as long as their source",
        );
    }
}

fn memory(config: &Config, reader: &mut Reader<'_>) {
    let groups = config.effects.iter().filter(|(_, effect)| effect.enabled).count().max(1);
    let groups = u64::try_from(groups).unwrap_or(u64::MAX);
    let record = config.topics.max_record_bytes;
    let least = ByteSize(record.0.saturating_mul(groups).saturating_mul(2));
    if config.memory.budget < least {
        let why = format!(
            "{} is less than {least}: {groups} groups that each hold one record of topics.max_record_bytes = {record} and fetch the next",
            config.memory.budget
        );
        reader.refuse("memory.budget", why, format!("use {least} or more"));
    }
}

/// Returns how long an attempt of an effect may take.
pub(super) fn deadline(config: &Config, effect: &str) -> Duration {
    let own = if effect == "thumbnails" { THUMBNAILS_DEADLINE } else { OWN_DEADLINE };
    config.effects.named(effect).deadline.unwrap_or(own)
}

/// The deadline of effects that have none configured.
pub(super) const OWN_DEADLINE: Duration = Duration::from_secs(30);

/// That of thumbnails: a picture is read, shrunk and written.
pub(crate) const THUMBNAILS_DEADLINE: Duration = Duration::from_secs(60);
