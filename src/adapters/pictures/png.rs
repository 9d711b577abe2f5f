//! A PNG without what is not looked at: text and profiles may be bombs that unpack to gigabytes.

/// Returns the file with those chunks alone that its pixels, and how they are turned, depend on. What does not hold
/// together is left for the decoder to complain about.
pub(super) fn bare(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let (head, mut rest) = bytes.split_at_checked(SIGNATURE).unwrap_or((bytes, &[]));
    kept.extend_from_slice(head);
    while let Some((length, kind)) = chunk(rest) {
        let whole = length.saturating_add(FRAME).min(rest.len());
        let (chunk, behind) = rest.split_at_checked(whole).unwrap_or((rest, &[]));
        if KEPT.contains(&kind) {
            kept.extend_from_slice(chunk);
        }
        rest = behind;
    }
    kept
}

/// Reads the length and the kind of the next chunk.
fn chunk(bytes: &[u8]) -> Option<(usize, [u8; 4])> {
    let length = bytes.first_chunk::<4>().map(|length| u32::from_be_bytes(*length))?;
    let kind = bytes.get(4..8)?.first_chunk::<4>()?;
    Some((usize::try_from(length).unwrap_or(usize::MAX), *kind))
}

const SIGNATURE: usize = 8;

/// Length, kind and check sum.
const FRAME: usize = 12;

const KEPT: [[u8; 4]; 6] = [*b"IHDR", *b"PLTE", *b"tRNS", *b"eXIf", *b"IDAT", *b"IEND"];
