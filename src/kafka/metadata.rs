//! What our commits carry beside the offset: the store's id and what is finished beyond.
//!
//! It is a hint that saves repeats. Any tool may erase or overwrite it; what is foreign or damaged is read
//! as nothing. The text is base64 of: a version byte, the store's id (length, bytes), the number of ranges,
//! for each the gap before it and its length as varints, and a CRC-32 over all of that.

use postroom_core::{Offset, OffsetRange};

use crate::codec::base64;
use crate::ports::StoreId;

/// What metadata said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hint {
    /// The store of the member that committed.
    pub(crate) store: Option<StoreId>,
    /// What is finished at or beyond the committed offset, in order.
    pub(crate) finished: Vec<OffsetRange>,
}

/// What a piece of metadata is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// There is none.
    Empty,
    /// It is ours.
    Ours(Hint),
    /// It is another program's, or damaged.
    Foreign,
}

/// Writes metadata for a commit of `next`, at most 4,096 bytes: later ranges are left out where it would
/// become longer. Ranges that are empty, out of order or below `next` are left out too.
pub(crate) fn encode(next: Offset, store: Option<&StoreId>, finished: &[OffsetRange]) -> String {
    if store.is_none() && finished.is_empty() {
        return String::new();
    }
    let store = store.map_or(&[][..], |store| store.0.as_bytes());
    let store = if store.len() > STORE_LIMIT { &[][..] } else { store };
    let mut ranges = Vec::new();
    let mut count = 0_u64;
    let mut reached = next;
    let room = BYTES_LIMIT - 1 - MAX_VARINT - store.len() - MAX_VARINT - CHECKSUM;
    for range in finished {
        if range.from < reached || range.to <= range.from {
            continue;
        }
        let before = ranges.len();
        push_varint(&mut ranges, distance(reached, range.from));
        push_varint(&mut ranges, distance(range.from, range.to));
        if ranges.len() > room {
            ranges.truncate(before);
            break;
        }
        count += 1;
        reached = range.to;
    }
    let mut body = vec![VERSION];
    push_varint(&mut body, u64::try_from(store.len()).unwrap_or(0));
    body.extend_from_slice(store);
    push_varint(&mut body, count);
    body.append(&mut ranges);
    let checksum = crc32fast::hash(&body);
    body.extend_from_slice(&checksum.to_be_bytes());
    base64::encode(&body)
}

/// Reads the metadata of a commit of `next`.
pub(crate) fn decode(next: Offset, text: &str) -> Reading {
    if text.is_empty() {
        return Reading::Empty;
    }
    match base64::decode(text).and_then(|bytes| parse(next, &bytes)) {
        Some(hint) => Reading::Ours(hint),
        None => Reading::Foreign,
    }
}

fn parse(next: Offset, bytes: &[u8]) -> Option<Hint> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    if checksum != crc32fast::hash(body).to_be_bytes() {
        return None;
    }
    let (version, mut rest) = body.split_first()?;
    if *version != VERSION {
        return None;
    }
    let store_len = usize::try_from(take_varint(&mut rest)?).ok()?;
    let (store, mut rest) = rest.split_at_checked(store_len)?;
    let store = match std::str::from_utf8(store).ok()? {
        "" => None,
        id => Some(StoreId(id.to_owned())),
    };
    let count = take_varint(&mut rest)?;
    let mut finished = Vec::new();
    let mut reached = next.0;
    for _ in 0..count {
        let from = reached.checked_add(i64::try_from(take_varint(&mut rest)?).ok()?)?;
        let to = from.checked_add(i64::try_from(take_varint(&mut rest)?).ok()?)?;
        finished.push(OffsetRange { from: Offset(from), to: Offset(to) });
        reached = to;
    }
    rest.is_empty().then_some(Hint { store, finished })
}

fn distance(from: Offset, to: Offset) -> u64 {
    to.0.abs_diff(from.0)
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

const VERSION: u8 = 1;
const CHECKSUM: usize = 4;
const MAX_VARINT: usize = 10;
const STORE_LIMIT: usize = 255;
/// What fits into the broker's default `offset.metadata.max.bytes` of 4,096 as base64.
const BYTES_LIMIT: usize = 3_072;

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn range(from: i64, to: i64) -> OffsetRange {
        OffsetRange { from: Offset(from), to: Offset(to) }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let store = StoreId("7f3a".to_owned());
        let finished = vec![range(12, 13), range(15, 900)];

        let text = encode(Offset(10), Some(&store), &finished);

        assert_eq!(decode(Offset(10), &text), Reading::Ours(Hint { store: Some(store), finished }));
    }

    #[test]
    fn nothing_to_say_is_no_metadata() {
        assert_eq!(encode(Offset(10), None, &[]), "");
        assert_eq!(decode(Offset(10), ""), Reading::Empty);
    }

    #[test]
    fn metadata_never_grows_past_the_brokers_limit() {
        let store = StoreId("s".repeat(255));
        let finished: Vec<_> = (0..50_000).map(|n| range(100 + n * 1_000, 101 + n * 1_000)).collect();

        let text = encode(Offset(10), Some(&store), &finished);

        assert!(text.len() <= 4_096, "{}", text.len());
        let Reading::Ours(hint) = decode(Offset(10), &text) else { panic!("{text}") };
        assert!(hint.finished.len() > 500, "{}", hint.finished.len());
        assert_eq!(hint.finished[..], finished[..hint.finished.len()]);
    }

    #[test]
    fn foreign_metadata_is_no_hint() {
        for text in ["consumer-1", "AQ==", "e30=", "bm90IG91cnM=", "\u{0}\u{1}", "AgAAAAAAAAAA"] {
            assert_eq!(decode(Offset(0), text), Reading::Foreign, "{text}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let text = encode(Offset(10), Some(&StoreId("store".to_owned())), &[range(12, 14)]);
        let bytes = base64::decode(&text).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(Offset(10), &base64::encode(&damaged)), Reading::Foreign, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(next: i64, text: String) {
            decode(Offset(next), &text);
        }

        #[test]
        fn any_bytes_with_a_right_checksum_are_read_without_a_panic(next: i64, mut bytes: Vec<u8>) {
            bytes.insert(0, VERSION);
            let checksum = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&checksum.to_be_bytes());
            decode(Offset(next), &base64::encode(&bytes));
        }

        #[test]
        fn every_list_of_ranges_reads_back(
            next in 0_i64..1_000_000,
            gaps in proptest::collection::vec((1_i64..100_000, 1_i64..100_000), 0..100),
        ) {
            let mut at = next;
            let finished: Vec<_> = gaps.iter().map(|(gap, len)| {
                let range = range(at + gap, at + gap + len);
                at = range.to.0;
                range
            }).collect();
            let text = encode(Offset(next), None, &finished);
            if finished.is_empty() {
                prop_assert_eq!(decode(Offset(next), &text), Reading::Empty);
            } else {
                prop_assert_eq!(decode(Offset(next), &text), Reading::Ours(Hint { store: None, finished }));
            }
        }
    }
}
