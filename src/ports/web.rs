//! The web: hosts that events and subscribers name. Whoever asks trusts neither the address nor the answer.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// The answer of the web.
pub type WebFuture<'a, V> = Pin<Box<dyn Future<Output = Result<V, WebError>> + Send + 'a>>;

/// One request at a time to a host that somebody named, bounded in time and size.
///
/// Every implementation refuses addresses inside our own network *after* the name was resolved, connects to an address
/// that it has checked, follows no redirect, and ignores proxies of the environment.
pub trait Web: Send + Sync + 'static {
    /// Sends a request and returns what came back, whatever its status.
    fn send(&self, request: WebRequest) -> WebFuture<'_, WebResponse>;
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebRequest {
    /// How.
    pub method: WebMethod,
    /// Where: an absolute address.
    pub url: String,
    /// Headers beside those that HTTP itself needs.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// How much of the answer's body is wanted.
    pub wanted: Wanted,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebMethod {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
}

/// How much of a body is read. It is never decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it; more than so many bytes are [`WebError::TooLarge`].
    Whole(usize),
    /// Its first bytes, for people to read: the status is the answer, so a body that is longer, breaks off or takes
    /// too long is cut.
    Start(usize),
}

/// What came back.
#[derive(Clone, PartialEq, Eq)]
pub struct WebResponse {
    /// The status, from 200 on.
    pub status: u16,
    /// The headers that can be read as text, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As much of the body as was wanted.
    pub body: Vec<u8>,
}

impl WebResponse {
    /// Returns the first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for WebResponse {
    /// Leaves the body out: it may be large, and it is somebody else's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebResponse")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// The address, or a header, can never be sent.
    #[error("the address cannot be used: {0}")]
    BadUrl(String),
    /// The host has no address but those that must not be reached.
    #[error("{host} is blocked: {address} is {why}")]
    Blocked {
        /// The host as it was named.
        host: String,
        /// The address it has.
        address: IpAddr,
        /// What the address is.
        why: &'static str,
    },
    /// The name has no address, or nobody accepts connections there.
    #[error("no connection: {0}")]
    Connect(String),
    /// The certificate or the handshake is not in order.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// It took too long.
    #[error("no answer in time: {0}")]
    Timeout(String),
    /// The connection broke, or what came is not HTTP.
    #[error("the exchange broke: {0}")]
    Broken(String),
    /// The answer is larger than wanted.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}
