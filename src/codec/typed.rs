//! From a verified datum to a typed event, and back.

use apache_avro::from_value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::fit::Fit;
use crate::codec::resolve::resolve;
use crate::codec::verify::Budget;
use crate::codec::writer::Ready;
use crate::codec::{DecodeError, Detail, EncodeError, SchemaRef};
use crate::event::{
    BlogEvent, CommentCreated, CommentRemoved, CommentUpdated, EventRecord, EventType, ImageUploaded,
    PostPublished, PostRemoved, PostUpdated, UserRegistered, UserRemoved, UserUpdated, each_event,
};

/// What a handler can be given: one kind of event (every [`EventRecord`]), or several in an enum.
///
/// An enum decodes by the name of the kind:
///
/// ```
/// use postroom::codec::{Datum, DecodeError, Event};
/// use postroom::event::{CommentCreated, CommentRemoved, EventRecord, EventType};
///
/// enum Comment {
///     Created(CommentCreated),
///     Removed(CommentRemoved),
/// }
///
/// impl Event for Comment {
///     fn types() -> &'static [EventType] {
///         const { &[CommentCreated::TYPE, CommentRemoved::TYPE] }
///     }
///
///     fn decode(event_type: &EventType, datum: &Datum<'_>) -> Result<Self, DecodeError> {
///         if event_type.name == CommentCreated::TYPE.name {
///             return datum.read().map(Self::Created);
///         }
///         datum.read().map(Self::Removed)
///     }
/// }
/// # assert_eq!(Comment::types().len(), 2);
/// ```
pub trait Event: Sized + Send + Sync + 'static {
    /// The kinds that it handles; records of all others are skipped before they are decoded.
    fn types() -> &'static [EventType];

    /// Decodes a datum of one of these kinds.
    ///
    /// # Errors
    /// What [`Datum::read`] says.
    fn decode(event_type: &EventType, datum: &Datum<'_>) -> Result<Self, DecodeError>;
}

impl<E: EventRecord> Event for E {
    fn types() -> &'static [EventType] {
        E::TYPES
    }

    fn decode(_: &EventType, datum: &Datum<'_>) -> Result<Self, DecodeError> {
        datum.read()
    }
}

impl Event for BlogEvent {
    fn types() -> &'static [EventType] {
        &Self::TYPES
    }

    fn decode(event_type: &EventType, datum: &Datum<'_>) -> Result<Self, DecodeError> {
        match event_type.name {
            name if name == CommentCreated::TYPE.name => datum.read().map(Self::CommentCreated),
            name if name == CommentRemoved::TYPE.name => datum.read().map(Self::CommentRemoved),
            name if name == CommentUpdated::TYPE.name => datum.read().map(Self::CommentUpdated),
            name if name == ImageUploaded::TYPE.name => datum.read().map(Self::ImageUploaded),
            name if name == PostPublished::TYPE.name => datum.read().map(Self::PostPublished),
            name if name == PostRemoved::TYPE.name => datum.read().map(Self::PostRemoved),
            name if name == PostUpdated::TYPE.name => datum.read().map(Self::PostUpdated),
            name if name == UserRegistered::TYPE.name => datum.read().map(Self::UserRegistered),
            name if name == UserRemoved::TYPE.name => datum.read().map(Self::UserRemoved),
            name if name == UserUpdated::TYPE.name => datum.read().map(Self::UserUpdated),
            name => Err(DecodeError::poison(Detail::WrongType, format!("{name} is no event of a blog"))),
        }
    }
}

/// The bytes of one event, verified against the schema that they were written with.
pub struct Datum<'r> {
    pub(crate) bytes: &'r [u8],
    pub(crate) schema: SchemaRef,
    pub(crate) ready: &'static Ready,
    pub(crate) budget: Budget,
}

impl Datum<'_> {
    /// Decodes it as `E`, whoever wrote it: directly where the writer's schema allows it, else by Avro's schema
    /// resolution to the schema of `E`.
    ///
    /// # Errors
    /// The schemas cannot be reconciled, or a value is one that `E` refuses.
    pub fn read<E: EventRecord>(&self) -> Result<E, DecodeError> {
        let event: E = self.read_as(&E::TYPE)?;
        event.check().map_err(|message| DecodeError::poison(Detail::Range, message))?;
        Ok(event)
    }

    fn read_as<T: DeserializeOwned>(&self, event_type: &EventType) -> Result<T, DecodeError> {
        let (fit, reader) = self
            .ready
            .read_by(event_type.schema)
            .map_err(|error| self.incompatible(event_type, &error.to_string()))?;
        match fit {
            Fit::Same => match self.ready.reader.read_deser(&mut { self.bytes }) {
                Ok(event) => Ok(event),
                Err(_) => self.resolved(event_type, reader),
            },
            Fit::Convert | Fit::Sometimes(_) => self.resolved(event_type, reader),
            Fit::Never(why) => Err(self.incompatible(event_type, &why)),
        }
    }

    fn resolved<T: DeserializeOwned>(
        &self,
        event_type: &EventType,
        reader: &'static Ready,
    ) -> Result<T, DecodeError> {
        let value = resolve(self.ready, reader, self.bytes, self.budget).map_err(|error| match error {
            DecodeError::Poison { detail: Detail::Incompatible, message } => {
                self.incompatible(event_type, &message)
            }
            other @ (DecodeError::NeedsSchema(_) | DecodeError::Poison { .. }) => other,
        })?;
        from_value(&value).map_err(|error| self.incompatible(event_type, &error.to_string()))
    }

    fn incompatible(&self, event_type: &EventType, why: &str) -> DecodeError {
        let message =
            format!("data written with {} cannot be read as {}: {why:.500}", self.schema, event_type.name);
        DecodeError::poison(Detail::Incompatible, message)
    }
}

/// What can be published: every [`EventRecord`] that serialises, and [`BlogEvent`].
pub trait Encode {
    /// Returns its kind.
    fn kind(&self) -> EventType;
    /// Returns its identity, its record's key, and when it happened.
    fn identity(&self) -> Identity<'_>;
    /// Writes it as a datum of the schema.
    ///
    /// # Errors
    /// It does not fit the schema.
    fn write(&self, schema: &WriterSchema) -> Result<Vec<u8>, EncodeError>;
}

/// What is said of an event beside its datum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity<'e> {
    /// The event's id, for `ce_id`.
    pub event_id: Option<&'e str>,
    /// The record's key.
    pub key: Option<&'e str>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub time: Option<i64>,
}

/// A schema that data are written with.
#[derive(Clone, Copy)]
pub struct WriterSchema(pub(crate) &'static Ready);

impl<E: EventRecord + Serialize> Encode for E {
    fn kind(&self) -> EventType {
        E::TYPE
    }

    fn identity(&self) -> Identity<'_> {
        Identity { event_id: self.event_id(), key: self.key(), time: self.time() }
    }

    fn write(&self, schema: &WriterSchema) -> Result<Vec<u8>, EncodeError> {
        schema.0.encoder.write_ser_to_vec(self).map_err(|error| EncodeError::Unfit {
            event_type: E::TYPE.name.to_owned(),
            message: error.to_string(),
        })
    }
}

impl Encode for BlogEvent {
    fn kind(&self) -> EventType {
        self.event_type()
    }

    fn identity(&self) -> Identity<'_> {
        each_event!(self, event => event.identity())
    }

    fn write(&self, schema: &WriterSchema) -> Result<Vec<u8>, EncodeError> {
        each_event!(self, event => event.write(schema))
    }
}
