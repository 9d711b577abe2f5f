//! `[webhooks]`: deliveries to endpoints of others.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;

use crate::config::check::OWN_DEADLINE;
use crate::config::load::Reader;
use crate::config::part::{Leaf, Refusal, scalar, section};
use crate::config::sections::Config;
use crate::config::span::written;

section! {
    /// `[webhooks]`: how endpoints of others are told of events. `postroom webhooks` lists and changes them.
    pub struct Webhooks {
        /// Whether endpoints may have `http` addresses, which others can read and change on their way.
        allow_http: bool = false,
        /// Hosts and networks that may be reached although their addresses are private: for intranets and tests.
        allow_private: AllowedHosts = AllowedHosts::default(),
        /// The ports that endpoints may have.
        ports: Ports = Ports::Only(vec![443, 80]),
        /// A PEM file of authorities to trust beside the system's.
        ca: Option<PathBuf> = None,
        /// How long the name, the connection and TLS may take together.
        connect_timeout: Duration = Duration::from_secs(10),
        /// How long one delivery may take in all. Must be shorter than the effect's deadline.
        timeout: Duration = Duration::from_secs(25),
        /// How long a delivery is tried, from the moment it was first due, before it is a dead letter.
        budget: Duration = Duration::from_secs(86_400),
        /// How long an endpoint may fail without a break before it is disabled; 0 is never. `postroom webhooks enable` sends to it again.
        disable_after: Duration = Duration::from_secs(5 * 86_400),
        /// Endpoints are told nothing of events that are older than this: a replay or an import of old history is not news.
        max_age: Duration = Duration::from_secs(2 * 86_400),
    }
}

/// Checks what single values cannot show.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    let Webhooks { connect_timeout, timeout, budget, .. } = config.webhooks;
    let deadline = config.effects.named("webhooks").deadline.unwrap_or(OWN_DEADLINE);
    if timeout >= deadline {
        let why = format!(
            "{} is not shorter than effects.webhooks.deadline = {}: whether an endpoint has a delivery would stay unknown",
            written(timeout),
            written(deadline)
        );
        reader.refuse("webhooks.timeout", why, "shorten the one or lengthen the other");
    }
    if connect_timeout > timeout {
        let why =
            format!("{} is longer than webhooks.timeout = {}", written(connect_timeout), written(timeout));
        reader.refuse("webhooks.connect_timeout", why, "shorten the one or lengthen the other");
    }
    for (key, span) in [("connect_timeout", connect_timeout), ("timeout", timeout), ("budget", budget)] {
        if span.is_zero() {
            reader.refuse(
                &format!("webhooks.{key}"),
                "nothing can be delivered in no time",
                "remove the key",
            );
        }
    }
}

/// The ports that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// All of them.
    Any,
    /// These.
    Only(Vec<u16>),
}

impl Ports {
    /// Says whether a port is among them.
    pub fn allows(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ports) => ports.contains(&port),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Only(ports) => {
                let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
                f.write_str(&ports.join(","))
            }
        }
    }
}

impl Leaf for Ports {
    const KIND: &'static str = "ports in a list or separated by commas, or `any`";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write [443, 80] or \"any\"";
        let words = words(value, fix)?;
        if let [word] = words.as_slice()
            && word == "any"
        {
            return Ok(Self::Any);
        }
        let port = |word: &String| word.parse().ok().filter(|port| *port > 0);
        let ports: Option<Vec<u16>> = words.iter().map(port).collect();
        match ports {
            Some(ports) if !ports.is_empty() => Ok(Self::Only(ports)),
            _ => Err(Refusal::new(format!("{:?} is no list of ports", words.join(",")), fix)),
        }
    }

    fn text(&self) -> String {
        format!("\"{self}\"")
    }
}

/// What may be reached although it is private.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<Allowed>);

