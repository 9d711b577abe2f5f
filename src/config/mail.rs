//! `[mail]`: the relay that mails go to, and what they say.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;
use lettre::message::Mailbox;

use crate::config::check::OWN_DEADLINE;
use crate::config::choice::choice;
use crate::config::leaf::is_loopback_host;
use crate::config::load::Reader;
use crate::config::part::{Leaf, Refusal, section};
use crate::config::secret::Secret;
use crate::config::sections::Config;
use crate::config::span::written;

section! {
    /// `[mail]`: the relay that mails go to, and what they say. Without `mail.relay` and `mail.from` no mail is sent.
    pub struct MailSection {
        /// The SMTP relay, such as `smtp.example.org:587`.
        relay: Option<Relay> = None,
        /// How the connection is protected: `tls` from its first byte (usually port 465), `starttls` or nothing at all, `plaintext` to this machine only.
        security: MailSecurity = MailSecurity::Starttls,
        /// The authorities to trust beside the system's, in a PEM file.
        ca: Option<PathBuf> = None,
        /// The user's name, where the relay asks for one.
        username: Option<String> = None,
        /// The user's password.
        password: Option<Secret> = None,
        /// Allows `plaintext` to other machines: fit for a test network only.
        insecure_dev: bool = false,
        /// Whom mails come from, such as `The Blog <blog@example.org>`.
        from: Option<Sender> = None,
        /// The name that we give to the relay (`EHLO`); the machine's where it is not set.
        helo: Option<String> = None,
        /// The domain of message ids; that of `mail.from` where it is not set. Changed, later mails open new threads.
        domain: Option<String> = None,
        /// The address of a post on the blog, with `{slug}`.
        link: Option<UrlTemplate> = None,
        /// Where a recipient unsubscribes, with `{recipient}` and `{reason}`. Where it is https, mail programs may do it with one click, by a POST.
        unsubscribe: Option<UrlTemplate> = None,
        /// A folder with templates that replace those built in.
        templates: Option<PathBuf> = None,
        /// Mails a second, over all partitions of this process; 0 is no limit.
        rate: u32 = 0,
        /// How long the relay may take to be connected to, a kept connection that turns out to be closed included, and again for the dialogue of one mail. Twice this must be shorter than the effect's deadline.
        timeout: Duration = Duration::from_secs(10),
        /// How long a mail is tried that the relay defers (4xx), from when it was requested. Then it is a dead letter.
        budget: Duration = Duration::from_secs(2 * 86_400),
        /// Events that are older than this cause no mail: an import of old history writes to nobody.
        max_age: Duration = Duration::from_secs(2 * 86_400),
        /// What to do where a crash or a broken connection leaves open whether the relay took a mail: `resend` (at least one), or `park` it as a dead letter (at most one).
        on_unknown: OnUnknown = OnUnknown::Resend,
    }
}

choice! {
    /// How the connection to the relay is protected.
    pub enum MailSecurity {
        /// Not at all.
        Plaintext = "plaintext",
        /// In the clear at first, then encrypted; without encryption nothing is sent.
        Starttls = "starttls",
        /// Encrypted from the first byte.
        Tls = "tls",
    }
}

choice! {
    /// What to do where it is unknown whether the other side has it.
    pub enum OnUnknown {
        /// A dead letter that says so: at most one.
        Park = "park",
        /// Send again: at least one.
        Resend = "resend",
    }
}

/// A relay: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Relay {
    /// Says whether the host is this machine's loopback.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Leaf for Relay {
    const KIND: &'static str = "`host:port`";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write \"host:port\", such as \"smtp.example.org:587\"";
        let text = String::parse(value)?;
        let text = text.trim();
        if text.contains('@') || text.contains("://") {
            return Err(Refusal::new("is an address with credentials or a scheme", fix));
        }
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| Refusal::new(format!("{text:?} has no port"), fix))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match port.parse() {
            Ok(port) if port > 0 && !host.is_empty() => Ok(Self { host: host.to_owned(), port }),
            _ => Err(Refusal::new(format!("{text:?} is not a host with a port"), fix)),
        }
    }

    fn text(&self) -> String {
        format!("\"{self}\"")
    }
}

/// Whom mails come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender(pub Mailbox);

impl Leaf for Sender {
    const KIND: &'static str = "an address, with a name before it where wanted";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write \"blog@example.org\" or \"The Blog <blog@example.org>\"";
        let text = String::parse(value)?;
        if text.chars().any(char::is_control) {
            return Err(Refusal::new("holds a control character", fix));
        }
        text.parse().map(Self).map_err(|error| Refusal::new(format!("{text:?} is no sender: {error}"), fix))
    }

    fn text(&self) -> String {
        format!("{:?}", self.0.to_string())
    }
}

/// An address on the web with `{placeholders}` behind its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate(String);

