//! The connection to a server: our TLS, no redirects, and answers that are no success become errors that say why.

use std::pin::Pin;

use futures_util::StreamExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, StatusCode, redirect, retry, tls};

use crate::adapters::objects::s3::fault::Fault;
use crate::config::S3Section;

/// Connections to one server.
#[derive(Clone, Debug)]
pub(super) struct Wire(Client);

impl Wire {
    /// Makes the client.
    ///
    /// # Errors
    /// Says what is wrong with the authorities, or that TLS does not work at all.
    pub(super) fn new(settings: &S3Section) -> Result<Self, String> {
        let mut builder = Client::builder()
            // A signature is for one address: a redirect says that region or endpoint is wrong.
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .http1_only()
            .tls_version_min(tls::Version::TLS_1_2)
            .user_agent(concat!("Postroom/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.timeout);
        if let Some(path) = &settings.ca {
            let pem = std::fs::read(path)
                .map_err(|error| format!("s3.ca: {} cannot be read: {error}", path.display()))?;
            let authorities = Certificate::from_pem_bundle(&pem)
                .map_err(|error| format!("s3.ca: {} is not in PEM: {error}", path.display()))?;
            for authority in authorities {
                builder = builder.add_root_certificate(authority);
            }
        }
        builder.build().map(Self).map_err(|error| format!("no TLS: {error}"))
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

type Called<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Wire {
    fn call<'life0, 'async_trait>(&'life0 self, request: HttpRequest) -> Called<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let response = self.0.call(request).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let (head, body) = response.into_parts();
            let fault = Fault::read(head.status.as_u16(), region(&head.headers), &start(body).await);
            // A client of that crate repeats what was "not sent" and nothing else.
            let kind = if is_passing(head.status) { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
            Err(HttpError::new(kind, fault))
        })
    }
}

/// Says whether the same request may well succeed in a moment.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

/// The region that a bucket is in, where the answer says it.
fn region(headers: &HeaderMap) -> Option<String> {
    headers.get("x-amz-bucket-region")?.to_str().ok().map(str::to_owned)
}

/// Reads the beginning of an answer, as much as an error needs.
async fn start(body: HttpResponseBody) -> Vec<u8> {
    let mut read = Vec::new();
    let mut stream = body.bytes_stream();
    while let Some(Ok(chunk)) = stream.next().await {
        read.extend(chunk.iter().take(MOST.saturating_sub(read.len())));
        if read.len() >= MOST {
            break;
        }
    }
    read
}

/// The most of an error's text that is read, in bytes.
const MOST: usize = 16 * 1_024;
