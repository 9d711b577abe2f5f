//! One record, as librdkafka holds it.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use rdkafka::bindings as native;
use rdkafka::error::{IsError, KafkaError};
use rdkafka::types::{RDKafkaHeaders, RDKafkaMessage};

/// A message that is freed when it is dropped. Came from a queue of librdkafka, as nobody else's; `None` is a null pointer.
#[repr(transparent)]
pub(crate) struct Owned(NonNull<RDKafkaMessage>);

impl Owned {
    /// Looks at it: a record, or what went wrong with its partition.
    pub(crate) fn read(&self) -> Result<Message<'_>, Failed> {
        let message = Message { native: self.0, owner: PhantomData };
        let fields = message.fields();
        if !fields.err.is_error() {
            return Ok(message);
        }
        let about_one = !fields.rkt.is_null() && message.partition() >= 0;
        Err(Failed {
            error: KafkaError::MessageConsumption(fields.err.into()),
            partition: about_one.then(|| (message.topic().into(), message.partition())),
            offset: Some(message.offset()).filter(|offset| *offset >= 0),
        })
    }
}

/// What came in the place of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What went wrong.
    pub error: KafkaError,
    /// The topic and the partition, where it is about one.
    pub partition: Option<(Box<str>, i32)>,
    /// The offset of the record that was not read, where it is about one. librdkafka's own position is behind it now: whoever
    /// wants the record has to seek.
    pub offset: Option<i64>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: it is ours, and this is its last use.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// A record in librdkafka's memory.
#[derive(Clone, Copy)]
pub struct Message<'m> {
    /// A pointer and not a reference: librdkafka finds around it what else belongs to the message, such as headers, which it parses
    /// when they are asked for.
    native: NonNull<RDKafkaMessage>,
    owner: PhantomData<&'m Owned>,
}

/// A header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'m> {
    /// The name, which need not be UTF-8.
    pub name: &'m [u8],
    /// The value; `None` is null.
    pub value: Option<&'m [u8]>,
}

impl<'m> Message<'m> {
    fn fields(&self) -> &'m RDKafkaMessage {
        // SAFETY: the message is not freed as long as `'m`, and nobody writes to these fields once it was taken.
        unsafe { self.native.as_ref() }
    }

    /// Returns a number that stands for the topic, the same for all of its records that are held at one time.
    pub fn topic_id(&self) -> usize {
        self.fields().rkt.addr()
    }

    /// Returns the topic's name.
    pub fn topic(&self) -> &'m str {
        // SAFETY: a record belongs to a topic, which it keeps alive; of an error that was looked at before. The topic is not null.
        let name = unsafe { native::rd_kafka_topic_name(self.fields().rkt) };
        // SAFETY: the name is a C string that lives as long as the topic.
        let name = unsafe { CStr::from_ptr(name) };
        name.to_str().unwrap_or_default()
    }

    /// Returns the partition's number.
    pub fn partition(&self) -> i32 {
        self.fields().partition
    }

    /// Returns the record's offset.
    pub fn offset(&self) -> i64 {
        self.fields().offset
    }

    /// Returns its time in milliseconds since the Unix epoch, where it has one.
    pub fn timestamp(&self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives, and `kind` is ours.
        let timestamp = unsafe { native::rd_kafka_message_timestamp(self.native.as_ptr(), &raw mut kind) };
        let known = kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (known && timestamp != -1).then_some(timestamp)
    }

    /// Returns its key; `None` is null.
    pub fn key(&self) -> Option<&'m [u8]> {
        // SAFETY: librdkafka says where the key is and how long; it lives as long as the message.
        unsafe { bytes(self.fields().key, self.fields().key_len) }
    }

    /// Returns its value; `None` is a tombstone.
    pub fn payload(&self) -> Option<&'m [u8]> {
        // SAFETY: as the key.
        unsafe { bytes(self.fields().payload, self.fields().len) }
    }

    /// Returns its headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'m>> + use<'m> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives, and is of this thread alone: its headers are parsed in place, and belong to it as long as it lives.
        let error = unsafe { native::rd_kafka_message_headers(self.native.as_ptr(), &raw mut headers) };
        let headers = if error.is_error() { ptr::null_mut() } else { headers };
        let mut index = 0;
        std::iter::from_fn(move || {
            let header = header::<'m>(NonNull::new(headers)?, index);
            index = index.saturating_add(1);
            header
        })
    }
}

fn header<'m>(headers: NonNull<RDKafkaHeaders>, index: usize) -> Option<Header<'m>> {
    let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the headers belong to a message that lives as long as `'m`; the three places are ours.
    let error = unsafe {
        native::rd_kafka_header_get_all(
            headers.as_ptr(),
            index,
            &raw mut name,
            &raw mut value,
            &raw mut length,
        )
    };
    if error.is_error() {
        return None;
    }
    // SAFETY: librdkafka ends names with a null byte, and they live as long as the headers.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    // SAFETY: librdkafka says where the value is and how long.
    let value = unsafe { bytes(value.cast_mut(), length) };
    Some(Header { name, value })
}

/// Looks at bytes; `None` for a null pointer.
///
/// # Safety
/// `start` is null, or `length` bytes from there on live and do not change as long as `'m`.
unsafe fn bytes<'m>(start: *mut c_void, length: usize) -> Option<&'m [u8]> {
    let start = NonNull::new(start.cast::<u8>())?;
    // SAFETY: the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
}
