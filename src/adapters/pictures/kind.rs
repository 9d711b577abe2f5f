//! What a file is, by its bytes: names and media types are claims.

use image::ImageFormat;

use super::render::Flaw;
use crate::ports::PictureFlaw;

/// Finds the format of a picture that is read.
///
/// # Errors
/// `Unsupported`, with what it seems to be.
pub(super) fn format(bytes: &[u8]) -> Result<ImageFormat, Flaw> {
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    match bytes {
        _ if bytes.starts_with(b"\xff\xd8\xff") => Ok(ImageFormat::Jpeg),
        _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => Ok(ImageFormat::Png),
        _ if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") => Ok(ImageFormat::Gif),
        _ if webp => Ok(ImageFormat::WebP),
        _ => Err(Flaw::new(
            PictureFlaw::Unsupported,
            format!("it is {}, not a JPEG, PNG, WebP or GIF", other(bytes)),
        )),
    }
}

fn other(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        return "empty";
    }
    if let Some((_, name)) = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return name;
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return "a HEIF, AVIF or video file";
    }
    let head = bytes.get(..HEAD.min(bytes.len())).unwrap_or_default().to_ascii_lowercase();
    let holds = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
    if holds(b"<svg") {
        "an SVG drawing"
    } else if holds(b"<html") || holds(b"<!doctype html") || holds(b"<script") {
        "an HTML page"
    } else if holds(b"<?xml") {
        "an XML document"
    } else {
        "of no known kind"
    }
}

const KNOWN: [(&[u8], &str); 9] = [
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop file"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\0\0\x01\0", "an icon"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
];

/// How far a document's first tag is looked for.
const HEAD: usize = 1_024;

/// Says whether a JPEG has its end: decoders fill what is missing with grey and say nothing.
pub(super) fn is_whole_jpeg(bytes: &[u8]) -> bool {
    // Behind the first marker, which has no length.
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        // Segments may have bytes between them that belong to none, and a picture's data are skipped likewise: in
        // them 0xff is followed by 0x00, or by a restart marker.
        let Some(at) = rest.iter().position(|byte| *byte == 0xff) else { return false };
        rest = rest.get(at.saturating_add(1)..).unwrap_or_default();
        match rest.first() {
            None => return false,
            Some(0xd9) => return true,
            Some(0x00 | 0x01 | 0xd0..=0xd8) => rest = rest.get(1..).unwrap_or_default(),
            Some(0xff) => {}
            Some(_) => {
                let length = rest
                    .get(1..3)
                    .map_or(0, |pair| pair.iter().fold(0, |sum, byte| sum * 256 + usize::from(*byte)));
                rest = rest.get(length.saturating_add(1)..).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn what_a_file_is_stands_in_its_bytes() {
        for (bytes, expected) in [
            (b"\xff\xd8\xff\xe0<html>".as_slice(), Ok(ImageFormat::Jpeg)),
            (b"GIF89a", Ok(ImageFormat::Gif)),
            (b"RIFF\0\0\0\0WEBPVP8 ", Ok(ImageFormat::WebP)),
            (b"RIFF\0\0\0\0WAVE", Err("of no known kind")),
            (b"", Err("empty")),
            (b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY a 'b'>]><svg/>", Err("an SVG drawing")),
            (b"<!DOCTYPE html><img>", Err("an HTML page")),
            (b"II*\0\x08\0\0\0", Err("a TIFF picture")),
            (b"\0\0\x01\0\x01\0", Err("an icon")),
            (b"\0\0\0\x1cftypavif", Err("a HEIF, AVIF or video file")),
        ] {
            match (format(bytes), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(flaw), Err(word)) => assert!(flaw.message.contains(word), "{}", flaw.message),
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_end_of_a_jpeg_is_found_behind_data_and_not_in_an_embedded_picture() {
        let scan = b"\xff\xd8\xff\xe1\x00\x04\xff\xd9\xff\xda\x00\x02data\xff\x00\xff\xd0more";
        assert!(!is_whole_jpeg(scan));
        assert!(is_whole_jpeg(&[scan.as_slice(), b"\xff\xd9"].concat()));
        assert!(!is_whole_jpeg(b"\xff\xd8\xff"));
    }
}
