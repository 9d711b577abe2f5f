//! Whether data of a writer's schema can become values of a reader's: Avro's rules of schema resolution.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a library's many kinds of schema: what is not named is refused"
)]

use apache_avro::Schema;
use apache_avro::schema::{
    Aliases, EnumSchema, InnerDecimalSchema, Name, NamesRef, RecordField, RecordSchema, UnionSchema,
};

/// How data of one schema become values of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// They are read as they are.
    Same,
    /// Each one can be converted.
    Convert,
    /// Some can be converted: which branch of a union or symbol of an enum they hold decides.
    Sometimes(String),
    /// None can be.
    Never(String),
}

/// A writer's and a reader's schema with all names in them.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'s> {
    pub(crate) writer: &'s Schema,
    pub(crate) writer_names: &'s NamesRef<'s>,
    pub(crate) reader: &'s Schema,
    pub(crate) reader_names: &'s NamesRef<'s>,
}

impl<'s> Pair<'s> {
    pub(crate) fn of(self, writer: &'s Schema, reader: &'s Schema) -> Self {
        Self { writer: named(writer, self.writer_names), reader: named(reader, self.reader_names), ..self }
    }

    /// Tells how the writer's data become the reader's values.
    pub(crate) fn fit(self) -> Fit {
        let pair = self.of(self.writer, self.reader);
        match (pair.writer, pair.reader) {
            (Schema::Union(writer), Schema::Union(reader)) => pair.unions(writer, reader),
            (Schema::Union(writer), _) => pair.any_branch(writer).worst(Fit::Convert),
            (_, Schema::Union(reader)) => match pair.branch(reader) {
                Some((_, branch)) => pair.of(pair.writer, branch).fit().worst(Fit::Convert),
                None => never(pair.writer, "a branch of the reader's union"),
            },
            (Schema::Record(writer), Schema::Record(reader)) => pair.records(writer, reader),
            (Schema::Enum(writer), Schema::Enum(reader)) => enums(writer, reader),
            (Schema::Array(writer), Schema::Array(reader)) => pair.of(&writer.items, &reader.items).fit(),
            (Schema::Map(writer), Schema::Map(reader)) => pair.of(&writer.types, &reader.types).fit(),
            (writer, reader) => leaves(writer, reader),
        }
    }

    fn unions(self, writer: &'s UnionSchema, reader: &'s UnionSchema) -> Fit {
        let same_order = writer.variants().len() == reader.variants().len()
            && writer
                .variants()
                .iter()
                .zip(reader.variants())
                .all(|(writer, reader)| self.of(writer, reader).fit() == Fit::Same);
        if same_order { Fit::Same } else { self.any_branch(writer).worst(Fit::Convert) }
    }

    fn any_branch(self, writer: &'s UnionSchema) -> Fit {
        let fits = writer.variants().iter().map(|branch| self.of(branch, self.reader).fit());
        let (good, bad): (Vec<_>, Vec<_>) = fits.partition(|fit| !matches!(fit, Fit::Never(_)));
        let worst = good.iter().cloned().fold(Fit::Same, Fit::worst);
        match bad.into_iter().next() {
            None => worst,
            Some(Fit::Never(why)) if !good.is_empty() => worst.worst(Fit::Sometimes(why)),
            Some(never) => never,
        }
    }

    /// Returns the branch of the reader's union that takes the writer's data: the first of the same type, else
    /// the first that they can be converted to.
    pub(crate) fn branch(self, reader: &'s UnionSchema) -> Option<(usize, &'s Schema)> {
        let fits = |wanted: fn(&Fit) -> bool| {
            reader
                .variants()
                .iter()
                .enumerate()
                .find(|(_, branch)| wanted(&self.of(self.writer, branch).fit()))
        };
        fits(|fit| *fit == Fit::Same)
            .or_else(|| self.same_kind(reader))
            .or_else(|| fits(|fit| !matches!(fit, Fit::Never(_))))
    }

    /// Returns the branch with the writer's own kind of schema, such as its record under a newer definition.
    fn same_kind(self, reader: &'s UnionSchema) -> Option<(usize, &'s Schema)> {
        reader.variants().iter().enumerate().find(|(_, branch)| {
            let branch = named(branch, self.reader_names);
            std::mem::discriminant(branch) == std::mem::discriminant(self.writer)
                && !matches!(self.of(self.writer, branch).fit(), Fit::Never(_))
        })
    }

    fn records(self, writer: &'s RecordSchema, reader: &'s RecordSchema) -> Fit {
        if !same_name(&writer.name, &reader.name, &reader.aliases) {
            return Fit::Never(format!("the record {} is not {}", writer.name, reader.name));
        }
        reader.fields.iter().fold(Fit::Same, |worst, field| worst.worst(self.field(writer, field)))
    }

    fn field(self, writer: &'s RecordSchema, field: &'s RecordField) -> Fit {
        let Some(written) = writer_field(writer, field) else {
            return match &field.default {
                Some(default) if is_natural(default) => Fit::Same,
                Some(_) => Fit::Convert,
                None => Fit::Never(format!("the writer has no field {}, which has no default", field.name)),
            };
        };
        let fit = match self.of(&written.schema, &field.schema).fit() {
            Fit::Never(why) => Fit::Never(format!("field {}: {why}", field.name)),
            Fit::Sometimes(why) => Fit::Sometimes(format!("field {}: {why}", field.name)),
            fit @ (Fit::Same | Fit::Convert) => fit,
        };
        if written.name == field.name { fit } else { fit.worst(Fit::Convert) }
    }
}

impl Fit {
    fn worst(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Same => 0,
            Self::Convert => 1,
            Self::Sometimes(_) => 2,
            Self::Never(_) => 3,
        }
    }
}

