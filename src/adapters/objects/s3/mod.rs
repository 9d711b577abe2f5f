//! Objects in a bucket of S3, or of what speaks its dialect (MinIO, Ceph, R2, …).
//!
//! Requests are object_store's; the connection, the signature's hashes and the meaning of an error are ours. That crate
//! would bring a second TLS library with it, and answers 404 alike for a missing object and a missing bucket.

mod crypto;
mod fault;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, GetOptions, ObjectStore, PutOptions, PutPayload, RetryConfig,
};

use crate::adapters::objects::key::parts;
use crate::adapters::objects::s3::crypto::PureRust;
use crate::adapters::objects::s3::fault::{Bucket, meaning};
use crate::adapters::objects::s3::wire::Wire;
use crate::config::S3Section;
use crate::ports::{ObjectError, ObjectFuture, Objects};

/// Objects in a bucket. Handles are cheap to clone.
#[derive(Clone)]
pub struct S3 {
    store: Arc<AmazonS3>,
    bucket: Arc<Bucket>,
    timeout: Duration,
    cache_control: String,
}

/// What a bucket is reached with.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with, without slashes around it; may be empty.
    pub prefix: String,
    /// `[s3]`.
    pub settings: S3Section,
    /// Variables of the environment, for what `[s3]` does not say.
    pub environment: Vec<(String, String)>,
}

impl S3 {
    /// Makes the client. Nothing is asked for before the first read or write.
    ///
    /// # Errors
    /// Says which setting is missing or cannot be used.
    pub fn new(settings: S3Settings) -> Result<Self, String> {
        let S3Settings { bucket, prefix, settings: s3, environment } = settings;
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(1),
                base: 3.0,
            },
            max_retries: REPEATS,
            retry_timeout: s3.timeout,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket)
            .with_crypto_provider(Arc::new(PureRust))
            .with_http_connector(Wire::new(&s3)?)
            .with_retry(retry)
            .with_allow_http(true);
        builder = from_environment(builder, &s3, &environment);
        if let (Some(id), Some(key)) = (&s3.access_key_id, &s3.secret_access_key) {
            builder = builder.with_access_key_id(id.expose()).with_secret_access_key(key.expose());
        }
        if let Some(token) = &s3.session_token {
            builder = builder.with_token(token.expose());
        }
        if let Some(region) = &s3.region {
            builder = builder.with_region(region);
        }
        let named = ENDPOINTS.iter().find_map(|name| variable(&environment, name));
        match s3.endpoint.as_deref().or(named) {
            Some(endpoint) => {
                if s3.access_key_id.is_none() && !CREDENTIALS.iter().any(|name| is_set(&environment, name)) {
                    return Err(format!(
                        "there are no credentials for {endpoint}: set s3.access_key_id and s3.secret_access_key_file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    ));
                }
                builder = builder.with_endpoint(addressed(endpoint, &bucket, s3.path_style)?);
            }
            None if is_dotted(&bucket) && !s3.path_style => {
                return Err(format!("the bucket {bucket} has a dot in its name: set s3.path_style = true"));
            }
            None => {}
        }
        let store = builder
            .with_virtual_hosted_style_request(!s3.path_style)
            .build()
            .map_err(|error| format!("the bucket {bucket} cannot be reached: {error}"))?;
        Ok(Self {
            store: Arc::new(store),
            bucket: Arc::new(Bucket { name: bucket, prefix }),
            timeout: s3.timeout,
            cache_control: s3.cache_control,
        })
    }

    /// Returns the whole key. What an event names never leaves the prefix: the rules are a folder's.
    fn path(&self, key: &str) -> Result<Path, ObjectError> {
        parts(key)?;
        let whole = match self.bucket.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        };
        let bad = |why: &str| ObjectError::BadKey { key: key.to_owned(), why: why.to_owned() };
        if whole.len() > LONGEST {
            return Err(bad("with the prefix it is longer than 1,024 bytes"));
        }
        let path = Path::parse(&whole).map_err(|error| bad(&error.to_string()))?;
        if path.as_ref() == whole { Ok(path) } else { Err(bad("it is read as another key")) }
    }

    async fn read_now(&self, key: &str, limit: u64) -> Result<Vec<u8>, ObjectError> {
        let path = self.path(key)?;
        let failed = |error| meaning(error, key, &self.bucket);
        let found = self.store.get_opts(&path, GetOptions::default()).await.map_err(failed)?;
        let too_large = |size| ObjectError::TooLarge { key: key.to_owned(), size, limit };
        let size = found.meta.size;
        if size > limit {
            // What is on its way goes with the connection.
            return Err(too_large(size));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut stream = found.into_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(failed)?;
            let read = u64::try_from(bytes.len().saturating_add(chunk.len())).unwrap_or(u64::MAX);
            if read > limit {
                return Err(too_large(read));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn write_now(&self, key: &str, bytes: Vec<u8>, media_type: &str) -> Result<(), ObjectError> {
        let path = self.path(key)?;
        let attributes = Attributes::from_iter([
            (Attribute::ContentType, media_type.to_owned()),
            (Attribute::CacheControl, self.cache_control.clone()),
        ]);
        let options = PutOptions { attributes, ..PutOptions::default() };
        let put = self.store.put_opts(&path, PutPayload::from(bytes), options).await;
        put.map(drop).map_err(|error| meaning(error, key, &self.bucket))
    }

    /// Waits no longer than configured: a bucket that hangs is away.
    async fn in_time<V>(
        &self,
        transfer: impl Future<Output = Result<V, ObjectError>>,
    ) -> Result<V, ObjectError> {
        match tokio::time::timeout(self.timeout, transfer).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                let why = format!("the bucket {} did not answer within {:?}", self.bucket.name, self.timeout);
                Err(ObjectError::Away(why))
            }
        }
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Objects for S3 {
    fn read<'a>(&'a self, key: &'a str, limit: u64) -> ObjectFuture<'a, Vec<u8>> {
        Box::pin(self.in_time(self.read_now(key, limit)))
    }

    fn write<'a>(&'a self, key: &'a str, bytes: Vec<u8>, media_type: &'a str) -> ObjectFuture<'a, ()> {
        Box::pin(self.in_time(self.write_now(key, bytes, media_type)))
    }
}