impl UrlTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        if !text.is_ascii() || text.len() > 200 {
            return Err("is longer than 200 characters, or holds others than ASCII".to_owned());
        }
        let shape = text.replace(['{', '}'], "-");
        let url = url::Url::parse(&shape).map_err(|error| format!("{text:?} is no address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{text:?} is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds credentials".to_owned());
        }
        let behind_scheme = text.split_once("://").map_or("", |(_scheme, rest)| rest);
        let host = behind_scheme.split(['/', '?', '#']).next().unwrap_or_default();
        if host.is_empty() || host.contains(['{', '}']) || text.contains(['<', '>', '"', ' ', '\\']) {
            return Err(format!("{text:?} has no fixed host, or holds what no address may hold"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Fills the placeholders, each value percent-encoded. In a value of `path` a slash stays one.
    pub fn fill(&self, values: &[(&str, &str)], keep_slashes: bool) -> String {
        values.iter().fold(self.0.clone(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), &percent_encoded(value, keep_slashes))
        })
    }

    /// Says whether it is https.
    pub fn is_https(&self) -> bool {
        self.0.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }

    fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.split('{').skip(1).map(|rest| rest.split_once('}').map_or(rest, |(name, _)| name))
    }
}

impl Leaf for UrlTemplate {
    const KIND: &'static str = "an http or https address with placeholders";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write an address such as \"https://blog.example.org/{slug}\"";
        Self::read(String::parse(value)?.trim()).map_err(|why| Refusal::new(why, fix))
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

fn percent_encoded(value: &str, keep_slashes: bool) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            b'/' if keep_slashes => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    let mail = &config.mail;
    protected(mail, reader);
    in_time(config, reader);
    let unnamed = |template: &Option<UrlTemplate>, known: &[&str]| {
        let placeholders = template.iter().flat_map(UrlTemplate::placeholders);
        placeholders.filter(|name| !known.contains(name)).map(str::to_owned).next()
    };
    for (path, template, known) in [
        ("mail.link", &mail.link, &["slug"][..]),
        ("mail.unsubscribe", &mail.unsubscribe, &["recipient", "reason"][..]),
    ] {
        if let Some(odd) = unnamed(template, known) {
            let fix = format!("the placeholders are {{{}}}", known.join("}, {"));
            reader.refuse(path, format!("{{{odd}}} stands for nothing"), fix);
        }
    }
    match (&mail.relay, &mail.from) {
        (Some(_), None) => reader.refuse("mail.relay", "is set, but mail.from is not", "set mail.from"),
        (None, Some(_)) => {
            reader.warn("mail.from", "is set, but mail.relay is not: no mail is sent", "set mail.relay")
        }
        (Some(_), Some(_)) if mail.unsubscribe.is_none() => reader.warn(
            "mail.unsubscribe",
            "is not set: recipients have no link to unsubscribe, and large mail providers refuse such mail",
            "set the address of a page where they can",
        ),
        _ => {}
    }
    for (path, name) in [("mail.domain", &mail.domain), ("mail.helo", &mail.helo)] {
        let odd = |char: char| !char.is_ascii_alphanumeric() && !"-._[]:".contains(char);
        if name.as_ref().is_some_and(|name| name.contains(odd)) {
            reader.refuse(path, "is not a domain's name", "write letters, digits, dots and dashes");
        }
    }
}

fn protected(mail: &MailSection, reader: &mut Reader<'_>) {
    if mail.username.is_some() != mail.password.is_some() {
        let fix = "set both; the password best by mail.password_file";
        reader.refuse("mail.username", "user and password belong together, and one of them is not set", fix);
    }
    let Some(relay) = &mail.relay else { return };
    if mail.security == MailSecurity::Plaintext && !relay.is_loopback() {
        if mail.insecure_dev {
            let why = "mails and credentials may be read and changed by others";
            reader.warn("mail.insecure_dev", why, "remove it outside of test networks");
        } else {
            let why = format!("plaintext to {relay} lets others read and change mails");
            let fix =
                "set mail.security = \"starttls\" or \"tls\", or mail.insecure_dev = true in a test network";
            reader.refuse("mail.security", why, fix);
        }
    }
    if mail.security == MailSecurity::Starttls && relay.port == 465 {
        reader.warn(
            "mail.security",
            "is starttls, but port 465 usually speaks TLS from the first byte",
            "set mail.security = \"tls\"",
        );
    }
}

/// An attempt must end by its own time-outs, before the effect's deadline: then it is known how far it had come.
fn in_time(config: &Config, reader: &mut Reader<'_>) {
    let mail = &config.mail;
    if mail.timeout.is_zero() {
        reader.refuse("mail.timeout", "no relay answers in no time", "use 10s");
    }
    let effect = config.effects.named("mail");
    let concurrency = effect.concurrency.unwrap_or(MAILS_AT_ONCE).get();
    let runs = u32::try_from(concurrency).unwrap_or(u32::MAX);
    let deadline = effect.deadline.unwrap_or(OWN_DEADLINE);
    let queue = runs.checked_div(mail.rate).unwrap_or_default();
    let longest = mail.timeout.saturating_mul(2).saturating_add(Duration::from_secs(queue.into()));
    if longest >= deadline {
        let why = format!(
            "twice {} to connect and to send, and {queue} s in the queue of mail.rate, are not shorter than effects.mail.deadline = {}",
            written(mail.timeout),
            written(deadline)
        );
        reader.refuse(
            "mail.timeout",
            why,
            "shorten it, lower effects.mail.concurrency, or lengthen the deadline",
        );
    }
}

/// How many mails are on their way at once, where the effect has nothing else configured.
pub(crate) const MAILS_AT_ONCE: NonZeroUsize = match NonZeroUsize::new(16) {
    Some(mails) => mails,
    None => NonZeroUsize::MIN,
};
