//! Single settings: numbers, texts, addresses, names.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};

use figment::value::Value;

use crate::config::part::{Leaf, Refusal, scalar};

impl Leaf for bool {
    const KIND: &'static str = "`true` or `false`";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write true or false";
        let text = scalar(value).map_err(|kind| Refusal::new(format!("is {kind}"), fix))?;
        match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(Refusal::new(format!("{other:?} is neither true nor false"), fix)),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

macro_rules! number_leaf {
    ($($ty:ty, $kind:literal;)+) => { $(
        impl Leaf for $ty {
            const KIND: &'static str = $kind;

            fn parse(value: &Value) -> Result<Self, Refusal> {
                let fix = concat!("write ", $kind);
                let text = scalar(value).map_err(|kind| Refusal::new(format!("is {kind}, not a number"), fix))?;
                text.trim().parse().map_err(|_unfit| Refusal::new(format!("{text:?} is not {}", $kind), fix))
            }

            fn text(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}

number_leaf! {
    u16, "a whole number from 0 to 65535";
    u32, "a whole number";
    NonZeroU32, "a whole number above 0";
    NonZeroUsize, "a whole number above 0";
}

impl Leaf for String {
    const KIND: &'static str = "text";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = scalar(value)
            .map_err(|kind| Refusal::new(format!("is {kind}, not text"), "write it in quotes"))?;
        if text.trim().is_empty() {
            return Err(Refusal::new("is empty", "remove the key or write a value"));
        }
        Ok(text)
    }

    fn text(&self) -> String {
        format!("{self:?}")
    }
}

impl Leaf for std::path::PathBuf {
    const KIND: &'static str = "a path";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        String::parse(value).map(Self::from)
    }

    fn text(&self) -> String {
        format!("{:?}", self.display().to_string())
    }
}

/// The address of one broker: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    host: String,
    port: u16,
}

impl Broker {
    /// Says whether the host is this machine's loopback.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The brokers that are asked first; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(Vec<Broker>);

impl Brokers {
    /// Reads `host:port` pairs, separated by commas.
    ///
    /// # Errors
    /// Names the pair that cannot be read.
    pub fn read(text: &str) -> Result<Self, String> {
        let brokers = text.split(',').map(|pair| broker(pair.trim())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(brokers))
    }

    pub(crate) fn local() -> Self {
        Self(vec![Broker { host: "127.0.0.1".to_owned(), port: 9_092 }])
    }

    /// Says whether all of them are on this machine's loopback.
    pub fn are_loopback(&self) -> bool {
        self.0.iter().all(Broker::is_loopback)
    }
}

impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&pairs.join(","))
    }
}

impl Leaf for Brokers {
    const KIND: &'static str = "`host:port`, several in a list or separated by commas";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write \"host:port\", such as \"kafka-1:9092\"";
        let text = if let Value::Array(_, items) = value {
            let pairs: Result<Vec<_>, _> = items.iter().map(scalar).collect();
            pairs.map_err(|kind| Refusal::new(format!("holds {kind}"), fix))?.join(",")
        } else {
            scalar(value).map_err(|kind| Refusal::new(format!("is {kind}"), fix))?
        };
        Self::read(&text).map_err(|why| Refusal::new(why, fix))
    }

    fn text(&self) -> String {
        format!("{:?}", self.to_string())
    }
}

/// The address that the HTTP server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Listen {
    /// Says whether only this machine can reach it.
    pub fn is_loopback(self) -> bool {
        self.0.ip().is_loopback()
    }
}

impl Leaf for Listen {
    const KIND: &'static str = "an address with a port; port 0 takes a free one";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write an IP address and a port, such as \"127.0.0.1:9464\"";
        let text = scalar(value).map_err(|kind| Refusal::new(format!("is {kind}"), fix))?;
        let text = text.trim().replace("localhost:", "127.0.0.1:");
        text.parse()
            .map(Self)
            .map_err(|_unfit| Refusal::new(format!("{text:?} is not an address with a port"), fix))
    }

    fn text(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// A topic's name with `{group}` and `{topic}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the name for one group and source topic.
    pub fn fill(&self, group: &str, topic: &str) -> String {
        self.0.replace("{group}", group).replace("{topic}", topic)
    }

    pub(crate) fn names(&self, placeholder: &str) -> bool {
        self.0.contains(placeholder)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Leaf for Template {
    const KIND: &'static str = "a topic's name with `{group}` and `{topic}`";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = String::parse(value)?;
        let bare = text.replace("{group}", "g").replace("{topic}", "t");
        if let Some(odd) = bare.chars().find(|char| !char.is_ascii_alphanumeric() && !"._-".contains(*char)) {
            let fix = "use letters, digits, dots, dashes, {group} and {topic}";
            return Err(Refusal::new(format!("{odd:?} cannot stand in a topic's name"), fix));
        }
        Ok(Self(text))
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

fn broker(pair: &str) -> Result<Broker, String> {
    let pair = pair.rsplit_once("://").map_or(pair, |(_scheme, rest)| rest);
    let (host, port) = pair.rsplit_once(':').ok_or_else(|| format!("{pair:?} has no port"))?;
    if host.contains('@') {
        return Err("a broker's address holds credentials, which belong into kafka.sasl.username and \
                    kafka.sasl.password_file"
            .to_owned());
    }
    if host.is_empty() {
        return Err("a broker's address has no host".to_owned());
    }
    let port = port.parse().map_err(|_unfit| format!("{port:?} is not a port"))?;
    Ok(Broker { host: host.to_owned(), port })
}

pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
