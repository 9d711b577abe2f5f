//! A registry server that speaks Confluent's REST dialect: Confluent's own, Karapace, Apicurio under `/apis/ccompat/v7`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::adapters::registry::references;
use crate::codec::{SchemaRef, guid_from_text};
use crate::ports::{RegistryAway, SchemaAnswer, SchemaFuture, SchemaSource};
use crate::telemetry::RegistryAnswer;

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

/// A client of a registry server. Clones share its connections.
#[derive(Clone)]
pub struct RegistryServer {
    client: Client,
    settings: RegistrySettings,
    meter: Option<RegistryMeter>,
}

/// Counts requests by how they ended.
pub type RegistryMeter = Arc<dyn Fn(RegistryAnswer) + Send + Sync>;

impl std::fmt::Debug for RegistryServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryServer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A schema as the registry keeps it.
#[derive(Clone, Debug, Deserialize)]
pub struct Registered {
    /// Its id, which frames carry.
    #[serde(default)]
    pub id: u32,
    /// Its number within the subject; 0 where the registry does not say.
    #[serde(default)]
    pub version: u32,
    /// Its GUID, of registries that have them.
    pub guid: Option<String>,
    /// Its text, without what it refers to.
    #[serde(default)]
    pub schema: String,
    /// Its language; Avro where it is not said.
    #[serde(rename = "schemaType")]
    pub kind: Option<String>,
    /// What it refers to.
    #[serde(default)]
    pub references: Vec<Reference>,
}

/// A schema that another one refers to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// The name by which it is referred to.
    #[serde(default)]
    pub name: String,
    /// The subject.
    pub subject: String,
    /// The version of the subject.
    pub version: u32,
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
    /// A schema that we would publish with is not there, and we are not to register it.
    #[error("the schema of {event} is not registered under {subject}, and registry.auto_register is false")]
    Unregistered {
        /// The kind of event.
        event: String,
        /// The subject.
        subject: String,
    },
    /// The name stands for a schema of another language.
    #[error("{0}")]
    Foreign(String),
    /// The schema can never be put together: its references go round, or are too many.
    #[error("the schema cannot be used: {0}")]
    Unusable(String),
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
            // It is asked seldom: a connection that was kept may be gone by then, and a POST is not sent again.
            .pool_max_idle_per_host(0)
            .no_proxy();
        for authority in &settings.authorities {
            let authorities = Certificate::from_pem_bundle(authority).map_err(wrong)?;
            if authorities.is_empty() {
                return Err(ServerError::Refused("registry.ca holds no certificate".to_owned()));
            }
            client = authorities.into_iter().fold(client, ClientBuilder::add_root_certificate);
        }
        Ok(Self { client: client.build().map_err(wrong)?, settings, meter: None })
    }

    /// Counts every request.
    #[must_use]
    pub fn metered(mut self, meter: RegistryMeter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Returns its address.
    pub fn address(&self) -> &Url {
        &self.settings.url
    }

    /// Finds the schema of a name, with what it refers to put into it, and its GUID where the registry has them. `None`
    /// where it is not there.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn find(&self, name: SchemaRef) -> Result<Option<(String, Option<[u8; 16]>)>, ServerError> {
        let path = match name {
            SchemaRef::Id(id) => vec!["schemas".to_owned(), "ids".to_owned(), id.to_string()],
            SchemaRef::Guid(_) => {
                let text = name.to_string();
                let guid = text.trim_start_matches("guid ").to_owned();
                vec!["schemas".to_owned(), "guids".to_owned(), guid]
            }
        };
        let Some(found) = self.get::<Registered>(&path).await? else { return Ok(None) };
        let guid = found.guid.as_deref().and_then(guid_from_text);
        Ok(Some((self.whole(&name.to_string(), &found).await?, guid)))
    }

    /// Puts what a schema refers to into it. `name` is what it is called in messages.
    ///
    /// # Errors
    /// It is no Avro, or as [`ServerError`].
    pub(super) async fn whole(&self, name: &str, found: &Registered) -> Result<String, ServerError> {
        if let Some(kind) = found.kind.as_deref().filter(|kind| *kind != "AVRO") {
            return Err(ServerError::Foreign(format!("the schema with {name} is {kind:.40}, not Avro")));
        }
        if found.schema.is_empty() {
            return Err(ServerError::Away(format!("its answer for {name} has no schema")));
        }
        let others = self.referenced(&found.references).await?;
        references::whole(&found.schema, &others)
            .map_err(|error| ServerError::Away(format!("{name} is not JSON: {error}")))
    }

    /// Returns the schemas referred to, each once, those that others need first.
    async fn referenced(&self, references: &[Reference]) -> Result<Vec<String>, ServerError> {
        let mut waiting: Vec<Visit> = references.iter().cloned().map(Visit::Begin).collect();
        let mut asked = BTreeSet::new();
        let mut open: Vec<(String, u32)> = Vec::new();
        let mut found = Vec::new();
        while let Some(visit) = waiting.pop() {
            let reference = match visit {
                Visit::Begin(reference) => reference,
                Visit::End(text) => {
                    open.pop();
                    found.push(text);
                    continue;
                }
            };
            let Reference { subject, version, .. } = reference;
            let place = (subject, version);
            if let Some(at) = open.iter().position(|one| *one == place) {
                return Err(ServerError::Unusable(round(open.get(at..).unwrap_or_default())));
            }
            if !asked.insert(place.clone()) {
                continue;
            }
            if open.len() >= DEEPEST || asked.len() > MOST {
                return Err(ServerError::Unusable(format!(
                    "its references are more than {MOST}, or lead further than {DEEPEST}"
                )));
            }
            let (subject, version) = (place.0.as_str(), place.1.to_string());
            let path = ["subjects", subject, "versions", &version].map(str::to_owned);
            let missing = || format!("{subject} version {version} is referred to and not there");
            let other: Registered = self.get(&path).await?.ok_or_else(|| ServerError::Away(missing()))?;
            open.push(place);
            waiting.push(Visit::End(other.schema));
            waiting.extend(other.references.into_iter().map(Visit::Begin));
        }
        Ok(found)
    }

    pub(super) async fn get<V: DeserializeOwned>(&self, path: &[String]) -> Result<Option<V>, ServerError> {
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        let url = self.url(&path)?;
        self.ask(self.client.get(url)).await
    }

    /// Asks, and reads the answer; `None` is "not found".
    pub(super) async fn ask<V: DeserializeOwned>(
        &self,
        asked: RequestBuilder,
    ) -> Result<Option<V>, ServerError> {
        let answer = self.answer(asked).await;
        if let Some(meter) = &self.meter {
            meter(match &answer {
                Ok(Some(_)) => RegistryAnswer::Ok,
                Ok(None) => RegistryAnswer::NotFound,
                Err(ServerError::Unauthorised(_)) => RegistryAnswer::Unauthorised,
                Err(
                    ServerError::Refused(_)
                    | ServerError::Unregistered { .. }
                    | ServerError::Foreign(_)
                    | ServerError::Unusable(_),
                ) => RegistryAnswer::Refused,
                Err(ServerError::Away(_)) => RegistryAnswer::Away,
            });
        }
        answer
    }

    /// Asks for its list of subjects; returns how many there are, and its time as it says it (`Date`).
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn look(&self) -> Result<(usize, Option<String>), ServerError> {
        let answer = self.send(self.client.get(self.url(&["subjects"])?)).await?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        let subjects: Option<Vec<String>> = read(answer).await?;
        Ok((subjects.unwrap_or_default().len(), date))
    }

    async fn answer<V: DeserializeOwned>(&self, asked: RequestBuilder) -> Result<Option<V>, ServerError> {
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

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn url(&self, path: &[&str]) -> Result<Url, ServerError> {
        let mut url = self.settings.url.clone();
        url.path_segments_mut()
            .map_err(|()| ServerError::Refused(format!("{} cannot have a path", self.settings.url)))?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }
}