/// A host by name, or a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A host, whatever its addresses are.
    Host(String),
    /// The addresses that share the first bits with this one.
    Network {
        /// The network's address.
        address: IpAddr,
        /// How many bits count.
        bits: u8,
    },
}

impl AllowedHosts {
    /// Reads hosts and networks.
    ///
    /// # Errors
    /// Names the one that is neither.
    pub fn read<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        words.into_iter().map(allowed).collect::<Result<_, _>>().map(Self)
    }

    /// Says whether a host is among them by its name.
    pub fn has_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.0
            .iter()
            .any(|allowed| matches!(allowed, Allowed::Host(known) if known.eq_ignore_ascii_case(host)))
    }

    /// Says whether an address is in one of the networks.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.0.iter().any(|allowed| match allowed {
            Allowed::Host(_) => false,
            Allowed::Network { address: network, bits } => shares(*network, address, *bits),
        })
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.iter().map(|allowed| match allowed {
            Allowed::Host(host) => host.clone(),
            Allowed::Network { address, bits } => format!("{address}/{bits}"),
        });
        f.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

impl Leaf for AllowedHosts {
    const KIND: &'static str =
        "hosts and networks such as `10.0.0.0/8`, in a list or separated by commas; empty for none";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write hosts, addresses or networks, such as [\"hooks.internal\", \"10.0.0.0/8\"]";
        let words = words(value, fix)?;
        Self::read(words.iter().map(String::as_str)).map_err(|why| Refusal::new(why, fix))
    }

    fn text(&self) -> String {
        format!("\"{self}\"")
    }
}

fn words(value: &Value, fix: &str) -> Result<Vec<String>, Refusal> {
    let odd = |kind| Refusal::new(format!("holds {kind}"), fix);
    if let Value::Array(_, items) = value {
        return items.iter().map(|item| scalar(item).map_err(odd)).collect();
    }
    let text = scalar(value).map_err(odd)?;
    Ok(text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect())
}

fn allowed(word: &str) -> Result<Allowed, String> {
    let neither = || format!("{word:?} is neither a host nor a network");
    let (text, bits) = match word.split_once('/') {
        Some((text, bits)) => (text, Some(bits.parse::<u8>().map_err(|_unfit| neither())?)),
        None => (word, None),
    };
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        return if bits <= most { Ok(Allowed::Network { address, bits }) } else { Err(neither()) };
    }
    let odd = |char: char| !char.is_alphanumeric() && !"-._".contains(char);
    if bits.is_some() || text.is_empty() || text.contains(odd) {
        return Err(neither());
    }
    Ok(Allowed::Host(text.trim_end_matches('.').to_lowercase()))
}

/// Says whether two addresses of one family share their first bits.
fn shares(network: IpAddr, address: IpAddr, bits: u8) -> bool {
    let (one, other, width) = match (network, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    let beyond = width - u32::from(bits).min(width);
    (one ^ other).checked_shr(beyond).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn networks_and_hosts_are_told_apart_and_matched() {
        let allowed = AllowedHosts::read(["Hooks.Internal", "10.1.0.0/16", "127.0.0.1", "fd00::/8"]).unwrap();

        assert!(allowed.has_host("hooks.internal") && allowed.has_host("HOOKS.internal."));
        assert!(!allowed.has_host("internal") && !allowed.has_host("10.1.0.0"));
        for (address, inside) in [
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("::ffff:127.0.0.1", false),
        ] {
            assert_eq!(allowed.has_address(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn everything_is_shared_by_no_bits_and_odd_words_are_refused() {
        let all = AllowedHosts::read(["0.0.0.0/0", "::/0"]).unwrap();

        assert!(all.has_address("255.1.2.3".parse().unwrap()) && all.has_address("ff::1".parse().unwrap()));
        for odd in ["10.0.0.0/33", "host/8", "a b", "", "http://x", "10.0.0.0/x"] {
            assert!(AllowedHosts::read([odd]).is_err(), "{odd}");
        }
    }
}
