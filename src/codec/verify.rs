//! A walk over the bytes of a datum before anything is built from them: names what is wrong, and bounds what
//! decoding may cost.

use std::sync::Arc;

use crate::codec::shape::Shape;
use crate::codec::{DecodeError, Detail};

/// What a walk may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The longest text or byte string, in bytes.
    pub(crate) max_length: usize,
    /// How many values there may be in all.
    pub(crate) max_values: usize,
}

/// Checks that `bytes` are exactly one value of `shape`.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn verify(shape: &Shape, bytes: &[u8], budget: Budget) -> Result<(), DecodeError> {
    let mut walk = Walk::new(bytes, budget);
    walk.value(shape)?;
    match bytes.len().saturating_sub(walk.at) {
        0 => Ok(()),
        rest => Err(poison(Detail::TrailingBytes, format!("{rest} bytes follow the end of the datum"))),
    }
}

/// Returns the text of the field at `field` of a record that was verified; `None` where it is no text.
pub(crate) fn text_field<'b>(
    shape: &Shape,
    bytes: &'b [u8],
    field: usize,
    budget: Budget,
) -> Option<&'b str> {
    let Shape::Record(fields) = shape else { return None };
    let mut walk = Walk::new(bytes, budget);
    for before in fields.get(..field)? {
        walk.value(before).ok()?;
    }
    let mut field = fields.get(field)?.as_ref();
    if let Shape::Union(branches) = field {
        field = walk.branch(branches).ok()?;
    }
    let text = matches!(field, Shape::String).then(|| walk.run()).and_then(Result::ok)?;
    std::str::from_utf8(text).ok()
}

/// A place in the bytes of a datum.
#[derive(Debug)]
pub(crate) struct Walk<'b> {
    bytes: &'b [u8],
    at: usize,
    values: usize,
    max_length: usize,
}

impl<'b> Walk<'b> {
    pub(crate) fn new(bytes: &'b [u8], budget: Budget) -> Self {
        Self { bytes, at: 0, values: budget.max_values, max_length: budget.max_length }
    }