/// Reads the answer; `None` is "not found".
async fn read<V: DeserializeOwned>(answer: Response) -> Result<Option<V>, ServerError> {
    let status = answer.status();
    if status.is_redirection() {
        return Err(ServerError::Away(elsewhere(status, &answer)));
    }
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
        StatusCode::NOT_FOUND => Err(ServerError::Away(format!("{}: {NO_SUCH_PATH}", said()))),
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

impl SchemaSource for RegistryServer {
    fn schema(&self, name: SchemaRef) -> SchemaFuture<'_> {
        Box::pin(async move {
            match self.find(name).await {
                Ok(Some((text, guid))) => Ok(SchemaAnswer::Found { text, guid }),
                Ok(None) => Ok(SchemaAnswer::Unknown),
                Err(ServerError::Foreign(why)) => Ok(SchemaAnswer::Foreign(why)),
                Err(ServerError::Unusable(why)) => Ok(SchemaAnswer::Unusable(why)),
                // It says itself that it is the registry.
                Err(ServerError::Away(why)) => Err(RegistryAway(why)),
                Err(error) => Err(RegistryAway(error.to_string())),
            }
        })
    }
}

/// Says where a redirection leads, without what may be secret. It is not followed: credentials are for the address that
/// was configured.
fn elsewhere(status: StatusCode, answer: &Response) -> String {
    let target = answer.headers().get("location").and_then(|target| target.to_str().ok());
    match target.and_then(|target| answer.url().join(target).ok()) {
        Some(target) => format!(
            "{status}: it sends us to {}, which is not followed; registry.url is to be the right one",
            target.origin().ascii_serialization()
        ),
        None => format!("{status}: a redirection, which is not followed"),
    }
}

/// A step on the way through references.
enum Visit {
    /// It is to be asked for.
    Begin(Reference),
    /// All that this text refers to is found.
    End(String),
}

/// Says which references lead back to themselves.
fn round(open: &[(String, u32)]) -> String {
    let again = open.first();
    let names = open.iter().chain(again).map(|(subject, version)| format!("{subject} version {version}"));
    format!("its references go round: {}", names.collect::<Vec<_>>().join(" refers to "))
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

/// A registry says so of its own things in JSON.
const NO_SUCH_PATH: &str =
    "registry.url may lack a part such as /apis/ccompat/v7, or the registry has no look-up by GUID";

/// The largest answer that is read, in bytes.
const LARGEST: usize = 1024 * 1024;

/// How far references may lead, and how many there may be.
const DEEPEST: usize = 16;
const MOST: usize = 256;
