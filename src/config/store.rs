//! `[store]`: where positions and effects are kept.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;

use crate::config::load::Reader;
use crate::config::part::{Leaf, Refusal, scalar, section};
use crate::config::secret::{REDACTED, Secret};

section! {
    /// `[store]`: where positions and effects are kept.
    pub struct StoreSection {
        /// Whether a group that Kafka knows and this store does not goes on at Kafka's commit. What was applied to the other store is not in this one.
        adopt: bool = false,
        /// The most connections of this process to PostgreSQL.
        connections: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15),
        /// How long notifications are kept, by the times of their events; 0 keeps them for ever.
        notifications: Duration = Duration::from_secs(365 * 86_400),
        /// The password for PostgreSQL, where the address has none.
        password: Option<Secret> = None,
        /// The schema in PostgreSQL that our tables are in: small letters, digits and underscores. It is made where it is missing.
        schema: String = "postroom".to_owned(),
        /// The database: an SQLite file on this machine, or PostgreSQL 13 or newer for members on several. The address may end in `?sslmode=`, with `disable`, `prefer`, `require`, `verify-ca` or `verify-full`, and `sslrootcert=FILE`. Where it is not set, `DATABASE_URL` counts if it names PostgreSQL.
        url: StoreUrl = StoreUrl::Sqlite(PathBuf::from("postroom.db")),
    }
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresUrl),
}

/// The address of a PostgreSQL database; its password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// Returns the whole address, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns what stands before the last `@`, where there is one, and the rest: hosts, database and parameters. A password
    /// may hold any sign, also `/` and `?`.
    fn parts(&self) -> (Option<&str>, &str) {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest))
    }

    /// Returns the hosts with their ports, separated by commas.
    fn hosts(&self) -> &str {
        self.parts().1.split(['/', '?']).next().unwrap_or_default()
    }

    /// Returns the address without its password, for those who have it from elsewhere.
    pub(crate) fn without_password(&self) -> String {
        let scheme = self.0.split_once("://").map_or("postgres", |(scheme, _)| scheme);
        let (user, rest) = self.parts();
        let name = user.map(|user| user.split(':').next().unwrap_or_default());
        let name = name.map(|name| format!("{name}@")).unwrap_or_default();
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let kept =
            query.split('&').filter(|pair| !pair.is_empty() && !has_password_parameter(&format!("?{pair}")));
        let kept = kept.collect::<Vec<_>>().join("&");
        let query = if kept.is_empty() { kept } else { format!("?{kept}") };
        format!("{scheme}://{name}{base}{query}")
    }

    /// Says whether the address itself holds a password.
    pub(crate) fn has_password(&self) -> bool {
        let (user, rest) = self.parts();
        user.is_some_and(|user| user.contains(':')) || has_password_parameter(rest)
    }
}

/// Parameters of an address may be written with escapes.
fn has_password_parameter(rest: &str) -> bool {
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name.contains("password"))
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, rest) = self.parts();
        f.write_str("postgres://")?;
        match user.map(|user| user.split_once(':').map_or((user, false), |(name, _)| (name, true))) {
            Some((name, true)) => write!(f, "{name}:{REDACTED}@")?,
            Some((name, false)) => write!(f, "{name}@")?,
            None => {}
        }
        let shown =
            if has_password_parameter(rest) { rest.split('?').next().unwrap_or_default() } else { rest };
        f.write_str(shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StoreUrl {
    /// Returns what others set `store.url` to: a password is not in it.
    pub(crate) fn without_password(&self) -> String {
        match self {
            Self::Sqlite(_) => self.to_string(),
            Self::Postgres(url) => url.without_password(),
        }
    }

    /// Says whether the address itself holds a password.
    pub(crate) fn has_password(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(url) => url.has_password(),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => fmt::Display::fmt(url, f),
        }
    }
}

impl Leaf for StoreUrl {
    const KIND: &'static str = "`sqlite:PATH` or `postgres://USER@HOST:PORT/DATABASE`";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\"";
        let text = scalar(value).map_err(|kind| Refusal::new(format!("is {kind}"), fix))?;
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Refusal::new("has no scheme", fix));
        };
        match scheme {
            "sqlite" if rest.is_empty() => Err(Refusal::new("names no file", fix)),
            "sqlite" if rest.trim_start_matches('/').starts_with(":memory:") || rest.starts_with("file:") => {
                Err(Refusal::new(
                    "is no file: positions and effects would be lost, or counted twice",
                    "write \"sqlite:PATH\"",
                ))
            }
            "sqlite" => Ok(Self::Sqlite(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))),
            // The rest may hold a password: it is not repeated.
            "postgres" | "postgresql" if !rest.starts_with("//") => {
                Err(Refusal::new("is no address of PostgreSQL: // is missing", fix))
            }
            "postgres" | "postgresql" => {
                let url = PostgresUrl(text);
                if url.hosts().is_empty() && !url.0.contains("host=") {
                    return Err(Refusal::new("names no host", fix));
                }
                Ok(Self::Postgres(url))
            }
            _ => Err(Refusal::new("names an engine that is not known", fix)),
        }
    }

    fn text(&self) -> String {
        format!("\"{self}\"")
    }
}

