//! Names to addresses that may be connected to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::adapters::web::Guard;
use crate::ports::WebError;

/// The addresses of a host, or why they are not known.
pub type Looking<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Asks for the addresses of a name.
pub trait Lookup: Send + Sync + 'static {
    /// Returns all addresses of a host.
    fn lookup<'a>(&'a self, host: &'a str) -> Looking<'a>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup<'a>(&'a self, host: &'a str) -> Looking<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The client's resolver: what it returns was checked, and nothing else is connected to.
pub(super) struct Checked {
    pub(super) guard: Arc<Guard>,
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lookup) = (Arc::clone(&self.guard), Arc::clone(&self.lookup));
        Box::pin(async move {
            let admitted = admitted(&guard, &*lookup, name.as_str()).await?;
            // Port 0: the client puts that of the address in its place.
            let addresses: Addrs = Box::new(admitted.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Returns the addresses of a host that may be connected to.
pub(super) async fn admitted(
    guard: &Guard,
    lookup: &dyn Lookup,
    host: &str,
) -> Result<Vec<IpAddr>, WebError> {
    let found = lookup
        .lookup(host)
        .await
        .map_err(|error| WebError::Connect(format!("{host} was not found: {error}")))?;
    guard.admit(host, &found)
}