/// Returns the writer's field that a reader's field takes its value from: by its name, else by an alias.
pub(crate) fn writer_field<'w>(writer: &'w RecordSchema, field: &RecordField) -> Option<&'w RecordField> {
    let place =
        std::iter::once(&field.name).chain(&field.aliases).find_map(|name| writer.lookup_by_name(name))?;
    writer.fields.get(place)
}

trait LookUpByName {
    fn lookup_by_name(&self, name: &str) -> Option<usize>;
}

impl LookUpByName for RecordSchema {
    fn lookup_by_name(&self, name: &str) -> Option<usize> {
        // The library's own table also finds a field by its aliases, which are the writer's business alone.
        self.fields.iter().position(|field| field.name == name)
    }
}

/// Returns the schema that a reference stands for.
pub(crate) fn named<'s>(schema: &'s Schema, names: &NamesRef<'s>) -> &'s Schema {
    match schema {
        Schema::Ref { name } => names.get(name).copied().unwrap_or(schema),
        _ => schema,
    }
}

fn enums(writer: &EnumSchema, reader: &EnumSchema) -> Fit {
    if !same_name(&writer.name, &reader.name, &reader.aliases) {
        return Fit::Never(format!("the enum {} is not {}", writer.name, reader.name));
    }
    let unknown: Vec<&str> =
        writer.symbols.iter().filter(|symbol| !reader.symbols.contains(symbol)).map(String::as_str).collect();
    match (unknown.is_empty(), &reader.default) {
        (true, _) => Fit::Same,
        (false, Some(_)) => Fit::Convert,
        (false, None) => Fit::Sometimes(format!("the reader's enum lacks {}", unknown.join(", "))),
    }
}

fn leaves(writer: &Schema, reader: &Schema) -> Fit {
    use Base::{Boolean, Bytes, Double, Fixed, Float, Int, Long, Null, Text};
    if let (Some(from), Some(to)) = (unit(writer), unit(reader))
        && from != to
    {
        return Fit::Never(format!("times in {from} are not times in {to}"));
    }
    if let (Schema::Decimal(from), Schema::Decimal(to)) = (writer, reader)
        && (from.precision, from.scale) != (to.precision, to.scale)
    {
        return Fit::Never("decimals of different precision or scale".to_owned());
    }
    match (base(writer), base(reader)) {
        (Some(Null), Some(Null))
        | (Some(Boolean), Some(Boolean))
        | (Some(Int), Some(Int))
        | (Some(Long), Some(Long))
        | (Some(Float), Some(Float))
        | (Some(Double), Some(Double))
        | (Some(Bytes), Some(Bytes))
        | (Some(Text), Some(Text)) => Fit::Same,
        (Some(Int), Some(Long | Float | Double))
        | (Some(Long), Some(Float | Double))
        | (Some(Float), Some(Double))
        | (Some(Bytes), Some(Text))
        | (Some(Text), Some(Bytes)) => Fit::Convert,
        (Some(Fixed(from, size)), Some(Fixed(to, wanted)))
            if size == wanted && same_name(from, to, &reader.aliases().cloned()) =>
        {
            Fit::Same
        }
        _ => never(writer, &describe(reader)),
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Base<'s> {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(&'s Name, usize),
}

pub(crate) fn base(schema: &Schema) -> Option<Base<'_>> {
    use apache_avro::schema::UuidSchema;
    Some(match schema {
        Schema::Null => Base::Null,
        Schema::Boolean => Base::Boolean,
        Schema::Int | Schema::Date | Schema::TimeMillis => Base::Int,
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => Base::Long,
        Schema::Float => Base::Float,
        Schema::Double => Base::Double,
        Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Base::Bytes,
        Schema::String | Schema::Uuid(UuidSchema::String) => Base::Text,
        Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
            Base::Fixed(&fixed.name, fixed.size)
        }
        Schema::Decimal(decimal) => match &decimal.inner {
            InnerDecimalSchema::Bytes => Base::Bytes,
            InnerDecimalSchema::Fixed(fixed) => Base::Fixed(&fixed.name, fixed.size),
        },
        Schema::Array(_)
        | Schema::Map(_)
        | Schema::Union(_)
        | Schema::Record(_)
        | Schema::Enum(_)
        | Schema::Ref { .. } => return None,
    })
}

fn unit(schema: &Schema) -> Option<&'static str> {
    match schema {
        Schema::TimestampMillis | Schema::LocalTimestampMillis => Some("milliseconds"),
        Schema::TimestampMicros | Schema::LocalTimestampMicros => Some("microseconds"),
        Schema::TimestampNanos | Schema::LocalTimestampNanos => Some("nanoseconds"),
        _ => None,
    }
}

/// Avro compares names without their namespaces, and a reader's aliases with the writer's full name.
pub(crate) fn same_name(writer: &Name, reader: &Name, aliases: &Aliases) -> bool {
    writer.name() == reader.name()
        || aliases.iter().flatten().any(|alias| alias.fullname(None) == writer.fullname(None))
}

fn is_natural(default: &serde_json::Value) -> bool {
    match default {
        serde_json::Value::Null => true,
        serde_json::Value::Bool(truth) => !truth,
        serde_json::Value::Number(number) => number.as_f64() == Some(0.0),
        serde_json::Value::String(text) => text.is_empty(),
        serde_json::Value::Array(items) => items.is_empty(),
        serde_json::Value::Object(fields) => fields.is_empty(),
    }
}

fn never(writer: &Schema, reader: &str) -> Fit {
    Fit::Never(format!("{} is not {reader}", describe(writer)))
}

pub(crate) fn describe(schema: &Schema) -> String {
    match schema.name() {
        Some(name) => name.to_string(),
        None => format!("{:?}", apache_avro::schema::SchemaKind::from(schema)).to_lowercase(),
    }
}
