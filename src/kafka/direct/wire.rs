//! Kafka's frames, as far as a few old and lasting versions of requests need them: big-endian numbers, texts and lists
//! with their length before them.

/// An answer that does not hold what its version says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not what Kafka's protocol says")]
pub(crate) struct Malformed;

/// Writes the body of a request.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn i8(mut self, value: i8) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn i16(mut self, value: i16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn i32(mut self, value: i32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn flag(self, value: bool) -> Self {
        self.i8(i8::from(value))
    }

    /// Text of more than 32,767 bytes is cut: no name is that long.
    pub(crate) fn text(self, value: &str) -> Self {
        let most = usize::from(u16::MAX >> 1);
        let value = value.get(..value.floor_char_boundary(most.min(value.len()))).unwrap_or_default();
        let mut out = self.i16(i16::try_from(value.len()).unwrap_or(i16::MAX));
        out.0.extend_from_slice(value.as_bytes());
        out
    }

    pub(crate) fn texts<'a>(self, values: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let out = self.i32(i32::try_from(values.len()).unwrap_or(i32::MAX));
        values.fold(out, Self::text)
    }

    pub(crate) fn bytes(self, value: &[u8]) -> Self {
        let mut out = self.i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        out.0.extend_from_slice(value);
        out
    }

    /// Returns the frame: its length, the head of a request without tagged fields, the body.
    pub(crate) fn frame(self, api: i16, version: i16, correlation: i32, client_id: &str) -> Vec<u8> {
        let head = Self::default().i16(api).i16(version).i32(correlation).text(client_id);
        let rest = head.0.len().saturating_add(self.0.len());
        let mut frame = Self::default().i32(i32::try_from(rest).unwrap_or(i32::MAX)).0;
        frame.extend_from_slice(&head.0);
        frame.extend_from_slice(&self.0);
        frame
    }
}

/// Reads the body of an answer.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        self.array::<1>().map(|byte| byte != [0])
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// Reads a text; null is `None`.
    pub(crate) fn maybe_text(&mut self) -> Result<Option<&'a str>, Malformed> {
        let length = self.i16()?;
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_not_text| Malformed)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        self.maybe_text()?.ok_or(Malformed)
    }

    /// Reads bytes; null is empty.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.i32()?;
        self.take(usize::try_from(length).unwrap_or_default())
    }

    /// Reads a list; null is empty. Ends at the first element that is not there, however many are announced.
    pub(crate) fn list<V>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<V, Malformed>,
    ) -> Result<Vec<V>, Malformed> {
        let count = self.i32()?.max(0);
        (0..count).map(|_| each(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let frame = Writer::default().text("a").texts(["b", "c"].into_iter()).bytes(b"de").flag(true);
        let frame = frame.frame(3, 8, 7, "me");

        let mut reader = Reader::new(&frame);

        assert_eq!(usize::try_from(reader.i32().unwrap()).unwrap(), frame.len() - 4);
        assert_eq!((reader.i16(), reader.i16(), reader.i32()), (Ok(3), Ok(8), Ok(7)));
        assert_eq!((reader.text(), reader.text()), (Ok("me"), Ok("a")));
        assert_eq!(reader.list(Reader::text), Ok(vec!["b", "c"]));
        assert_eq!((reader.bytes(), reader.flag()), (Ok(&b"de"[..]), Ok(true)));
    }

    #[test]
    fn a_list_that_announces_more_than_there_is_takes_no_memory() {
        let mut reader = Reader::new(&[0x7f, 0xff, 0xff, 0xff, 0, 1, b'a']);

        assert_eq!(reader.list(Reader::text), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            drop(reader.list(|reader| Ok((reader.maybe_text()?, reader.bytes()?.len()))));
        }
    }
}
