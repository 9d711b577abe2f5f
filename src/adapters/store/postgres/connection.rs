//! Connections: where the database is, how they are protected, and what each may do for how long.

use std::path::PathBuf;
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;

use super::PostgresSettings;
use crate::ports::StoreError;

/// Makes the pool. Nothing is connected yet.
///
/// # Errors
/// `Unusable` where the address or its certificates cannot be read.
pub(super) fn pool(url: &str, settings: &PostgresSettings) -> Result<Pool, StoreError> {
    let Address { mut config, protection, root } = Address::parse(url)?;
    if let Some(password) = &settings.password {
        config.password(password);
    }
    if config.get_user().is_none() {
        config.user("postroom");
    }
    config.application_name("postroom").connect_timeout(settings.connect_timeout);
    config.tcp_user_timeout(settings.statement_timeout).keepalives_idle(settings.statement_timeout);
    let options = options(settings, config.get_options());
    config.options(options);
    let tls = connector(protection, root.as_deref())?;
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let runtime = Handle::try_current().ok();
    let connect = Here { tls: MakeTlsConnector::new(tls), protection, root, runtime };
    let manager = Manager::from_connect(config, connect, recycling);
    Pool::builder(manager)
        .max_size(settings.connections.max(2))
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(settings.statement_timeout))
        .create_timeout(Some(settings.connect_timeout))
        .build()
        .map_err(|error| StoreError::Unusable(format!("no pool of connections: {error}")))
}

/// Connects on the runtime that the pool was made on, whoever asks: a connection that was made on the handlers' would stand still
/// for everybody while handlers block it.
struct Here {
    /// By the authorities as they were at the start.
    tls: MakeTlsConnector,
    protection: Protection,
    root: Option<PathBuf>,
    runtime: Option<Handle>,
}

type Connected = Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Here {
    fn connect(&self, config: &tokio_postgres::Config) -> BoxFuture<'_, Connected> {
        // Authorities may have been replaced, together with the server's certificate.
        let renewed = self.root.as_deref().and_then(|root| connector(self.protection, Some(root)).ok());
        let tls = renewed.map_or_else(|| self.tls.clone(), MakeTlsConnector::new);
        let config = config.clone();
        let connecting = async move {
            let (client, connection) = config.connect(tls).await?;
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the database has ended");
                }
            });
            Ok((client, task))
        };
        let runtime = self.runtime.clone().unwrap_or_else(Handle::current);
        Box::pin(async move {
            match runtime.spawn(connecting).await {
                Ok(connected) => connected,
                // The process ends: `create_timeout` bounds the wait.
                Err(_gone) => std::future::pending().await,
            }
        })
    }
}

/// What a session begins with. A member that froze in a transaction holds its locks no longer than `idle_timeout`.
fn options(settings: &PostgresSettings, given: Option<&str>) -> String {
    let PostgresSettings { schema, statement_timeout, lock_timeout, idle_timeout, .. } = settings;
    let millis = |span: &Duration| span.as_millis().max(1);
    format!(
        "-c search_path={schema},public -c statement_timeout={} -c lock_timeout={} \
         -c idle_in_transaction_session_timeout={} -c default_transaction_isolation=read\\ committed {}",
        millis(statement_timeout),
        millis(lock_timeout),
        millis(idle_timeout),
        given.unwrap_or_default()
    )
}

/// What an address says.
struct Address {
    config: tokio_postgres::Config,
    protection: Protection,
    root: Option<PathBuf>,
}

/// How a connection is protected: `sslmode`, with libpq's words and meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    /// TLS where the server has it, with whatever certificate: or none at all.
    Unchecked,
    /// TLS, with a certificate that a known authority signed for whatever name.
    Signed,
    /// TLS, with a certificate for this name.
    Full,
}

impl Address {
    fn parse(url: &str) -> Result<Self, StoreError> {
        let wrong = |why: String| StoreError::Unusable(format!("store.url: {why}"));
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut root = None;
        let mut mode = None;
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value.to_owned()),
                Some(("sslrootcert", value)) => root = Some(PathBuf::from(decoded(value))),
                _ => rest.push(pair),
            }
        }
        let joined = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        let mut config: tokio_postgres::Config =
            joined.parse().map_err(|error: tokio_postgres::Error| wrong(error.to_string()))?;
        let (ssl, protection) = match mode.as_deref() {
            Some("disable") => (SslMode::Disable, Protection::Unchecked),
            None | Some("prefer" | "allow") => (SslMode::Prefer, Protection::Unchecked),
            // As libpq does it: who names authorities wants them to be asked.
            Some("require") if root.is_some() => (SslMode::Require, Protection::Signed),
            Some("require") => (SslMode::Require, Protection::Unchecked),
            Some("verify-ca") => (SslMode::Require, Protection::Signed),
            Some("verify-full") => (SslMode::Require, Protection::Full),
            Some(_) => {
                let modes = "disable, prefer, require, verify-ca or verify-full";
                return Err(wrong(format!("sslmode is one of {modes}")));
            }
        };
        config.ssl_mode(ssl);
        Ok(Self { config, protection, root })
    }
}

fn decoded(value: &str) -> String {
    url::form_urlencoded::parse(format!("v={value}").as_bytes())
        .next()
        .map_or_else(|| value.to_owned(), |(_, value)| value.into_owned())
}

fn connector(protection: Protection, root: Option<&std::path::Path>) -> Result<TlsConnector, StoreError> {
    let mut builder = TlsConnector::builder();
    if let Some(path) = root {
        let wrong = |error: String| StoreError::Unusable(format!("{}: {error}", path.display()));
        let pem = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        for one in pem.split_inclusive("-----END CERTIFICATE-----").filter(|one| one.contains("BEGIN")) {
            let certificate =
                Certificate::from_pem(one.trim().as_bytes()).map_err(|error| wrong(error.to_string()))?;
            builder.add_root_certificate(certificate);
        }
        builder.disable_built_in_roots(true);
    }
    match protection {
        Protection::Unchecked => {
            builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
        Protection::Signed => {
            builder.danger_accept_invalid_hostnames(true);
        }
        Protection::Full => {}
    }
    builder.build().map_err(|error| StoreError::Unusable(format!("no TLS: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_address_that_cannot_be_read_shows_nothing_of_its_password() {
        for url in [
            "postgres://me:hun?ter@db/blog",
            "postgres://me:hun/ter?hunter@db/blog",
            "postgres://me:hun#ter%zz@db/blog",
            "postgres://me:x@db:hunter/blog",
            "postgres://me:hun=ter&hunter@db/blog",
            "postgres://db/blog?hunter=1&password=hunter",
            "postgres://me@db/blog?pass%77ord=hun%zzter",
        ] {
            let refused = Address::parse(url).map(drop);
            let said = refused.err().map(|error| error.to_string()).unwrap_or_default();

            assert!(!said.contains("hun") && !said.contains("ter"), "{url}: {said}");
        }
    }
}
