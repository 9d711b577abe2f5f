//! What parent and child say to each other: the length of a JSON value, the value, and the bytes that it announces.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::render::Flaw;
use crate::ports::{Encoding, PictureFlaw, Thumbnail, ThumbnailSpec, Thumbnails};

/// What the child says first: it lives, and speaks this language.
pub(super) const GREETING: &[u8; 8] = b"PICTURE1";

/// One picture to be done; its bytes follow.
#[derive(Debug, Deserialize, Serialize)]
struct Request {
    widths: Vec<u32>,
    max_pixels: u64,
    quality: u8,
    size: usize,
}

/// What was made of it; the files follow, one after the other.
#[derive(Debug, Deserialize, Serialize)]
enum Reply {
    Made {
        media_type: String,
        width: u32,
        height: u32,
        sizes: Vec<Size>,
        placeholder: String,
        peak_memory: Option<u64>,
    },
    Bad {
        flaw: WireFlaw,
        message: String,
    },
}

#[derive(Debug, Deserialize, Serialize)]
struct Size {
    wanted: u32,
    width: u32,
    height: u32,
    png: bool,
    size: usize,
}

#[derive(Debug, Deserialize, Serialize)]
enum WireFlaw {
    Broken,
    TooLarge,
    Truncated,
    Unsupported,
}

/// Asks for a picture.
pub(super) fn ask(to: &mut impl Write, picture: &[u8], spec: &ThumbnailSpec) -> io::Result<()> {
    let ThumbnailSpec { widths, max_pixels, quality } = spec.clone();
    put(to, &Request { widths, max_pixels, quality, size: picture.len() })?;
    to.write_all(picture)?;
    to.flush()
}

/// Reads what is asked; `None` when nobody asks any more.
pub(super) fn asked(from: &mut impl Read) -> io::Result<Option<(Vec<u8>, ThumbnailSpec)>> {
    let Some(Request { widths, max_pixels, quality, size }) = get(from)? else { return Ok(None) };
    let picture = bytes(from, size, MOST_PICTURE)?;
    Ok(Some((picture, ThumbnailSpec { widths, max_pixels, quality })))
}

/// Answers.
pub(super) fn answer(to: &mut impl Write, made: &Result<Thumbnails, Flaw>) -> io::Result<()> {
    match made {
        Ok(made) => {
            let size = |one: &Thumbnail| Size {
                wanted: one.wanted,
                width: one.width,
                height: one.height,
                png: one.encoding == Encoding::Png,
                size: one.bytes.len(),
            };
            let Thumbnails { media_type, width, height, sizes, placeholder, peak_memory } = made.clone();
            let lines = sizes.iter().map(size).collect();
            put(to, &Reply::Made { media_type, width, height, sizes: lines, placeholder, peak_memory })?;
            sizes.iter().try_for_each(|one| to.write_all(&one.bytes))?;
        }
        Err(Flaw { flaw, message }) => {
            put(to, &Reply::Bad { flaw: WireFlaw::from(*flaw), message: message.clone() })?;
        }
    }
    to.flush()
}

/// Reads the answer of a child that may have been taken over by the picture: nothing in it is believed to be small.
pub(super) fn answered(from: &mut impl Read) -> io::Result<Result<Thumbnails, Flaw>> {
    let reply = get(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let (media_type, width, height, lines, placeholder, peak_memory) = match reply {
        Reply::Bad { flaw, message } => return Ok(Err(Flaw { flaw: PictureFlaw::from(flaw), message })),
        Reply::Made { media_type, width, height, sizes, placeholder, peak_memory } => {
            (media_type, width, height, sizes, placeholder, peak_memory)
        }
    };
    let mut left = MOST_FILES;
    let mut sizes = Vec::new();
    for Size { wanted, width, height, png, size } in lines {
        let encoding = if png { Encoding::Png } else { Encoding::Jpeg };
        let bytes = bytes(from, size, left)?;
        left = left.saturating_sub(bytes.len());
        sizes.push(Thumbnail { wanted, width, height, encoding, bytes });
    }
    Ok(Ok(Thumbnails { media_type, width, height, sizes, placeholder, peak_memory }))
}

fn put(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let length = u32::try_from(text.len()).map_err(|_| too_long())?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&text)
}

fn get<V: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<V>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    Ok(Some(serde_json::from_slice(&bytes(from, length, MOST_JSON)?)?))
}

fn bytes(from: &mut impl Read, count: usize, most: usize) -> io::Result<Vec<u8>> {
    if count > most {
        return Err(too_long());
    }
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message is longer than it may be")
}

impl From<PictureFlaw> for WireFlaw {
    fn from(flaw: PictureFlaw) -> Self {
        match flaw {
            PictureFlaw::Broken => Self::Broken,
            PictureFlaw::TooLarge => Self::TooLarge,
            PictureFlaw::Truncated => Self::Truncated,
            PictureFlaw::Unsupported => Self::Unsupported,
        }
    }
}

impl From<WireFlaw> for PictureFlaw {
    fn from(flaw: WireFlaw) -> Self {
        match flaw {
            WireFlaw::Broken => Self::Broken,
            WireFlaw::TooLarge => Self::TooLarge,
            WireFlaw::Truncated => Self::Truncated,
            WireFlaw::Unsupported => Self::Unsupported,
        }
    }
}

const MOST_JSON: usize = 1 << 20;
const MOST_PICTURE: usize = 1 << 30;
const MOST_FILES: usize = 1 << 27;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let spec = ThumbnailSpec { widths: vec![320, 640], max_pixels: 9, quality: 82 };
        let mut said = Vec::new();
        ask(&mut said, b"bytes", &spec).unwrap();
        let mut heard = said.as_slice();
        assert_eq!(asked(&mut heard).unwrap(), Some((b"bytes".to_vec(), spec)));
        assert_eq!(asked(&mut heard).unwrap(), None);

        let one = |width, encoding| Thumbnail { wanted: 9, width, height: 1, encoding, bytes: vec![1; 3] };
        let made = Thumbnails {
            media_type: "image/gif".to_owned(),
            width: 4,
            height: 5,
            sizes: vec![one(1, Encoding::Jpeg), one(2, Encoding::Png)],
            placeholder: "data:".to_owned(),
            peak_memory: Some(7),
        };
        for answer_of_child in [Ok(made), Err(Flaw::new(PictureFlaw::Truncated, "short"))] {
            let mut said = Vec::new();
            answer(&mut said, &answer_of_child).unwrap();
            assert_eq!(answered(&mut said.as_slice()).unwrap(), answer_of_child);
        }
    }

    #[test]
    fn a_message_that_claims_to_be_huge_is_refused_before_memory_is_taken() {
        assert!(answered(&mut [0xff; 100].as_slice()).is_err());
        let mut said = Vec::new();
        let sizes = vec![Size { wanted: 1, width: 1, height: 1, png: true, size: usize::MAX }];
        let text = String::new;
        let reply = Reply::Made {
            media_type: text(),
            width: 1,
            height: 1,
            sizes,
            placeholder: text(),
            peak_memory: None,
        };
        put(&mut said, &reply).unwrap();
        assert!(answered(&mut said.as_slice()).is_err());
    }
}
