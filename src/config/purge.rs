//! The section `[purge]`: what goes out of which caches when an event comes.

use std::time::Duration;

use figment::value::Value;
use url::Url;

use crate::config::check::OWN_DEADLINE;
use crate::config::load::Reader;
use crate::config::part::{Leaf, Refusal, scalar, section};
use crate::config::pattern::{CacheUrl, KeyPatterns, UrlPatterns};
use crate::config::secret::Secret;
use crate::config::sections::Config;
use crate::config::span::written;

section! {
    /// `[purge]`: what the effect `purge` takes out of which caches. Without an address it does not run.
    ///
    /// Placeholders: `{post_id}`, `{comment_id}`, `{slug}`, `{section}`, `{author}`, `{blog}`, and `{tag}` for each tag.
    /// What names a value that an event lacks is not purged for that event.
    pub struct Purge {
        /// Addresses that are sent a `PURGE`, such as `http://127.0.0.1:6081/posts/{slug}`. Values are percent-encoded; `{+slug}` keeps their slashes.
        urls: UrlPatterns = UrlPatterns::default(),
        /// The site's name, sent as `Host`: caches keep pages by name and path. The address's own where it is not set.
        host: Option<HostName> = None,
        /// Where `PURGE` requests with surrogate keys go.
        surrogate_url: Option<CacheUrl> = None,
        /// The header that carries the keys, separated by spaces: `xkey-purge` in many set-ups of Varnish.
        surrogate_header: HeaderName = HeaderName("surrogate-key".to_owned()),
        /// Keys that pages are tagged with, such as `post-{post_id}`.
        surrogate_keys: KeyPatterns = KeyPatterns::default(),
        /// The Redis server that holds cached values: `redis://host:port/database`.
        redis: Option<RedisUrl> = None,
        /// Its user's password.
        redis_password: Option<Secret> = None,
        /// Keys that are removed there, such as `:1:post:{post_id}`.
        redis_keys: KeyPatterns = KeyPatterns::default(),
        /// How long one request may take before the cache counts as away.
        timeout: Duration = Duration::from_secs(5),
    }
}

impl Purge {
    /// How many requests to an HTTP cache are in flight at once.
    pub const AT_ONCE: usize = 8;

    /// Says whether there is anything to purge.
    pub fn is_set_up(&self) -> bool {
        !self.urls.0.is_empty() || self.surrogate_url.is_some() || self.redis.is_some()
    }
}

/// The address of a Redis server, without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl(pub Url);

impl Leaf for RedisUrl {
    const KIND: &'static str = "`redis://host:port/database`";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write \"redis://host:port\", such as \"redis://127.0.0.1:6379\"";
        let text = scalar(value).map_err(|kind| Refusal::new(format!("is {kind}"), fix))?;
        // The text may hold a password: it is not repeated.
        let url =
            Url::parse(text.trim()).map_err(|error| Refusal::new(format!("is no address: {error}"), fix))?;
        if url.password().is_some() {
            return Err(Refusal::new("holds a password", "set purge.redis_password_file instead"));
        }
        let database = url.path().trim_matches('/');
        let number = database.is_empty() || database.parse::<u16>().is_ok();
        if url.scheme() != "redis"
            || url.host_str().is_none_or(str::is_empty)
            || !number
            || url.query().is_some()
        {
            return Err(Refusal::new("is not the address of a Redis server", fix));
        }
        Ok(Self(url))
    }

    fn text(&self) -> String {
        format!("{:?}", self.0.as_str())
    }
}

/// A site's name, with a port where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(pub String);

impl Leaf for HostName {
    const KIND: &'static str = "a host's name";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = String::parse(value)?.trim().to_ascii_lowercase();
        if text.chars().all(|char| char.is_ascii_alphanumeric() || "-_.:[]".contains(char)) {
            Ok(Self(text))
        } else {
            let fix = "write it as browsers ask for it, such as \"blog.example.org\"";
            Err(Refusal::new(format!("{text:?} is no host's name"), fix))
        }
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// The name of an HTTP header, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName(pub String);

impl Leaf for HeaderName {
    const KIND: &'static str = "a header's name";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = String::parse(value)?.trim().to_ascii_lowercase();
        if text.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char)) {
            Ok(Self(text))
        } else {
            Err(Refusal::new(format!("{text:?} is no header's name"), "use letters, digits and dashes"))
        }
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    let purge = &config.purge;
    let pairs = [
        (
            "surrogate_keys",
            !purge.surrogate_keys.0.is_empty(),
            "surrogate_url",
            purge.surrogate_url.is_some(),
        ),
        ("redis_keys", !purge.redis_keys.0.is_empty(), "redis", purge.redis.is_some()),
    ];
    for (keys, has_keys, place, has_place) in pairs {
        if has_keys != has_place {
            let (set, lacking) = if has_keys { (keys, place) } else { (place, keys) };
            let why = format!("is set and purge.{lacking} is not: nothing would be purged");
            reader.refuse(&format!("purge.{set}"), why, format!("set purge.{lacking}"));
        }
    }
    if purge.redis_password.is_some() && purge.redis.is_none() {
        reader.refuse("purge.redis_password", "is set and purge.redis is not", "set purge.redis");
    }
    if purge.timeout.is_zero() {
        reader.refuse("purge.timeout", "no cache could ever answer in no time", "use 5s");
    }
    // Redis is connected to and asked; then come the requests of HTTP, some at once.
    let waves = purge.urls.0.len().saturating_add(1).div_ceil(Purge::AT_ONCE).saturating_add(2);
    let longest = purge.timeout.saturating_mul(u32::try_from(waves).unwrap_or(u32::MAX));
    let deadline = config.effects.named("purge").deadline.unwrap_or(OWN_DEADLINE);
    if purge.is_set_up() && longest > deadline {
        let why = format!(
            "{} lets one event take up to {}, longer than effects.purge.deadline = {}: a slow cache would cost attempts",
            written(purge.timeout),
            written(longest),
            written(deadline)
        );
        reader.refuse("purge.timeout", why, "shorten the one or lengthen the other");
    }
}
