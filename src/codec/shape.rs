//! What the bytes of a datum look like: a schema with all names resolved and all decoration dropped.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{
    DecimalSchema, InnerDecimalSchema, Name, NamesRef, RecordSchema, ResolvedSchema, UuidSchema,
};

use crate::codec::SchemaError;

/// The layout of a value.
#[derive(Debug)]
pub(crate) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    /// A count of `per_second` units since the epoch.
    Timestamp {
        per_second: i64,
    },
    /// Days since the epoch.
    Date,
    Float,
    Double,
    Bytes,
    String,
    Decimal,
    Uuid,
    UuidBytes,
    Fixed(usize),
    Enum(usize),
    Array(Arc<Self>),
    Map(Arc<Self>),
    Union(Vec<Arc<Self>>),
    Record(Vec<Arc<Self>>),
}

impl Shape {
    /// Returns the layout of a field, of a branch, or of the items.
    pub(crate) fn part(&self, place: usize) -> Option<&Self> {
        match self {
            Self::Record(parts) | Self::Union(parts) => parts.get(place).map(AsRef::as_ref),
            Self::Array(items) | Self::Map(items) => Some(items),
            Self::Null
            | Self::Boolean
            | Self::Int
            | Self::Long
            | Self::Timestamp { .. }
            | Self::Date
            | Self::Float
            | Self::Double
            | Self::Bytes
            | Self::String
            | Self::Decimal
            | Self::Uuid
            | Self::UuidBytes
            | Self::Fixed(_)
            | Self::Enum(_) => None,
        }
    }
}

/// The largest schema that is accepted, in bytes of its text.
pub(crate) const MAX_SCHEMA_BYTES: usize = 1024 * 1024;
const MAX_FIELDS: usize = 5_000;
const MAX_NAME_BYTES: usize = 1_024;
const MAX_DEPTH: usize = 28;
const MAX_EXPANDED: usize = 100_000;

/// Resolves a schema to its layout.
///
/// # Errors
/// Refuses what is recursive, too deep or too large.
pub(crate) fn layout(schema: &Schema, max_fixed: usize) -> Result<Arc<Shape>, SchemaError> {
    let names = ResolvedSchema::new(schema).map_err(|error| SchemaError::Malformed(error.to_string()))?;
    let mut layouts =
        Layouts { names: names.get_names(), named: HashMap::new(), open: Vec::new(), fields: 0, max_fixed };
    layouts.lay(schema, 1).map(|laid| laid.shape)
}

struct Layouts<'s> {
    names: &'s NamesRef<'s>,
    named: HashMap<Name, Laid>,
    open: Vec<Name>,
    fields: usize,
    max_fixed: usize,
}

/// A layout with how deep it nests and how many values one value of it may hold outside arrays and maps.
#[derive(Clone)]
struct Laid {
    shape: Arc<Shape>,
    depth: usize,
    expanded: usize,
}