pub(crate) fn check(store: &StoreSection, reader: &mut Reader<'_>) {
    let is_name = |name: &str| {
        let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
        (1..=63).contains(&name.len())
            && name.chars().all(fits)
            && !name.starts_with(|char: char| char.is_ascii_digit())
    };
    if !is_name(&store.schema) {
        let why = format!("{:?} is not a name of small letters, digits and underscores", store.schema);
        reader.refuse("store.schema", why, "write a name such as \"postroom\"");
    }
    match (&store.url, &store.password) {
        (StoreUrl::Sqlite(_), Some(_)) => {
            let why = "is set and the store is an SQLite file, which has none";
            reader.warn(
                "store.password",
                why.to_owned(),
                "set store.url to a PostgreSQL database, or remove it",
            );
        }
        (StoreUrl::Postgres(url), Some(_)) if url.has_password() => {
            let why = "is set and the address has a password as well";
            reader.refuse("store.password", why.to_owned(), "take the password out of store.url");
        }
        _ => {}
    }
}

/// Says whether a text that is meant as an address holds a password.
pub(crate) fn holds_a_password(text: &str) -> bool {
    PostgresUrl(text.to_owned()).has_password()
}

/// Returns the address that `DATABASE_URL` gives, where it names an engine of ours for several machines.
pub(crate) fn of_the_environment(variables: &[(String, String)]) -> Option<(String, String)> {
    let (_, url) = variables.iter().find(|(name, _)| name == DATABASE_URL)?;
    let is_ours = url.starts_with("postgres://") || url.starts_with("postgresql://");
    is_ours.then(|| ("store.url".to_owned(), url.clone()))
}

/// The variable that many platforms set.
pub(crate) const DATABASE_URL: &str = "DATABASE_URL";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read(text: &str) -> Result<StoreUrl, Refusal> {
        StoreUrl::parse(&Value::from(text))
    }

    #[test]
    fn password_of_an_address_is_never_shown() {
        for (url, shown) in [
            (
                "postgres://me:s3cret@db:5432/blog?sslmode=require",
                "postgres://me:[redacted]@db:5432/blog?sslmode=require",
            ),
            ("postgresql://me@db/blog", "postgres://me@db/blog"),
            ("postgres://a,b:1234/blog", "postgres://a,b:1234/blog"),
            ("postgres://me@db/blog?password=s3cret", "postgres://me@db/blog"),
            ("postgres://me:p@ss:word@db/blog", "postgres://me:[redacted]@db/blog"),
            ("postgres://me:s3cret/1?2@db/blog", "postgres://me:[redacted]@db/blog"),
            ("postgres://me@db/blog?pass%77ord=s3cret", "postgres://me@db/blog"),
        ] {
            let url = read(url).unwrap();

            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("s3cret"));
            let StoreUrl::Postgres(url) = url else { continue };
            assert_eq!(
                url.has_password(),
                url.expose() != shown.replace("postgres:", "postgresql:") && url.expose() != shown
            );
        }
    }

    #[test]
    fn address_without_its_password_is_an_address() {
        for (url, without) in [
            (
                "postgres://me:s3cret@db:5432/blog?sslmode=require",
                "postgres://me@db:5432/blog?sslmode=require",
            ),
            ("postgres://me:p@ss:word@db,db2/blog", "postgres://me@db,db2/blog"),
            (
                "postgres://db/blog?user=me&password=s3cret&sslmode=require",
                "postgres://db/blog?user=me&sslmode=require",
            ),
            ("postgres://me@db/blog?password=s3cret", "postgres://me@db/blog"),
            ("postgres://me@db/blog", "postgres://me@db/blog"),
            ("sqlite:postroom.db", "sqlite:postroom.db"),
        ] {
            let url = read(url).unwrap();

            assert_eq!(url.without_password(), without);
            assert!(!read(without).unwrap().has_password());
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for text in
            ["postgres:me:s3cret", "postgres:///blog", "mysql://me:s3cret@db/blog", "postroom.db", "sqlite:"]
        {
            let refusal = read(text).unwrap_err();

            assert!(!refusal.why.contains("s3cret"), "{refusal:?}");
        }
    }

    #[test]
    fn variable_of_the_platform_counts_where_it_names_postgres() {
        let variable = |url: &str| of_the_environment(&[(DATABASE_URL.to_owned(), url.to_owned())]);

        assert!(variable("postgres://db/blog").is_some());
        assert_eq!(variable("mysql://db/blog"), None);
        assert_eq!(of_the_environment(&[]), None);
    }
}
