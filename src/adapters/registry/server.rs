//! A registry server that speaks Confluent's REST dialect: Confluent's own, Karapace, Apicurio under `/apis/ccompat/v7`.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::adapters::registry::references;
use crate::codec::{Codec, SchemaRef};
use crate::event::EventType;
use crate::ports::{RegistryAway, SchemaFuture, SchemaSource};

/// How to reach a registry.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Its address, with the path before `/schemas` and `/subjects`.
    pub url: Url,
    /// How we prove who we are.
    pub credentials: Option<Credentials>,
    /// The authorities to trust beside the system's, in PEM.
    pub authorities: Vec<Vec<u8>>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// What is sent with every request. Never displayed.
#[derive(Clone)]
pub enum Credentials {
    /// A name and a password.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic(..) => "Basic(redacted)",
            Self::Bearer(_) => "Bearer(redacted)",
        })
    }
}

/// A client of a registry server.
#[derive(Clone, Debug)]
pub struct RegistryServer {
    client: Client,
    settings: RegistrySettings,
}

/// Why a registry did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// It did not answer, answered with a failure of its own, or with something that is none of its answers.
    #[error("the schema registry is not available: {0}")]
    Away(String),
    /// It does not let us.
    #[error(
        "the schema registry refuses us: {0}: check registry.username, registry.password or registry.token"
    )]
    Unauthorised(String),
    /// It does not take the schema: incompatible with one before, or not valid.
    #[error("the schema registry refuses the schema: {0}")]
    Refused(String),
}

#[derive(Deserialize)]
struct Found {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Clone, Deserialize)]
struct Reference {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

/// What a registry says of a schema against those that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// It may follow.
    Compatible,
    /// It may not; why, a line each where the registry says so.
    Incompatible(Vec<String>),
    /// There is nothing to compare it with.
    New,
}