    /// Steps over a value.
    pub(crate) fn value(&mut self, shape: &Shape) -> Result<(), DecodeError> {
        self.spend(1)?;
        match shape {
            Shape::Null => Ok(()),
            Shape::Boolean => self.boolean().map(drop),
            Shape::Int => self.int().map(drop),
            Shape::Long => self.long().map(drop),
            Shape::Date => match self.int()? {
                -719_162..=2_932_896 => Ok(()),
                days => {
                    Err(poison(Detail::TimeRange, format!("{days} days are outside the years 1 to 9999")))
                }
            },
            Shape::Timestamp { per_second } => {
                let units = self.long()?;
                match units.div_euclid(*per_second) {
                    -62_135_596_800..=253_402_300_799 => Ok(()),
                    _ => Err(poison(
                        Detail::TimeRange,
                        format!("the timestamp {units} is outside the years 1 to 9999"),
                    )),
                }
            }
            Shape::Float => self.take(4).map(drop),
            Shape::Double => self.take(8).map(drop),
            Shape::Fixed(size) => self.take(*size).map(drop),
            Shape::Bytes => self.run().map(drop),
            Shape::String => self.pass_text(),
            Shape::Decimal => match self.run()?.len() {
                0 => Err(poison(Detail::Logical, "a decimal of no bytes")),
                _ => Ok(()),
            },
            Shape::Uuid => self.uuid(),
            Shape::UuidBytes => match self.run()?.len() {
                16 => Ok(()),
                length => Err(poison(Detail::Logical, format!("a UUID of {length} bytes"))),
            },
            Shape::Enum(symbols) => self.symbol(*symbols).map(drop),
            Shape::Union(branches) => {
                let branch = self.branch(branches)?;
                self.value(branch)
            }
            Shape::Record(fields) => fields.iter().try_for_each(|field| self.value(field)),
            Shape::Array(items) => self.blocks(|walk| walk.value(items)),
            Shape::Map(values) => self.blocks(|walk| {
                walk.text()?;
                walk.value(values)
            }),
        }
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(poison(Detail::Bool, format!("{other:02x?} is not a boolean"))),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i32, DecodeError> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| poison(Detail::Range, format!("{long} does not fit an int")))
    }

    pub(crate) fn long(&mut self) -> Result<i64, DecodeError> {
        // Most numbers are lengths and branches: one byte.
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at = self.at.saturating_add(1);
                Ok(unzigzag(u64::from(*byte)))
            }
            _ => self.long_of_bytes(),
        }
    }

    fn long_of_bytes(&mut self) -> Result<i64, DecodeError> {
        let mut value = 0_u64;
        for place in 0..10_u32 {
            let [byte] = *self.take(1)? else {
                return Err(self.cut());
            };
            let bits = u64::from(byte & 0x7f);
            if place == 9 && bits > 1 {
                break;
            }
            value |= bits << place.saturating_mul(7);
            if byte & 0x80 == 0 {
                if byte == 0 && place > 0 {
                    return Err(poison(Detail::Varint, "a number is written longer than needed"));
                }
                return Ok(unzigzag(value));
            }
        }
        Err(poison(Detail::Varint, "a number has more than 64 bits"))
    }

    /// Reads bytes that carry their length.
    pub(crate) fn run(&mut self) -> Result<&'b [u8], DecodeError> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(size) if size <= self.max_length => self.take(size),
            _ => Err(poison(Detail::Length, format!("the length {length} is not possible"))),
        }
    }

    /// Steps over a text. Most are plain ASCII, which one look without branches tells.
    fn pass_text(&mut self) -> Result<(), DecodeError> {
        let run = self.run()?;
        let plain = run.iter().fold(true, |plain, byte| plain & matches!(byte, 1..=0x7f));
        if plain { Ok(()) } else { text(run).map(drop) }
    }

    pub(crate) fn text(&mut self) -> Result<&'b str, DecodeError> {
        text(self.run()?)
    }

    fn uuid(&mut self) -> Result<(), DecodeError> {
        let text = self.text()?;
        let hyphen = |place: usize| text.len() == 36 && matches!(place, 8 | 13 | 18 | 23);
        let fits = matches!(text.len(), 32 | 36)
            && text.bytes().enumerate().all(|(place, byte)| match byte {
                b'-' => hyphen(place),
                digit => digit.is_ascii_hexdigit() && !hyphen(place),
            });
        if fits { Ok(()) } else { Err(poison(Detail::Logical, "a text is not a UUID")) }
    }

    pub(crate) fn symbol(&mut self, symbols: usize) -> Result<usize, DecodeError> {
        let index = self.int()?;
        match usize::try_from(index) {
            Ok(symbol) if symbol < symbols => Ok(symbol),
            _ => Err(poison(Detail::Enum, format!("symbol {index} of an enum of {symbols}"))),
        }
    }

    pub(crate) fn branch_index(&mut self, branches: usize) -> Result<usize, DecodeError> {
        let index = self.int()?;
        match usize::try_from(index) {
            Ok(branch) if branch < branches => Ok(branch),
            _ => Err(poison(Detail::Union, format!("branch {index} of a union of {branches}"))),
        }
    }

    fn branch<'s>(&mut self, branches: &'s [Arc<Shape>]) -> Result<&'s Shape, DecodeError> {
        let index = self.branch_index(branches.len())?;
        branches.get(index).map(AsRef::as_ref).ok_or_else(|| self.cut())
    }

    /// Reads the blocks of an array or a map, calling `item` for each item.
    pub(crate) fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            let end = if count < 0 { Some(self.block_end()?) } else { None };
            let items = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            if items > self.values {
                return Err(self.spent(items));
            }
            for _ in 0..items {
                item(self)?;
            }
            if end.is_some_and(|end| end != self.at) {
                return Err(poison(Detail::BadBlock, "a block is not as long as it says"));
            }
        }
    }

    fn block_end(&mut self) -> Result<usize, DecodeError> {
        let size = self.long()?;
        match usize::try_from(size) {
            Ok(size) if size <= self.max_length => {
                let end = self.at.saturating_add(size);
                if end > self.bytes.len() { Err(self.cut()) } else { Ok(end) }
            }
            _ => Err(poison(Detail::BadBlock, format!("a block of {size} bytes is not possible"))),
        }
    }

    pub(crate) fn take(&mut self, size: usize) -> Result<&'b [u8], DecodeError> {
        let end = self.at.saturating_add(size);
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.cut())?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| self.cut())
    }

    /// Counts values against the budget.
    pub(crate) fn spend(&mut self, values: usize) -> Result<(), DecodeError> {
        match self.values.checked_sub(values) {
            Some(left) => {
                self.values = left;
                Ok(())
            }
            None => Err(self.spent(values)),
        }
    }

    fn spent(&self, values: usize) -> DecodeError {
        let left = self.values;
        poison(
            Detail::Budget,
            format!("{values} more values, where {left} are left of what a record may hold"),
        )
    }

    fn cut(&self) -> DecodeError {
        poison(Detail::Truncated, format!("the datum ends early, at byte {}", self.bytes.len()))
    }
}

/// Reads a text: UTF-8 without NUL.
fn text(run: &[u8]) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(run)
        .map_err(|error| poison(Detail::Utf8, format!("a text is not UTF-8: {error}")))?;
    if run.contains(&0) {
        return Err(poison(Detail::Nul, "a text contains the character NUL"));
    }
    Ok(text)
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

#[cold]
fn poison(detail: Detail, message: impl Into<String>) -> DecodeError {
    DecodeError::poison(detail, message)
}