/// Takes from the environment what the settings leave to it. Of AWS's variables only those that say where and who: none
/// may switch signatures or checks off.
fn from_environment(
    mut builder: AmazonS3Builder,
    settings: &S3Section,
    environment: &[(String, String)],
) -> AmazonS3Builder {
    let own = settings.access_key_id.is_some();
    for (name, key) in VARIABLES {
        let is_credential = !matches!(key, AmazonS3ConfigKey::Region | AmazonS3ConfigKey::DefaultRegion);
        if own && is_credential {
            continue;
        }
        if let Some(value) = variable(environment, name) {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

/// Returns the address that object_store expects: of buckets in the host's name it wants the whole host.
fn addressed(endpoint: &str, bucket: &str, path_style: bool) -> Result<String, String> {
    if path_style {
        return Ok(endpoint.to_owned());
    }
    let mut url = url::Url::parse(endpoint).map_err(|error| format!("s3.endpoint is no address: {error}"))?;
    let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
    url.set_host(Some(&host)).map_err(|error| format!("{host} is no host: {error}"))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = environment.iter().find(|(known, value)| known == name && !value.is_empty());
    found.map(|(_name, value)| value.as_str())
}

fn is_set(environment: &[(String, String)], name: &str) -> bool {
    variable(environment, name).is_some()
}

fn is_dotted(bucket: &str) -> bool {
    bucket.contains('.')
}

/// How often a request that failed is repeated at once: a server that says "slow down" once is no outage.
const REPEATS: usize = 2;

/// The longest key that S3 takes, in bytes.
const LONGEST: usize = 1_024;

/// Those that name an endpoint, the most special first.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// Those of which one must be there where the server is not Amazon's: it has no instances to ask.
const CREDENTIALS: [&str; 3] =
    ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// Those that say who we are and where.
const VARIABLES: [(&str, AmazonS3ConfigKey); 11] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_DEFAULT_REGION", AmazonS3ConfigKey::DefaultRegion),
    ("AWS_REGION", AmazonS3ConfigKey::Region),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];