impl RegistryServer {
    /// Makes a client; asks nothing yet.
    ///
    /// # Errors
    /// A certificate cannot be read.
    pub fn new(settings: RegistrySettings) -> Result<Self, ServerError> {
        let wrong = |error: reqwest::Error| ServerError::Refused(error.to_string());
        let mut client = Client::builder()
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout)
            .redirect(redirect::Policy::none())
            .no_proxy();
        for authority in &settings.authorities {
            client = client.add_root_certificate(Certificate::from_pem(authority).map_err(wrong)?);
        }
        Ok(Self { client: client.build().map_err(wrong)?, settings })
    }

    /// Finds the schema of a name, with what it refers to put into it. `None` where it is not there.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn find(&self, name: SchemaRef) -> Result<Option<String>, ServerError> {
        let path = match name {
            SchemaRef::Id(id) => vec!["schemas".to_owned(), "ids".to_owned(), id.to_string()],
            SchemaRef::Guid(_) => {
                let text = name.to_string();
                let guid = text.trim_start_matches("guid ").to_owned();
                vec!["schemas".to_owned(), "guids".to_owned(), guid]
            }
        };
        let Some(found) = self.get::<Found>(&path).await? else { return Ok(None) };
        if let Some(kind) = found.kind.as_deref().filter(|kind| *kind != "AVRO") {
            return Err(ServerError::Refused(format!("{name} is a schema of {kind}, not of Avro")));
        }
        let others = self.referenced(&found.references).await?;
        references::whole(&found.schema, &others)
            .map(Some)
            .map_err(|error| ServerError::Away(format!("{name} is not JSON: {error}")))
    }

    /// Registers a schema under a subject and returns its id; again is no error and gives the same id.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, ServerError> {
        let url = self.url(&["subjects", subject, "versions"])?;
        let asked = self.client.post(url).json(&json!({ "schema": schema }));
        let registered: Option<Registered> = self.ask(asked).await?;
        registered.map(|found| found.id).ok_or_else(|| ServerError::Away("no such path".to_owned()))
    }

    /// Registers the newest schemas of kinds of events, each under its topic and record, and lets the codec write them.
    ///
    /// # Errors
    /// As [`ServerError`]; what came before is registered.
    pub async fn register_kinds(&self, codec: &Codec, kinds: &[EventType]) -> Result<(), ServerError> {
        for kind in kinds {
            let subject = format!("{}-{}", kind.topic, kind.record);
            let id = self.register(&subject, kind.schema).await?;
            let added = codec.add_schema(Some(id), None, kind.schema);
            added.map_err(|error| ServerError::Refused(format!("{subject}: {error}")))?;
        }
        Ok(())
    }

    /// Asks whether a schema may follow the newest of a subject.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn check(&self, subject: &str, schema: &str) -> Result<Compatibility, ServerError> {
        let mut url = self.url(&["compatibility", "subjects", subject, "versions", "latest"])?;
        url.query_pairs_mut().append_pair("verbose", "true");
        let asked = self.client.post(url).json(&json!({ "schema": schema }));
        let Some(answer) = self.ask::<Value>(asked).await? else { return Ok(Compatibility::New) };
        if answer.get("is_compatible") == Some(&Value::Bool(true)) {
            return Ok(Compatibility::Compatible);
        }
        let messages = answer.get("messages").and_then(Value::as_array).into_iter().flatten();
        let lines = messages.map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        Ok(Compatibility::Incompatible(lines))
    }

    /// Returns the newest schema of a subject; `None` where there is none.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn latest(&self, subject: &str) -> Result<Option<String>, ServerError> {
        let path = ["subjects", subject, "versions", "latest"].map(str::to_owned);
        Ok(self.get::<Found>(&path).await?.map(|found| found.schema))
    }

    /// Asks for its list of subjects; returns how many there are, and its time as it says it (`Date`).
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn look(&self) -> Result<(usize, Option<String>), ServerError> {
        let asked = self.client.get(self.url(&["subjects"])?);
        let answer = self.send(asked).await?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        let subjects: Option<Vec<String>> = read(answer).await?;
        Ok((subjects.unwrap_or_default().len(), date))
    }

    /// Returns the schemas referred to, those that others need first.
    async fn referenced(&self, references: &[Reference]) -> Result<Vec<String>, ServerError> {
        let mut waiting: Vec<(Reference, usize)> = references.iter().map(|one| (one.clone(), 1)).collect();
        let mut found = Vec::new();
        while let Some((reference, depth)) = waiting.pop() {
            if depth > DEEPEST || found.len() >= MOST {
                return Err(ServerError::Refused("its references are too many, or go round".to_owned()));
            }
            let version = reference.version.to_string();
            let path = ["subjects", &reference.subject, "versions", &version].map(str::to_owned);
            let missing = || format!("{} version {version} is referred to and not there", reference.subject);
            let other: Found = self.get(&path).await?.ok_or_else(|| ServerError::Away(missing()))?;
            waiting.extend(other.references.iter().map(|one| (one.clone(), depth + 1)));
            found.push(other.schema);
        }
        found.reverse();
        Ok(found)
    }

    async fn get<V: DeserializeOwned>(&self, path: &[String]) -> Result<Option<V>, ServerError> {
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        let url = self.url(&path)?;
        self.ask(self.client.get(url)).await
    }

    /// Asks, and reads the answer; `None` is "not found".
    async fn ask<V: DeserializeOwned>(&self, asked: RequestBuilder) -> Result<Option<V>, ServerError> {
        read(self.send(asked).await?).await
    }

    async fn send(&self, asked: RequestBuilder) -> Result<Response, ServerError> {
        let asked = match &self.settings.credentials {
            Some(Credentials::Basic(name, password)) => asked.basic_auth(name, Some(password)),
            Some(Credentials::Bearer(token)) => asked.bearer_auth(token),
            None => asked,
        };
        asked.header("accept", MEDIA_TYPE).send().await.map_err(away)
    }

    fn url(&self, path: &[&str]) -> Result<Url, ServerError> {
        let mut url = self.settings.url.clone();
        url.path_segments_mut()
            .map_err(|()| ServerError::Refused(format!("{} cannot have a path", self.settings.url)))?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }
}

impl SchemaSource for RegistryServer {
    fn schema(&self, name: SchemaRef) -> SchemaFuture<'_> {
        Box::pin(async move { self.find(name).await.map_err(|error| RegistryAway(error.to_string())) })
    }
}

/// Reads the answer; `None` is "not found".
async fn read<V: DeserializeOwned>(answer: Response) -> Result<Option<V>, ServerError> {
    let status = answer.status();
    let mut body = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(away)?);
        if body.len() > LARGEST {
            return Err(ServerError::Away(format!("its answer is larger than {LARGEST} bytes")));
        }
    }
    let said = || format!("{status}: {:.300}", String::from_utf8_lossy(&body));
    match status {
        StatusCode::NOT_FOUND if is_its_own(&body) => Ok(None),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ServerError::Unauthorised(said())),
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Err(ServerError::Refused(said())),
        status if status.is_success() => serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| ServerError::Away(format!("its answer is none of a registry: {error}"))),
        _ => Err(ServerError::Away(said())),
    }
}

fn away(error: reqwest::Error) -> ServerError {
    ServerError::Away(with_causes(&error.without_url()))
}

/// A registry says which of its things is not there; anything else that has no such path is no registry.
fn is_its_own(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|answer| answer.get("error_code").is_some())
}

fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json, application/json";

/// The largest answer that is read, in bytes.
const LARGEST: usize = 1024 * 1024;

/// How far references may lead, and how many there may be.
const DEEPEST: usize = 16;
const MOST: usize = 256;
