//! Values in Redis: removed by key.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError,
};
use tokio::sync::Mutex;

use crate::config::{RedisUrl, Secret};
use crate::ports::{Cache, CacheError, CacheFuture, Stale};

/// A Redis server. The connection is made when it is first needed, and again when it broke.
pub struct RedisCache {
    place: String,
    client: Result<Client, String>,
    timeout: Duration,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl std::fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCache").field("place", &self.place).finish_non_exhaustive()
    }
}

impl RedisCache {
    /// Takes the server's address. `timeout` holds for connecting and for each command.
    pub fn new(url: &RedisUrl, password: Option<&Secret>, timeout: Duration) -> Self {
        let client = client(url, password).map_err(|error| error.to_string());
        let url = &url.0;
        let place = format!("redis://{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(PORT));
        Self { place, client, timeout, connection: Mutex::new(None) }
    }

    async fn remove(&self, keys: &[String]) -> Result<(), CacheError> {
        let mut held = self.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut command = redis::cmd("UNLINK");
        command.arg(keys);
        command.query_async::<()>(&mut connection).await.map_err(|error| self.away(&error.to_string()))?;
        // A connection that failed is not kept.
        *held = Some(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<MultiplexedConnection, CacheError> {
        let client = self.client.as_ref().map_err(|why| self.away(why))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(|error| self.away(&error.to_string()))
    }

    /// Whatever Redis answers to a removal, the key is not at fault: the server is away, read-only, loading, or does not
    /// let us in.
    fn away(&self, why: &str) -> CacheError {
        CacheError::Away(format!("{}: {why}", self.place))
    }
}

impl Cache for RedisCache {
    fn purge<'a>(&'a self, stale: &'a Stale) -> CacheFuture<'a> {
        Box::pin(async move {
            for keys in stale.entries.chunks(KEYS_A_COMMAND) {
                self.remove(keys).await?;
            }
            Ok(())
        })
    }
}

fn client(url: &RedisUrl, password: Option<&Secret>) -> Result<Client, RedisError> {
    let url = &url.0;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let address = ConnectionAddr::Tcp(host, url.port().unwrap_or(PORT));
    let mut login = RedisConnectionInfo::default();
    login = login.set_db(url.path().trim_matches('/').parse().unwrap_or_default());
    if !url.username().is_empty() {
        login = login.set_username(url.username());
    }
    if let Some(password) = password {
        login = login.set_password(password.expose());
    }
    Client::open(address.into_connection_info()?.set_redis_settings(login))
}

const PORT: u16 = 6_379;

/// A command of so many keys blocks the server for well below a millisecond.
const KEYS_A_COMMAND: usize = 500;