impl Layouts<'_> {
    fn lay(&mut self, schema: &Schema, level: usize) -> Result<Laid, SchemaError> {
        within("its nesting", level, MAX_DEPTH)?;
        if let Some(name) = schema.name() {
            within("a name's length", name.as_ref().len(), MAX_NAME_BYTES)?;
        }
        let leaf = |shape| Ok(Laid { shape: Arc::new(shape), depth: 1, expanded: 1 });
        match schema {
            Schema::Null => leaf(Shape::Null),
            Schema::Boolean => leaf(Shape::Boolean),
            Schema::Int | Schema::TimeMillis => leaf(Shape::Int),
            Schema::Date => leaf(Shape::Date),
            Schema::Long | Schema::TimeMicros => leaf(Shape::Long),
            Schema::TimestampMillis | Schema::LocalTimestampMillis => {
                leaf(Shape::Timestamp { per_second: 1_000 })
            }
            Schema::TimestampMicros | Schema::LocalTimestampMicros => {
                leaf(Shape::Timestamp { per_second: 1_000_000 })
            }
            Schema::TimestampNanos | Schema::LocalTimestampNanos => {
                leaf(Shape::Timestamp { per_second: 1_000_000_000 })
            }
            Schema::Float => leaf(Shape::Float),
            Schema::Double => leaf(Shape::Double),
            Schema::Bytes => leaf(Shape::Bytes),
            Schema::String => leaf(Shape::String),
            Schema::BigDecimal | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Bytes, .. }) => {
                leaf(Shape::Decimal)
            }
            Schema::Uuid(UuidSchema::String) => leaf(Shape::Uuid),
            Schema::Uuid(UuidSchema::Bytes) => leaf(Shape::UuidBytes),
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed))
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
                within("the size of a fixed", fixed.size, self.max_fixed)?;
                leaf(Shape::Fixed(fixed.size))
            }
            Schema::Enum(schema) => {
                for symbol in &schema.symbols {
                    within("a symbol's length", symbol.len(), MAX_NAME_BYTES)?;
                }
                leaf(Shape::Enum(schema.symbols.len()))
            }
            Schema::Array(array) => {
                let items = self.lay(&array.items, level.saturating_add(1))?;
                Ok(items.inside(Shape::Array))
            }
            Schema::Map(map) => {
                let values = self.lay(&map.types, level.saturating_add(1))?;
                Ok(values.inside(Shape::Map))
            }
            Schema::Union(union) => {
                let mut branches = Vec::new();
                for branch in union.variants() {
                    branches.push(self.lay(branch, level.saturating_add(1))?);
                }
                together(&branches, Shape::Union)
            }
            Schema::Record(record) => self.record(record, level),
            Schema::Ref { name } => self.reference(name, level),
        }
    }

    fn record(&mut self, record: &RecordSchema, level: usize) -> Result<Laid, SchemaError> {
        self.fields = self.fields.saturating_add(record.fields.len());
        within("the number of fields", self.fields, MAX_FIELDS)?;
        self.open.push(record.name.clone());
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            within("a name's length", field.name.len(), MAX_NAME_BYTES)?;
            fields.push(self.lay(&field.schema, level.saturating_add(1))?);
        }
        self.open.pop();
        let laid = together(&fields, Shape::Record)?;
        self.named.insert(record.name.clone(), laid.clone());
        Ok(laid)
    }

    fn reference(&mut self, name: &Name, level: usize) -> Result<Laid, SchemaError> {
        if self.open.contains(name) {
            return Err(SchemaError::Recursive(name.to_string()));
        }
        if let Some(laid) = self.named.get(name) {
            within("its nesting", level.saturating_add(laid.depth), MAX_DEPTH)?;
            return Ok(laid.clone());
        }
        let Some(schema) = self.names.get(name).copied() else {
            return Err(SchemaError::Malformed(format!("there is no type {name}")));
        };
        self.lay(schema, level)
    }
}

impl Laid {
    fn inside(self, wrap: impl FnOnce(Arc<Shape>) -> Shape) -> Self {
        Self {
            shape: Arc::new(wrap(self.shape)),
            depth: self.depth.saturating_add(1),
            expanded: self.expanded.saturating_add(1),
        }
    }
}

fn together(parts: &[Laid], wrap: impl FnOnce(Vec<Arc<Shape>>) -> Shape) -> Result<Laid, SchemaError> {
    let depth = parts.iter().map(|part| part.depth).max().unwrap_or_default().saturating_add(1);
    let expanded = parts.iter().fold(1_usize, |sum, part| sum.saturating_add(part.expanded));
    within("the number of values in one record", expanded, MAX_EXPANDED)?;
    let shapes = parts.iter().map(|part| Arc::clone(&part.shape)).collect();
    Ok(Laid { shape: Arc::new(wrap(shapes)), depth, expanded })
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), SchemaError> {
    if size > limit { Err(SchemaError::TooLarge { what, size, limit }) } else { Ok(()) }
}
