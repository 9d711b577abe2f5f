//! `[kafka.librdkafka]`: properties that go to the client as they are, and those that may not.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use crate::config::load::Reader;
use crate::config::part::{Described, Part, join, scalar};
use crate::config::secret::REDACTED;

/// Properties of librdkafka by name, passed through to every client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawProperties(BTreeMap<String, String>);

impl RawProperties {
    /// Returns the properties in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns one property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Part for RawProperties {
    fn read(reader: &mut Reader<'_>, path: &str, _default: Self) -> Self {
        let mut properties = BTreeMap::new();
        reader.accept_all_below(path);
        let Some(value) = reader.value(path) else { return Self(properties) };
        let Value::Dict(_, dict) = &value else {
            reader.refuse(path, "is not a table", "write properties below [kafka.librdkafka]");
            return Self(properties);
        };
        flatten("", dict, &mut properties);
        // The environment cannot hold dots.
        let properties: BTreeMap<_, _> =
            properties.into_iter().map(|(name, value)| (name.replace('_', "."), value)).collect();
        for (name, value) in &properties {
            if let Some((why, fix)) = refusal(name, value) {
                reader.refuse(&join(path, name), why, fix);
            }
        }
        Self(properties)
    }

    fn show(&self, path: &str, out: &mut Vec<(String, String)>) {
        for (name, value) in &self.0 {
            let text = if is_secret(name) { REDACTED.to_owned() } else { format!("{value:?}") };
            out.push((join(path, name), text));
        }
    }

    fn describe(&self, path: &str, doc: &'static str, out: &mut Vec<Described>) {
        out.push(Described {
            path: format!("{path}.*"),
            kind: "a property of librdkafka",
            default: "none".to_owned(),
            doc,
        });
    }
}

/// Says whether a property's value is never to be shown.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.replace('_', ".");
    ["password", "secret", "key.pem", "token", "jaas"].iter().any(|word| name.contains(word))
}

fn flatten(path: &str, dict: &Dict, out: &mut BTreeMap<String, String>) {
    for (key, value) in dict {
        let path = join(path, key);
        if let Value::Dict(_, below) = value {
            flatten(&path, below, out);
        } else if let Ok(text) = scalar(value) {
            out.insert(path, text);
        }
    }
}

/// Returns why a property may not be passed through, and what to do instead.
fn refusal(name: &str, value: &str) -> Option<(&'static str, &'static str)> {
    let broken = "would commit offsets before their effects are done";
    Some(match (name, value) {
        ("enable.auto.commit" | "enable.auto.offset.store", "true") => {
            (broken, "remove it: offsets are committed after the effects")
        }
        ("enable.auto.commit" | "enable.auto.offset.store", _) => ("is set by Postroom itself", "remove it"),
        ("auto.offset.reset", _) => {
            ("could skip records in silence", "remove it and set effects.NAME.start for groups that are new")
        }
        ("isolation.level", "read_uncommitted") => {
            ("would show records of aborted transactions to effects", "remove it")
        }
        ("partition.assignment.strategy", _) => {
            ("members with different strategies cannot form a group", "remove it and set kafka.protocol")
        }
        ("acks" | "request.required.acks", value) if value != "all" && value != "-1" => {
            ("a dead letter could be lost after its offset has passed", "remove it: acks=all is used")
        }
        ("enable.partition.eof", "true") => ("turns the end of a partition into an error", "remove it"),
        ("message.send.max.retries" | "retries", "0") => {
            ("a passing fault would become a failed dead letter", "remove it")
        }
        ("transactional.id", _) => ("the producer is shared and has no transactions", "remove it"),
        ("test.mock.num.brokers", _) => ("there is a command for that", "use `postroom demo`"),
        ("enable.idempotence", "false") => ("a dead letter could be written twice", "remove it"),
        ("enable.ssl.certificate.verification", "false")
        | ("ssl.endpoint.identification.algorithm", "none") => {
            ("would trust any server", "set kafka.tls.ca to the authority's certificate")
        }
        ("bootstrap.servers" | "metadata.broker.list", _) => {
            ("has a setting of its own", "set kafka.brokers")
        }
        ("group.id", _) => ("is made from the prefix and the effect's name", "set kafka.group_prefix"),
        ("group.instance.id", _) => ("has a setting of its own", "set kafka.instance_id"),
        ("group.protocol", _) => ("has a setting of its own", "set kafka.protocol"),
        ("session.timeout.ms", _) => ("has a setting of its own", "set kafka.session_timeout"),
        ("max.poll.interval.ms", _) => ("has a setting of its own", "set kafka.max_poll_interval"),
        ("client.id", _) => ("has a setting of its own", "set kafka.client_id"),
        ("security.protocol", _) => ("has a setting of its own", "set kafka.security"),
        ("sasl.username" | "sasl.password" | "sasl.mechanism" | "sasl.mechanisms", _) => {
            ("has a setting of its own", "use [kafka.sasl]")
        }
        ("ssl.ca.location", _) => ("has a setting of its own", "set kafka.tls.ca"),
        ("ssl.certificate.location", _) => ("has a setting of its own", "set kafka.tls.certificate"),
        ("ssl.key.location", _) => ("has a setting of its own", "set kafka.tls.key"),
        ("ssl.key.password", _) => ("has a setting of its own", "set kafka.tls.key_password_file"),
        _ => return None,
    })
}
