//! Subjects of a registry server: what is registered under them, and what may be.

use serde_json::{Value, json};

use crate::adapters::registry::server::{Reference, Registered, RegistryServer, ServerError};
use crate::codec::{Codec, guid_from_text};
use crate::config::SubjectStrategy;
use crate::event::EventType;

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

/// How schemas that we write come to their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registering {
    /// The subject of each.
    pub subject: SubjectStrategy,
    /// Whether one that is not there is registered, or refused.
    pub auto_register: bool,
}

impl RegistryServer {
    /// Registers a schema under a subject and returns what it is known by; again is no error and gives the same id.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn register(
        &self,
        subject: &str,
        schema: &str,
        references: &[Reference],
    ) -> Result<Registered, ServerError> {
        let url = self.url(&["subjects", subject, "versions"])?;
        let asked = self.client().post(url).json(&body(schema, references));
        let registered: Option<Registered> = self.ask(asked).await?;
        registered.filter(|found| found.id > 0).ok_or_else(|| ServerError::Away(NO_ID.to_owned()))
    }

    /// Looks a schema up under a subject; `None` where it is not there.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn look_up(
        &self,
        subject: &str,
        schema: &str,
        references: &[Reference],
    ) -> Result<Option<Registered>, ServerError> {
        let url = self.url(&["subjects", subject])?;
        self.ask(self.client().post(url).json(&body(schema, references))).await
    }

    /// Lets the codec write kinds of events: registers or looks up the newest schema of each.
    ///
    /// # Errors
    /// As [`ServerError`]; what came before is registered.
    pub async fn prepare_kinds(
        &self,
        codec: &Codec,
        kinds: &[EventType],
        how: Registering,
    ) -> Result<(), ServerError> {
        for kind in kinds {
            let subject = how.subject.subject(kind.topic, kind.record);
            let registered = if how.auto_register {
                self.register(&subject, kind.schema, &[]).await?
            } else {
                self.look_up(&subject, kind.schema, &[]).await?.ok_or_else(|| ServerError::Unregistered {
                    event: kind.name.to_owned(),
                    subject: subject.clone(),
                })?
            };
            let guid = registered.guid.as_deref().and_then(guid_from_text);
            let added = codec.add_schema(Some(registered.id), guid, kind.schema);
            added.map_err(|error| ServerError::Refused(format!("{subject}: {error}")))?;
        }
        Ok(())
    }

    /// Asks whether a schema may follow the newest of a subject, by the level that the registry holds it to.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn check(&self, subject: &str, schema: &str) -> Result<Compatibility, ServerError> {
        let mut url = self.url(&["compatibility", "subjects", subject, "versions", "latest"])?;
        url.query_pairs_mut().append_pair("verbose", "true");
        let asked = self.client().post(url).json(&json!({ "schema": schema }));
        let Some(answer) = self.ask::<Value>(asked).await? else { return Ok(Compatibility::New) };
        if answer.get("is_compatible") == Some(&Value::Bool(true)) {
            return Ok(Compatibility::Compatible);
        }
        let messages = answer.get("messages").and_then(Value::as_array).into_iter().flatten();
        let lines = messages.map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        Ok(Compatibility::Incompatible(lines))
    }

    /// Returns the names of all subjects.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn subjects(&self) -> Result<Vec<String>, ServerError> {
        let found: Option<Vec<String>> = self.get(&["subjects".to_owned()]).await?;
        found.ok_or_else(|| ServerError::Away("it has no subjects".to_owned()))
    }

    /// Returns the numbers of a subject's versions, the oldest first; none where there is no such subject.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, ServerError> {
        let path = ["subjects", subject, "versions"].map(str::to_owned);
        let mut versions: Vec<u32> = self.get(&path).await?.unwrap_or_default();
        versions.sort_unstable();
        Ok(versions)
    }

    /// Returns one version of a subject, with what it refers to put into it; `latest` is one, too. `None` where it is not
    /// there.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn version(&self, subject: &str, version: &str) -> Result<Option<Registered>, ServerError> {
        let path = ["subjects", subject, "versions", version].map(str::to_owned);
        let Some(mut found) = self.get::<Registered>(&path).await? else { return Ok(None) };
        found.schema = self.whole(&format!("{subject} version {version}"), &found).await?;
        Ok(Some(found))
    }

    /// Returns one version of a subject as it is kept, whatever its language. `None` where it is not there.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn entry(&self, subject: &str, version: u32) -> Result<Option<Registered>, ServerError> {
        self.get(&["subjects", subject, "versions", &version.to_string()].map(str::to_owned)).await
    }

    /// Returns the level of compatibility that the registry holds a subject to; `None` where it does not say.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn level(&self, subject: &str) -> Result<Option<String>, ServerError> {
        let mut url = self.url(&["config", subject])?;
        url.query_pairs_mut().append_pair("defaultToGlobal", "true");
        let answer: Option<Value> = self.ask(self.client().get(url)).await?;
        let level = answer.as_ref().and_then(|answer| answer.get("compatibilityLevel"));
        Ok(level.and_then(Value::as_str).map(str::to_owned))
    }

    /// Makes the registry hold a subject to a level.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub async fn set_level(&self, subject: &str, level: &str) -> Result<(), ServerError> {
        let url = self.url(&["config", subject])?;
        let asked = self.client().put(url).json(&json!({ "compatibility": level }));
        let taken: Option<Value> = self.ask(asked).await?;
        taken.map(|_level| ()).ok_or_else(|| ServerError::Away(format!("it has no level for {subject}")))
    }
}

fn body(schema: &str, references: &[Reference]) -> Value {
    if references.is_empty() {
        return json!({ "schema": schema });
    }
    json!({ "schema": schema, "references": references })
}

const NO_ID: &str = "its answer has no id";
