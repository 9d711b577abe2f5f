//! From a file to its thumbnails. Runs in the child.

use std::io::Cursor;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer};
use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder};
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat, Limits,
    RgbImage, RgbaImage,
};

use super::kind::{format, is_whole_jpeg};
use super::png;
use crate::codec::base64;
use crate::ports::{Encoding, PictureFlaw, Thumbnail, ThumbnailSpec, Thumbnails};

/// Why a picture cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) flaw: PictureFlaw,
    pub(super) message: String,
}

impl Flaw {
    pub(super) fn new(flaw: PictureFlaw, message: impl Into<String>) -> Self {
        Self { flaw, message: message.into() }
    }
}

/// Makes the thumbnails of a picture, with about `memory` bytes to work in.
///
/// # Errors
/// The picture is at fault.
pub(super) fn render(bytes: &[u8], spec: &ThumbnailSpec, memory: u64) -> Result<Thumbnails, Flaw> {
    let format = format(bytes)?;
    let original = decode(bytes, format, spec.max_pixels, memory)?;
    let (width, height) = original.size();
    let mut wanted = spec.widths.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let mut boxes = Vec::new();
    for width in wanted {
        let size = original.within(width, width.saturating_mul(HIGHEST));
        boxes.push((width, size));
        if size == original.size() {
            break;
        }
    }
    // The largest first, each from the one before: a picture of 50 million pixels is walked through once.
    let mut at = original;
    let mut sizes = Vec::with_capacity(boxes.len());
    for (wanted, size) in boxes.into_iter().rev() {
        at = at.resized(size)?;
        let (encoding, bytes) = at.encoded(spec.quality)?;
        sizes.push(Thumbnail { wanted, width: size.0, height: size.1, encoding, bytes });
    }
    sizes.reverse();
    let placeholder = placeholder(&at)?;
    let media_type = format.to_mime_type().to_owned();
    Ok(Thumbnails { media_type, width, height, sizes, placeholder, peak_memory: None })
}

/// Reads the first frame. Size and memory are judged by the header, before anything is unpacked.
fn decode(bytes: &[u8], format: ImageFormat, max_pixels: u64, memory: u64) -> Result<Turned, Flaw> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(memory / 2);
    if format == ImageFormat::Jpeg {
        let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
        let decoded = pixels(decoder, max_pixels, limits)?;
        return if is_whole_jpeg(bytes) {
            Ok(decoded)
        } else {
            Err(Flaw::new(PictureFlaw::Truncated, "it ends before its end"))
        };
    }
    if format == ImageFormat::Png {
        let bare = png::bare(bytes);
        let decoder =
            PngDecoder::with_limits(Cursor::new(bare), limits.clone()).map_err(|error| broken(&error))?;
        return pixels(decoder, max_pixels, limits);
    }
    if format == ImageFormat::Gif {
        let decoder = GifDecoder::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
        return pixels(decoder, max_pixels, limits);
    }
    let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    pixels(decoder, max_pixels, limits)
}

fn pixels(mut decoder: impl ImageDecoder, max_pixels: u64, limits: Limits) -> Result<Turned, Flaw> {
    let (width, height) = decoder.dimensions();
    let count = u64::from(width).saturating_mul(u64::from(height));
    if count == 0 {
        return Err(Flaw::new(PictureFlaw::Broken, "it has no pixels"));
    }
    if count > max_pixels {
        let message = format!("it has {width} × {height} pixels, more than {max_pixels}");
        return Err(Flaw::new(PictureFlaw::TooLarge, message));
    }
    let plain = matches!(decoder.color_type(), ColorType::Rgb8 | ColorType::Rgba8);
    let converted = if plain { 0 } else { count.saturating_mul(PLAIN_BYTES) };
    let needed = decoder.total_bytes().saturating_add(converted);
    if limits.max_alloc.is_some_and(|most| needed > most) {
        let message = format!("its {width} × {height} pixels need {needed} bytes of memory");
        return Err(Flaw::new(PictureFlaw::TooLarge, message));
    }
    decoder.set_limits(limits).map_err(|error| broken(&error))?;
    // A picture whose Exif is damaged is shown as it lies.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(|error| broken(&error))?;
    let pixels = Pixels::of(decoded);
    Ok(Turned { opaque: pixels.is_opaque(), pixels, orientation })
}

fn broken(error: &ImageError) -> Flaw {
    let message = error.to_string();
    match error {
        ImageError::Limits(_) => Flaw::new(PictureFlaw::TooLarge, message),
        ImageError::Unsupported(_) => Flaw::new(PictureFlaw::Unsupported, message),
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Flaw::new(PictureFlaw::Truncated, "it ends before its end")
        }
        ImageError::IoError(_)
        | ImageError::Decoding(_)
        | ImageError::Encoding(_)
        | ImageError::Parameter(_) => Flaw::new(PictureFlaw::Broken, message),
    }
}

/// Pixels of eight bits a channel.
#[derive(Clone, Debug)]
enum Pixels {
    Rgb(RgbImage),
    Rgba(RgbaImage),
}

impl Pixels {
    fn of(decoded: DynamicImage) -> Self {
        if decoded.color().has_alpha() {
            Self::Rgba(decoded.into_rgba8())
        } else {
            Self::Rgb(decoded.into_rgb8())
        }
    }

