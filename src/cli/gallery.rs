//! The pictures of the sample blog: a small set that every sample shares, painted when first needed.

use std::sync::OnceLock;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage, Rgba, RgbaImage};
use sha2::{Digest, Sha256};

/// One picture, as somebody would upload it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) extension: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) sha256: String,
    pub(crate) bytes: Vec<u8>,
}

/// Returns the picture of a number, whatever the number.
pub(crate) fn good(number: usize) -> &'static Picture {
    static PAINTED: [OnceLock<Picture>; MOTIFS.len()] = [const { OnceLock::new() }; MOTIFS.len()];
    let place = number % MOTIFS.len();
    let (Some(cell), Some(motif)) = (PAINTED.get(place), MOTIFS.get(place)) else { return broken(0) };
    cell.get_or_init(|| motif.paint(place))
}

/// Returns the broken upload of a number, whatever the number: a drawing that calls itself a photograph, a picture that
/// was cut off, and one that claims to be a gigabyte of pixels.
pub(crate) fn broken(number: usize) -> &'static Picture {
    static BROKEN: OnceLock<[Picture; BROKEN_KINDS]> = OnceLock::new();
    let made = BROKEN.get_or_init(|| {
        let drawing = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>".to_vec();
        let whole = &good(0).bytes;
        let cut = whole.get(..whole.len() / 2).unwrap_or_default().to_vec();
        [jpeg(drawing), jpeg(cut), jpeg(HUGE.to_vec())]
    });
    let [first, ..] = made;
    made.get(number % BROKEN_KINDS).unwrap_or(first)
}

/// Finds a picture by its content.
pub(crate) fn find(sha256: &str) -> Option<&'static Picture> {
    let all = (0..MOTIFS.len()).map(good).chain((0..BROKEN_KINDS).map(broken));
    all.into_iter().find(|picture| picture.sha256 == sha256)
}

/// What is painted: a sky over water, in some size, turned as a camera would note it.
#[derive(Clone, Copy, Debug)]
struct Motif {
    width: u32,
    height: u32,
    /// The value of Exif's orientation; 1 is upright, and is not written.
    orientation: u8,
    transparent: bool,
}

impl Motif {
    fn paint(self, number: usize) -> Picture {
        if self.transparent { self.sign() } else { self.photograph(number) }
    }

    fn photograph(self, number: usize) -> Picture {
        let mut bytes = Vec::new();
        let picture = RgbImage::from_fn(self.width, self.height, |x, y| self.landscape(number, x, y));
        let encoder = JpegEncoder::new_with_quality(&mut bytes, 88);
        // Memory takes everything.
        encoder
            .write_image(picture.as_raw(), self.width, self.height, ExtendedColorType::Rgb8)
            .unwrap_or_default();
        if self.orientation != UPRIGHT {
            let (head, rest) = bytes.split_at_checked(MARKER).unwrap_or((&bytes, &[]));
            bytes = [head, &exif(self.orientation), rest].concat();
        }
        jpeg(bytes)
    }

    /// A sun over a horizon, a hill, and bands of water.
    fn landscape(self, number: usize, x: u32, y: u32) -> Rgb<u8> {
        let shift = u32::try_from(number).unwrap_or_default();
        // As if a hundred units were the shorter side; a camera that lies on its side sees the world so.
        let (across, down) = if self.orientation > 4 { (y, x) } else { (x, y) };
        let (wide, high) =
            if self.orientation > 4 { (self.height, self.width) } else { (self.width, self.height) };
        let (across, down) = (across * 100 / wide.max(1), down * 100 / high.max(1));
        let sun = (20 + shift * 13 % 60, 18 + shift * 7 % 20);
        let distance = across.abs_diff(sun.0).pow(2) + down.abs_diff(sun.1).pow(2);
        let hill = 60 - across.abs_diff(30 + shift * 17 % 50).min(40) / 2;
        let channel = |value: u32| u8::try_from(value.min(255)).unwrap_or(u8::MAX);
        let [red, green, blue] = match down {
            _ if distance < 60 => [255, 232, 160],
            0..=64 if down > hill => [40 + shift * 11 % 60, 90 + shift * 5 % 40, 70],
            0..=64 => [150 + down, 120 + down + shift * 9 % 40, 210 - down / 2],
            _ if (down + across / 20) % 6 < 3 => [40, 90 + shift * 3 % 30, 140],
            _ => [55, 110 + shift * 3 % 30, 160],
        };
        Rgb([channel(red), channel(green), channel(blue)])
    }

