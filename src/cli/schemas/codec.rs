//! The codec that a configuration asks for: with the schemas of a folder, or with a server that is asked for them.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use tokio::runtime::Runtime;

use crate::adapters::registry::{self, RegistryServer, ServerError};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::codec::{Codec, DecodeError, Limits, SchemaRef};
use crate::config::Config;
use crate::event::{EventType, RawRecord};
use crate::runtime::{registering, registry_server};

/// Makes the codec without asking anybody: our own schemas and those of `registry.directory`, or none where a server
/// gives the ids.
pub(crate) fn codec(config: &Config) -> Result<Codec, Failure> {
    let record = config.topics.max_record_bytes.bytes().saturating_add(HEADROOM);
    let limits = Limits { max_record_bytes: record, ..Limits::default() };
    if config.registry.url.is_some() {
        return Ok(Codec::without_schemas(limits));
    }
    registry::codec(limits, config.registry.directory.as_deref()).map_err(|why| {
        Failure::new(Exit::Configuration, format!("the schemas cannot be used: {why}"))
            .fix("correct registry.directory, or the files in it")
    })
}

/// Makes the client of the configured server; `None` where none is configured.
pub(crate) fn server(config: &Config) -> Result<Option<RegistryServer>, Failure> {
    registry_server(config).map_err(|why| Failure::new(Exit::Configuration, why).fix("correct [registry]"))
}

/// Makes the codec of a command that publishes these kinds: their schemas are registered, or looked up.
pub(crate) async fn writing(config: &Config, kinds: &[EventType]) -> Result<Codec, Failure> {
    let codec = codec(config)?;
    if let Some(server) = server(config)? {
        server.prepare_kinds(&codec, kinds, registering(config)).await?;
    }
    Ok(codec)
}

/// The codec of a command that reads: it asks the server for schemas that it lacks, each once.
pub(crate) struct Reading {
    codec: Codec,
    server: Option<RegistryServer>,
    /// What cannot be read, and why.
    hopeless: RefCell<HashMap<SchemaRef, String>>,
    runtime: OnceCell<Runtime>,
}

impl Reading {
    pub(crate) fn new(config: &Config) -> Result<Self, Failure> {
        let (codec, server) = (codec(config)?, server(config)?);
        Ok(Self { codec, server, hopeless: RefCell::default(), runtime: OnceCell::new() })
    }

    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Lets the codec learn the schema of a record. One that the server does not have is no failure: [`Self::why`] says
    /// so of the record.
    ///
    /// # Errors
    /// The server is away, or does not let us.
    pub(crate) async fn prepare(&self, record: &RawRecord) -> Result<(), Failure> {
        let (Some(server), Some(name)) = (&self.server, self.codec.needs(record)) else { return Ok(()) };
        if self.hopeless.borrow().contains_key(&name) {
            return Ok(());
        }
        let why = match server.find(name).await {
            Ok(Some((text, _guid))) => {
                let (id, guid) = match name {
                    SchemaRef::Id(id) => (Some(id), None),
                    SchemaRef::Guid(guid) => (None, Some(guid)),
                };
                match self.codec.add_schema(id, guid, &text) {
                    Ok(()) => return Ok(()),
                    Err(error) => format!("the schema with {name} cannot be used: {error}"),
                }
            }
            Ok(None) => format!("the registry has no schema with {name}"),
            Err(ServerError::Foreign(why)) => why,
            Err(ServerError::Unusable(why)) => format!("the schema with {name} cannot be used: {why}"),
            Err(error) => return Err(error.into()),
        };
        self.hopeless.borrow_mut().insert(name, why);
        Ok(())
    }

    /// The same for who is not asynchronous.
    pub(crate) fn prepare_now(&self, record: &RawRecord) -> Result<(), Failure> {
        if self.server.is_none() || self.codec.needs(record).is_none() {
            return Ok(());
        }
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let built =
                    built.map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))?;
                self.runtime.get_or_init(|| built)
            }
        };
        runtime.block_on(self.prepare(record))
    }

    /// Says why a record was not decoded.
    pub(crate) fn why(&self, error: &DecodeError) -> String {
        let known = match error {
            DecodeError::NeedsSchema(name) => self.hopeless.borrow().get(name).cloned(),
            DecodeError::Poison { .. } => None,
        };
        known.unwrap_or_else(|| error.to_string())
    }
}

/// Room for headers beside the largest record that producers may write.
const HEADROOM: usize = 64 * 1_024;
