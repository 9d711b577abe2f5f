//! What stands around a datum: headers, and the frame that names the writer's schema.

use crate::codec::{DecodeError, Detail, Limits, SchemaRef};
use crate::event::RawRecord;

/// The header that names a schema by its GUID; the value is unframed then.
pub(crate) const SCHEMA_HEADER: &str = "__value_schema_id";
const GUID_MARK: u8 = 1;
const ID_MARK: u8 = 0;

/// The headers that mean something to us, each as its last value that is not null.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Headers<'r> {
    pub(crate) ce_id: Option<&'r [u8]>,
    pub(crate) ce_time: Option<&'r [u8]>,
    pub(crate) ce_type: Option<&'r [u8]>,
    pub(crate) content_type: Option<&'r [u8]>,
    pub(crate) id: Option<&'r [u8]>,
    pub(crate) schema: Option<&'r [u8]>,
}

impl<'r> Headers<'r> {
    /// Reads the headers.
    ///
    /// # Errors
    /// More, or more bytes of them, than `limits` allow.
    pub(crate) fn read(record: &'r RawRecord, limits: &Limits) -> Result<Self, DecodeError> {
        let mut headers = Self::default();
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for header in record.headers() {
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(header.name.len());
            let Some(value) = header.value else { continue };
            bytes = bytes.saturating_add(value.len());
            match header.name {
                "ce_id" => headers.ce_id = Some(value),
                "ce_time" => headers.ce_time = Some(value),
                "ce_type" => headers.ce_type = Some(value),
                "id" => headers.id = Some(value),
                SCHEMA_HEADER => headers.schema = Some(value),
                name if name.eq_ignore_ascii_case("content-type") => headers.content_type = Some(value),
                _ => {}
            }
        }
        if count > limits.max_headers || bytes > limits.max_header_bytes {
            let message = format!(
                "{count} headers with {bytes} bytes, where {} with {} are allowed",
                limits.max_headers, limits.max_header_bytes
            );
            return Err(DecodeError::poison(Detail::Headers, message));
        }
        Ok(headers)
    }

    /// Returns the kind of event that the record says it carries.
    ///
    /// # Errors
    /// The header is not text.
    pub(crate) fn event_type(&self) -> Result<Option<&'r str>, DecodeError> {
        self.ce_type
            .map(std::str::from_utf8)
            .transpose()
            .map_err(|_| DecodeError::poison(Detail::Headers, "the header ce_type is not UTF-8"))
    }
}

/// A datum and the name of the schema that it was written with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framed<'r> {
    pub(crate) schema: SchemaRef,
    pub(crate) datum: &'r [u8],
}

/// Takes the frame off a value.
///
/// # Errors
/// The frame is none that we read.
pub(crate) fn unframe<'r>(value: &'r [u8], headers: &Headers<'r>) -> Result<Framed<'r>, DecodeError> {
    avro_expected(headers)?;
    if let Some(header) = headers.schema {
        return match header.split_first() {
            Some((&GUID_MARK, guid)) => match guid.try_into() {
                Ok(guid) => Ok(Framed { schema: SchemaRef::Guid(guid), datum: value }),
                Err(_) => Err(bad_schema_header(header)),
            },
            _ => Err(bad_schema_header(header)),
        };
    }
    match value.split_first() {
        None => Err(DecodeError::poison(Detail::Empty, "the value is empty, which is not the same as null")),
        Some((&ID_MARK, rest)) => match rest.split_first_chunk::<4>() {
            Some((id, datum)) => Ok(Framed { schema: SchemaRef::Id(u32::from_be_bytes(*id)), datum }),
            None => {
                let message = format!("the value has {} bytes, its frame alone needs 5", value.len());
                Err(DecodeError::poison(Detail::ShortHeader, message))
            }
        },
        Some((first, _)) => Err(DecodeError::poison(Detail::BadMagic, foreign(*first, value))),
    }
}

/// Writes Confluent's frame of version 0.
pub(crate) fn frame_with_id(id: u32) -> Vec<u8> {
    let mut framed = vec![ID_MARK];
    framed.extend_from_slice(&id.to_be_bytes());
    framed
}

/// Writes the value of the header that names a schema by its GUID.
pub(crate) fn guid_header(guid: &[u8; 16]) -> Vec<u8> {
    let mut header = vec![GUID_MARK];
    header.extend_from_slice(guid);
    header
}

fn avro_expected(headers: &Headers<'_>) -> Result<(), DecodeError> {
    let Some(content_type) = headers.content_type else { return Ok(()) };
    if matches!(content_type, b"application/avro" | b"avro/binary") {
        return Ok(());
    }
    let content_type = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    let structured = content_type.starts_with("application/cloudevents");
    let avro = content_type.contains("avro");
    let other = ["json", "protobuf", "xml", "text/"].iter().any(|format| content_type.contains(format));
    if structured || (other && !avro) {
        let message = format!("the content type is {:.60}, not Avro in binary mode", content_type);
        return Err(DecodeError::poison(Detail::WrongFormat, message));
    }
    Ok(())
}

fn bad_schema_header(header: &[u8]) -> DecodeError {
    let message =
        format!("the header {SCHEMA_HEADER} has {} bytes and is no marker 1 with a GUID", header.len());
    DecodeError::poison(Detail::BadMagic, message)
}

fn foreign(first: u8, value: &[u8]) -> String {
    let guess = match value {
        [b'{' | b'[', ..] => ", it looks like JSON",
        [b'O', b'b', b'j', 1, ..] => ", it looks like an Avro file",
        [0xc3, 1, ..] => ", it looks like an Avro single object",
        _ => "",
    };
    format!("the value begins with {first:#04x}, not with the frame 0x00 and a schema id{guess}")
}
