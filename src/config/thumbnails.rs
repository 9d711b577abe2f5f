//! `[thumbnails]`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;

use crate::config::check::deadline;
use crate::config::load::Reader;
use crate::config::part::{Leaf, Refusal, scalar, section};
use crate::config::sections::Config;
use crate::config::size::ByteSize;
use crate::config::span::written;

section! {
    /// `[thumbnails]`: what is made of uploaded pictures, and what that may cost.
    pub struct Thumbnails {
        /// The widths to make, in pixels. Nothing is enlarged.
        widths: Widths = Widths(vec![320, 640, 1_280]),
        /// The quality of JPEGs, from 1 to 100. Pictures with transparency become PNGs.
        quality: NonZeroU32 = at_least_one(82),
        /// What the keys of thumbnails begin with.
        prefix: String = "thumbs".to_owned(),
        /// The largest picture that is read.
        max_bytes: ByteSize = ByteSize::mib(32),
        /// The most pixels that a picture may have, told by its header.
        max_pixels: NonZeroU32 = at_least_one(50_000_000),
        /// How many pictures are worked on at once, each in a process of its own. It bounds the effect's concurrency.
        workers: NonZeroUsize = NonZeroUsize::MIN,
        /// How much address space each of these processes may have. A picture of `max_pixels` needs 4 to 16 bytes a pixel.
        memory: ByteSize = ByteSize::mib(1_024),
        /// How long one picture may take before its process is killed. Must be shorter than `effects.thumbnails.deadline`.
        timeout: Duration = Duration::from_secs(20),
        /// The program that is run for it; this one where it is not set.
        worker: Option<PathBuf> = None,
    }
}

/// The widths of thumbnails: never empty, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widths(Vec<u32>);

impl Widths {
    /// Returns them.
    pub fn pixels(&self) -> &[u32] {
        &self.0
    }
}

impl Leaf for Widths {
    const KIND: &'static str = "whole numbers, in a list or separated by commas";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let fix = "write numbers from 16 to 8192, at most 8, such as [320, 640, 1280]";
        let text = if let Value::Array(_, items) = value {
            let numbers: Result<Vec<_>, _> = items.iter().map(scalar).collect();
            numbers.map_err(|kind| Refusal::new(format!("holds {kind}"), fix))?.join(",")
        } else {
            scalar(value).map_err(|kind| Refusal::new(format!("is {kind}"), fix))?
        };
        let mut widths = Vec::new();
        for word in text.trim_matches(['[', ']']).split(',').map(str::trim) {
            match word.parse() {
                Ok(width) if WIDTHS.contains(&width) => widths.push(width),
                Ok(width) => return Err(Refusal::new(format!("{width} is no width for a thumbnail"), fix)),
                Err(_unfit) => return Err(Refusal::new(format!("{word:?} is not a whole number"), fix)),
            }
        }
        widths.sort_unstable();
        widths.dedup();
        if widths.len() > MOST_WIDTHS {
            return Err(Refusal::new(format!("has {} widths", widths.len()), fix));
        }
        Ok(Self(widths))
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// Checks what single values cannot show.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    let Thumbnails { quality, prefix, memory, timeout, .. } = &config.thumbnails;
    if quality.get() > 100 {
        reader.refuse("thumbnails.quality", format!("{quality} is above 100"), "use 82");
    }
    let odd = |part: &str| part.is_empty() || part.starts_with('.');
    if prefix.split('/').any(odd) || prefix.contains('\\') || prefix.len() > LONGEST_PREFIX {
        let why = format!("{prefix:?} is no relative path of plain names");
        reader.refuse(
            "thumbnails.prefix",
            why,
            "write names with slashes between them, such as \"media/thumbs\"",
        );
    }
    if *memory < LEAST_MEMORY {
        let why = format!("{memory} is less than {LEAST_MEMORY}, which the program itself needs");
        reader.refuse("thumbnails.memory", why, "use 1GiB");
    }
    let deadline = deadline(config, "thumbnails");
    if timeout.is_zero() {
        reader.refuse("thumbnails.timeout", "no picture is done in no time", "use 20s");
    } else if *timeout >= deadline {
        let why = format!(
            "{} is not shorter than effects.thumbnails.deadline = {}: the attempt would be cancelled first",
            written(*timeout),
            written(deadline)
        );
        reader.refuse("thumbnails.timeout", why, "shorten the one or lengthen the other");
    }
}

const fn at_least_one(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}

const WIDTHS: std::ops::RangeInclusive<u32> = 16..=8_192;
const MOST_WIDTHS: usize = 8;
const LONGEST_PREFIX: usize = 200;
const LEAST_MEMORY: ByteSize = ByteSize::mib(256);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use figment::value::Value;

    use super::*;

    #[test]
    fn widths_are_read_from_lists_and_from_text_and_read_the_same_again() {
        let listed = Widths::parse(&Value::from(vec![640, 320, 640])).unwrap();

        assert_eq!(listed.pixels(), [320, 640]);
        assert_eq!(Widths::parse(&Value::from(listed.text())).unwrap(), listed);
        assert_eq!(Widths::parse(&Value::from("1280, 320")).unwrap().pixels(), [320, 1_280]);
    }

    #[test]
    fn widths_that_make_no_sense_are_refused() {
        for odd in ["", "0", "wide", "320,,640", "9000", "16,17,18,19,20,21,22,23,24"] {
            assert!(Widths::parse(&Value::from(odd)).is_err(), "{odd:?}");
        }
    }
}
