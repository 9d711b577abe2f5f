//! An HTTP cache, such as Varnish: `PURGE` to a page's own address, or to one address with surrogate keys.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::header::{HOST, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};

use crate::config::Purge;
use crate::ports::{Cache, CacheError, CacheFuture, Stale};

/// HTTP caches by their addresses.
#[derive(Debug)]
pub struct HttpCache {
    client: Result<Client, String>,
    host: Option<HeaderValue>,
    surrogate: Option<(Url, HeaderName)>,
}

/// One request: where to, and the keys that it carries.
struct Order {
    to: String,
    keys: Option<String>,
}

impl HttpCache {
    /// Makes the client. It follows no redirects and asks no proxy.
    pub fn new(settings: &Purge) -> Self {
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.timeout.min(LONGEST_CONNECT))
            .timeout(settings.timeout)
            .pool_max_idle_per_host(Purge::AT_ONCE)
            .user_agent(concat!("postroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| told(&error));
        let header = HeaderName::from_bytes(settings.surrogate_header.0.as_bytes());
        let surrogate = settings.surrogate_url.as_ref().map(|url| url.0.clone()).zip(header.ok());
        let host = settings.host.as_ref().and_then(|host| HeaderValue::from_str(&host.0).ok());
        Self { client, host, surrogate }
    }

    async fn send(&self, client: &Client, order: Order) -> Result<(), CacheError> {
        let refused = |why: String| CacheError::Refused { key: order.to.clone(), why };
        let url = Url::parse(&order.to).map_err(|error| refused(error.to_string()))?;
        let method = Method::from_bytes(b"PURGE").map_err(|error| refused(error.to_string()))?;
        let mut request = client.request(method, url);
        if let Some(host) = &self.host {
            request = request.header(HOST, host.clone());
        }
        if let (Some(keys), Some((_, header))) = (&order.keys, &self.surrogate) {
            let value =
                HeaderValue::from_bytes(keys.as_bytes()).map_err(|error| refused(error.to_string()))?;
            request = request.header(header, value);
        }
        let away = |error: &reqwest::Error| CacheError::Away(format!("{}: {}", order.to, told(error)));
        let mut response = request.send().await.map_err(|error| away(&error))?;
        // A short answer is read to its end, so that the connection serves the next request.
        let mut read = 0;
        while let Ok(Some(part)) = response.chunk().await {
            read += part.len();
            if read > LONGEST_ANSWER {
                break;
            }
        }
        verdict(&order, response.status())
    }

    /// Cuts the keys into headers that servers take.
    fn orders(&self, stale: &Stale) -> Vec<Order> {
        let pages = stale.urls.iter().map(|url| Order { to: url.clone(), keys: None });
        let mut orders: Vec<Order> = pages.collect();
        let Some((url, _)) = &self.surrogate else { return orders };
        let mut line = String::new();
        let order = |line: String| Order { to: url.to_string(), keys: Some(line) };
        for key in &stale.surrogate_keys {
            if !line.is_empty() && line.len() + key.len() >= LONGEST_HEADER {
                orders.push(order(std::mem::take(&mut line)));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(key);
        }
        if !line.is_empty() {
            orders.push(order(line));
        }
        orders
    }
}

impl Cache for HttpCache {
    fn purge<'a>(&'a self, stale: &'a Stale) -> CacheFuture<'a> {
        Box::pin(async move {
            let client =
                self.client.as_ref().map_err(|why| CacheError::Away(format!("no HTTP client: {why}")))?;
            let sent = stream::iter(self.orders(stale)).map(|order| self.send(client, order));
            sent.buffer_unordered(Purge::AT_ONCE).try_collect::<()>().await
        })
    }
}

/// What a status means. A cache that does not know the page has nothing to purge.
fn verdict(order: &Order, status: StatusCode) -> Result<(), CacheError> {
    let url = &order.to;
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let key = order.keys.clone().unwrap_or_else(|| url.clone());
            Err(CacheError::Refused { key, why: format!("{url} answers {status} to PURGE") })
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(CacheError::Away(format!(
            "{url} answers {status} to PURGE: it does not let this machine purge"
        ))),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            Err(CacheError::Away(format!("{url} answers {status} to PURGE: it is not set up to be purged")))
        }
        status if status.is_success() => Ok(()),
        status => Err(CacheError::Away(format!("{url} answers {status} to PURGE"))),
    }
}

fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Servers take headers of 8 KiB and less.
const LONGEST_HEADER: usize = 4 * 1_024;

/// What is read of an answer, in bytes.
const LONGEST_ANSWER: usize = 16 * 1_024;

const LONGEST_CONNECT: Duration = Duration::from_secs(2);
