//! The web over HTTP/1.1: hosts that events and subscribers name, each checked where it is connected to.

mod guard;
mod resolve;

use std::error::Error as _;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Certificate, Client, Method, Response, redirect, retry, tls};

pub use guard::{Guard, blocked};
pub use resolve::{Looking, Lookup, SystemLookup};

use crate::config::Webhooks;
use crate::ports::{Wanted, Web, WebError, WebFuture, WebMethod, WebRequest, WebResponse};

/// Sends requests to hosts that others named.
///
/// Each has a connection of its own: it is made to an address that was checked a moment ago, and a host that closes idle
/// connections fails no delivery.
#[derive(Clone)]
pub struct WebClient {
    client: Client,
    guard: Arc<Guard>,
    lookup: Arc<dyn Lookup>,
}

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// What may be reached.
    pub guard: Guard,
    /// How long the name, the connection and TLS may take together.
    pub connect_timeout: Duration,
    /// How long the whole exchange may take.
    pub timeout: Duration,
    /// Authorities to trust beside the system's, in PEM.
    pub authorities: Option<Vec<u8>>,
}

impl WebSettings {
    /// Takes the settings of `[webhooks]` and reads the authorities.
    ///
    /// # Errors
    /// Says which file cannot be read.
    pub fn of(webhooks: &Webhooks) -> Result<Self, String> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| format!("webhooks.ca: {} cannot be read: {error}", path.display()))
        };
        Ok(Self {
            guard: Guard {
                allow_http: webhooks.allow_http,
                allow_private: webhooks.allow_private.clone(),
                ports: webhooks.ports.clone(),
            },
            connect_timeout: webhooks.connect_timeout,
            timeout: webhooks.timeout,
            authorities: webhooks.ca.as_deref().map(read).transpose()?,
        })
    }
}

impl WebClient {
    /// Makes a client that asks the system for addresses.
    ///
    /// # Errors
    /// Says what is wrong with the authorities, or that TLS does not work at all.
    pub fn new(settings: WebSettings) -> Result<Self, String> {
        Self::with_lookup(settings, Arc::new(SystemLookup))
    }

    /// Makes a client that asks `lookup` for addresses.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_lookup(settings: WebSettings, lookup: Arc<dyn Lookup>) -> Result<Self, String> {
        let guard = Arc::new(settings.guard);
        let mut builder = Client::builder()
            .dns_resolver(resolve::Checked { guard: Arc::clone(&guard), lookup: Arc::clone(&lookup) })
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .http1_max_headers(MOST_HEADERS)
            .pool_max_idle_per_host(0)
            .tls_version_min(tls::Version::TLS_1_2)
            .user_agent(AGENT)
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout);
        if let Some(pem) = &settings.authorities {
            let authorities = Certificate::from_pem_bundle(pem)
                .map_err(|error| format!("webhooks.ca is not in PEM: {}", chain(&error)))?;
            for authority in authorities {
                builder = builder.add_root_certificate(authority);
            }
        }
        let client = builder.build().map_err(|error| format!("no TLS: {}", chain(&error)))?;
        Ok(Self { client, guard, lookup })
    }

    /// Says whether an address could be sent to now: its form, its port, and the addresses that its name has at the
    /// moment. Nothing is connected to, and whoever sends is checked again.
    ///
    /// # Errors
    /// As for sending.
    pub async fn check(&self, url: &str) -> Result<(), WebError> {
        let url = self.guard.target(url)?;
        match url.domain() {
            Some(host) => resolve::admitted(&self.guard, &*self.lookup, host).await.map(drop),
            None => Ok(()),
        }
    }

    async fn exchange(&self, request: WebRequest) -> Result<WebResponse, WebError> {
        let url = self.guard.target(&request.url)?;
        let encrypted = url.scheme() == "https";
        let method = match request.method {
            WebMethod::Get => Method::GET,
            WebMethod::Post => Method::POST,
        };
        let mut asked = self.client.request(method, url);
        for (name, value) in &request.headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_unfit| WebError::BadUrl(format!("the header {name} cannot hold its value")))?;
            asked = asked.header(*name, value);
        }
        let response = asked.body(request.body).send().await.map_err(|error| class(error, encrypted))?;
        let status = response.status().as_u16();
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let headers = response
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
            .collect();
        let body = body(response, request.wanted, encrypted).await?;
        Ok(WebResponse { status, headers, body })
    }
}

impl fmt::Debug for WebClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebClient").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Web for WebClient {
    fn send(&self, request: WebRequest) -> WebFuture<'_, WebResponse> {
        Box::pin(self.exchange(request))
    }
}

/// Reads as much as is wanted; what is beyond stays on the wire.
async fn body(mut response: Response, wanted: Wanted, encrypted: bool) -> Result<Vec<u8>, WebError> {
    let mut body = Vec::new();
    loop {
        let chunk = match (response.chunk().await, wanted) {
            (Ok(Some(chunk)), _) => chunk,
            (Ok(None), _) | (Err(_), Wanted::Start(_)) => return Ok(body),
            (Err(error), Wanted::Whole(_)) => return Err(class(error, encrypted)),
        };
        match wanted {
            Wanted::Whole(most) if body.len() + chunk.len() > most => return Err(WebError::TooLarge(most)),
            Wanted::Whole(_) => body.extend_from_slice(&chunk),
            Wanted::Start(most) => {
                body.extend(chunk.iter().take(most.saturating_sub(body.len())));
                if body.len() >= most {
                    return Ok(body);
                }
            }
        }
    }
}

/// The class of a client's error: decided here, once.
fn class(error: reqwest::Error, encrypted: bool) -> WebError {
    // Addresses may hold what is secret.
    let error = error.without_url();
    let mut source = error.source();
    let mut of_the_system = false;
    while let Some(cause) = source {
        if let Some(own) = cause.downcast_ref::<WebError>() {
            return own.clone();
        }
        of_the_system |= cause.is::<std::io::Error>();
        source = cause.source();
    }
    let text = chain(&error);
    if error.is_timeout() {
        WebError::Timeout(text)
    } else if error.is_connect() && encrypted && !of_the_system {
        WebError::Tls(text)
    } else if error.is_connect() {
        WebError::Connect(text)
    } else if error.is_builder() {
        WebError::BadUrl(text)
    } else {
        WebError::Broken(text)
    }
}

/// An error with its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// What we call ourselves.
const AGENT: &str = concat!("Postroom/", env!("CARGO_PKG_VERSION"));

/// Headers of an answer, beyond which it is refused. Their bytes are bounded by the client's own buffer of 400 KiB.
const MOST_HEADERS: usize = 64;
