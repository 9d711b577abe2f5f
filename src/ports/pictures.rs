//! The making of thumbnails, away from the process that asks for them.

use std::future::Future;
use std::pin::Pin;

/// The answer of whoever makes thumbnails.
pub type PictureFuture<'a, V> = Pin<Box<dyn Future<Output = Result<V, PictureError>> + Send + 'a>>;

/// Makes thumbnails of pictures that nobody has looked at: whatever the bytes do, the caller lives on.
pub trait Pictures: Send + Sync + 'static {
    /// Makes the thumbnails of one picture. The same bytes and the same wish make the same thumbnails.
    fn thumbnails<'a>(&'a self, picture: Vec<u8>, spec: &'a ThumbnailSpec) -> PictureFuture<'a, Thumbnails>;
}

/// Which thumbnails are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThumbnailSpec {
    /// The widths to make, in pixels. Nothing is enlarged, and nothing becomes higher than four times its width.
    pub widths: Vec<u32>,
    /// The most pixels that a picture may have.
    pub max_pixels: u64,
    /// The quality of JPEGs, from 1 to 100.
    pub quality: u8,
}

/// What was made of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnails {
    /// What the picture is, by its bytes: `image/jpeg`, `image/png`, `image/webp` or `image/gif`.
    pub media_type: String,
    /// Its width, turned as it is to be seen, in pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// The thumbnails, smallest first. A wanted width beyond the picture's own is not made twice: the first one that
    /// the picture fits into has its own size, and is the last.
    pub sizes: Vec<Thumbnail>,
    /// A tiny picture as a `data:` address, to show while the real one loads.
    pub placeholder: String,
    /// The most memory that its maker has used so far, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

/// One thumbnail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// The width that was wanted.
    pub wanted: u32,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// How it is written.
    pub encoding: Encoding,
    /// The file.
    pub bytes: Vec<u8>,
}

/// How a thumbnail is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// For pictures without transparency.
    Jpeg,
    /// For those with it.
    Png,
}

impl Encoding {
    /// Returns the ending of a file's name, without a dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }

    /// Returns the media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

/// Why there are no thumbnails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// The picture is at fault, and always will be.
    #[error("bad picture ({}): {message}", flaw.code())]
    Bad {
        /// What is wrong with it.
        flaw: PictureFlaw,
        /// One sentence for a person.
        message: String,
    },
    /// The worker died over it, or by chance: another one may do it.
    #[error("the picture worker died: {0}")]
    Died(String),
    /// It took too long, and the worker was killed.
    #[error("the picture took longer than {0:?}")]
    TimedOut(std::time::Duration),
    /// No worker can be started at all.
    #[error("no picture worker can be started: {0}")]
    Away(String),
}

/// What may be wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFlaw {
    /// Its bytes do not decode.
    Broken,
    /// It has more pixels than allowed, or needs too much memory.
    TooLarge,
    /// It ends before its end.
    Truncated,
    /// It is no picture, or of a kind that is not read.
    Unsupported,
}

impl PictureFlaw {
    /// Returns the code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::TooLarge => "too_large",
            Self::Truncated => "truncated",
            Self::Unsupported => "unsupported",
        }
    }
}