    /// Says whether nothing shines through.
    fn is_opaque(&self) -> bool {
        match self {
            Self::Rgb(_) => true,
            Self::Rgba(picture) => picture.pixels().all(|pixel| pixel.0.last() == Some(&u8::MAX)),
        }
    }

    fn size(&self) -> (u32, u32) {
        match self {
            Self::Rgb(picture) => picture.dimensions(),
            Self::Rgba(picture) => picture.dimensions(),
        }
    }

    fn resized(&self, (width, height): (u32, u32)) -> Result<Self, Flaw> {
        let failed = |error: &dyn std::fmt::Display| {
            Flaw::new(PictureFlaw::Broken, format!("it cannot be scaled: {error}"))
        };
        let (bytes, kind) = match self {
            Self::Rgb(picture) => (picture.as_raw(), PixelType::U8x3),
            Self::Rgba(picture) => (picture.as_raw(), PixelType::U8x4),
        };
        let (from_width, from_height) = self.size();
        let from = ImageRef::new(from_width, from_height, bytes, kind).map_err(|error| failed(&error))?;
        let mut to = Image::new(width, height, kind);
        Resizer::new().resize(&from, &mut to, None).map_err(|error| failed(&error))?;
        let bytes = to.into_vec();
        let made = match self {
            Self::Rgb(_) => RgbImage::from_raw(width, height, bytes).map(Self::Rgb),
            Self::Rgba(_) => RgbaImage::from_raw(width, height, bytes).map(Self::Rgba),
        };
        made.ok_or_else(|| failed(&"its sizes do not fit"))
    }

    fn turned(&self, orientation: Orientation) -> DynamicImage {
        let mut picture = match self.clone() {
            Self::Rgb(picture) => DynamicImage::ImageRgb8(picture),
            Self::Rgba(picture) => DynamicImage::ImageRgba8(picture),
        };
        picture.apply_orientation(orientation);
        picture
    }
}

/// Pixels as they lie, and how they are turned to be seen. They are turned last, when they are few.
#[derive(Clone, Debug)]
struct Turned {
    pixels: Pixels,
    opaque: bool,
    orientation: Orientation,
}

impl Turned {
    /// Returns width and height as they are seen.
    fn size(&self) -> (u32, u32) {
        self.swapped(self.pixels.size())
    }

    /// Turns a size as it is seen into one as it lies, and back.
    fn swapped(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let across = matches!(
            self.orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        );
        if across { (height, width) } else { (width, height) }
    }

    /// Returns the largest size of the same shape within a box, never beyond its own.
    fn within(&self, most_width: u32, most_height: u32) -> (u32, u32) {
        let (width, height) = self.size();
        if width <= most_width && height <= most_height {
            return (width, height);
        }
        let by_width = (most_width.max(1), scaled(height, most_width, width));
        if by_width.1 <= most_height {
            return by_width;
        }
        (scaled(width, most_height, height), most_height.max(1))
    }

    /// Scales it to a size as it is seen.
    fn resized(self, size: (u32, u32)) -> Result<Self, Flaw> {
        if size == self.size() {
            return Ok(self);
        }
        let pixels = self.pixels.resized(self.swapped(size))?;
        Ok(Self { pixels, ..self })
    }

    fn encoded(&self, quality: u8) -> Result<(Encoding, Vec<u8>), Flaw> {
        let mut bytes = Vec::new();
        let picture = self.pixels.turned(self.orientation);
        let (width, height) = (picture.width(), picture.height());
        if self.opaque {
            JpegEncoder::new_with_quality(&mut bytes, quality)
                .write_image(picture.into_rgb8().as_raw(), width, height, ExtendedColorType::Rgb8)
                .map_err(|error| broken(&error))?;
            return Ok((Encoding::Jpeg, bytes));
        }
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
            .write_image(picture.into_rgba8().as_raw(), width, height, ExtendedColorType::Rgba8)
            .map_err(|error| broken(&error))?;
        Ok((Encoding::Png, bytes))
    }
}

/// Returns `side × by / of`, rounded, at least one.
fn scaled(side: u32, by: u32, of: u32) -> u32 {
    let product = u64::from(side).saturating_mul(u64::from(by));
    let of = u64::from(of).max(1);
    u32::try_from(product.saturating_add(of / 2) / of).unwrap_or(u32::MAX).max(1)
}

/// Makes a picture so small that it can stand in a page.
fn placeholder(picture: &Turned) -> Result<String, Flaw> {
    let mut address = String::new();
    for side in PLACEHOLDER_SIDES {
        let small = picture.clone().resized(picture.within(side, side))?;
        let (encoding, bytes) = small.encoded(PLACEHOLDER_QUALITY)?;
        address = format!("data:{};base64,{}", encoding.media_type(), base64::encode(&bytes));
        if bytes.len() <= PLACEHOLDER_BYTES {
            break;
        }
    }
    Ok(address)
}

/// What a pixel takes after its conversion, at most.
const PLAIN_BYTES: u64 = 4;

/// How much higher than wide a thumbnail may be.
const HIGHEST: u32 = 4;

const PLACEHOLDER_BYTES: usize = 1_024;
const PLACEHOLDER_QUALITY: u8 = 50;

/// From the side that is wanted to one that always fits.
const PLACEHOLDER_SIDES: [u32; 5] = [32, 24, 16, 8, 4];