    /// A ring that one sees through.
    fn sign(self) -> Picture {
        let mut bytes = Vec::new();
        let picture = RgbaImage::from_fn(self.width, self.height, |x, y| {
            let distance = x.abs_diff(self.width / 2).pow(2) + y.abs_diff(self.height / 2).pow(2);
            let radius = (self.width.min(self.height) / 2).pow(2);
            let inside = distance < radius && distance > radius / 3;
            Rgba([200, 60, 40, if inside { 230 } else { 0 }])
        });
        // Memory takes everything.
        PngEncoder::new(&mut bytes)
            .write_image(picture.as_raw(), self.width, self.height, ExtendedColorType::Rgba8)
            .unwrap_or_default();
        picture_of("png", "image/png", bytes)
    }
}

fn jpeg(bytes: Vec<u8>) -> Picture {
    picture_of("jpg", "image/jpeg", bytes)
}

fn picture_of(extension: &'static str, media_type: &'static str, bytes: Vec<u8>) -> Picture {
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Picture { extension, media_type, sha256, bytes }
}

/// The segment of a JPEG that says how it is turned.
fn exif(orientation: u8) -> Vec<u8> {
    let head = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
    [head.as_slice(), &[orientation], &[0; 6]].concat()
}

const MOTIFS: [Motif; 8] = [
    Motif { width: 1_440, height: 960, orientation: UPRIGHT, transparent: false },
    Motif { width: 900, height: 600, orientation: 6, transparent: false },
    Motif { width: 640, height: 640, orientation: UPRIGHT, transparent: false },
    Motif { width: 480, height: 480, orientation: UPRIGHT, transparent: true },
    Motif { width: 600, height: 900, orientation: UPRIGHT, transparent: false },
    Motif { width: 900, height: 600, orientation: 3, transparent: false },
    Motif { width: 200, height: 150, orientation: UPRIGHT, transparent: false },
    Motif { width: 1_000, height: 320, orientation: 8, transparent: false },
];

const BROKEN_KINDS: usize = 3;
const UPRIGHT: u8 = 1;

/// The length of a JPEG's first marker.
const MARKER: usize = 2;

/// A PNG of 40,000 × 40,000 pixels in 45 bytes.
const HUGE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x9c\x40\0\0\x9c\x40\x08\x02\0\0\0\xde\x6e\x99\x52\0\0\0\0IDAT\x35\xaf\x06\x1e";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn pictures_differ_are_found_by_content_and_are_what_they_say() {
        let all: Vec<_> = (0..MOTIFS.len()).map(good).collect();
        let contents: BTreeSet<_> = all.iter().map(|picture| &picture.sha256).collect();

        assert_eq!(contents.len(), MOTIFS.len());
        for picture in all {
            assert_eq!(find(&picture.sha256), Some(picture));
            let format = image::guess_format(&picture.bytes).ok();
            assert_eq!(format.map(|format| format.to_mime_type()), Some(picture.media_type));
            assert!(image::load_from_memory(&picture.bytes).is_ok());
        }
    }

    #[test]
    fn broken_uploads_do_not_decode() {
        for number in 0..BROKEN_KINDS {
            assert!(image::load_from_memory(&broken(number).bytes).is_err() || number == 1);
        }
    }
}
