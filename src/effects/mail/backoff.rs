//! How long a deferred mail waits.

use sha2::{Digest, Sha256};

/// The bound of the first wait, in milliseconds.
const BASE: u64 = 60_000;
/// The bound of every wait, in milliseconds.
const CAP: u64 = 3_600_000;
/// The shortest wait, in milliseconds: a relay that said "not now" is not asked again at once.
const LEAST: u64 = 1_000;

/// Returns how many milliseconds to wait after an attempt: full jitter below a bound that doubles from a minute to an
/// hour. The same request and attempt wait the same; others spread.
pub(super) fn delay(id: &str, attempt: u32) -> i64 {
    let doublings = attempt.saturating_sub(1).min(16);
    let bound = BASE.saturating_mul(1 << doublings).min(CAP);
    let digest = Sha256::digest(format!("{attempt}/{id}").as_bytes());
    let drawn = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
    let spread = drawn.checked_rem(bound.saturating_sub(LEAST)).unwrap_or_default();
    i64::try_from(LEAST.saturating_add(spread)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_lie_below_a_bound_that_doubles_to_an_hour_and_spread() {
        for (attempt, bound) in [(1, 60_000), (2, 120_000), (4, 480_000), (7, 3_600_000), (90, 3_600_000)] {
            let waits: Vec<_> = (0..1_000).map(|id| delay(&format!("mail-{id}"), attempt)).collect();
            let mean = waits.iter().sum::<i64>() / 1_000;
            assert!(waits.iter().all(|wait| (1_000..bound).contains(wait)), "attempt {attempt}");
            assert!((bound * 2 / 5..bound * 3 / 5).contains(&mean), "attempt {attempt}: {mean} of {bound}");
        }
        assert_eq!(delay("a", 3), delay("a", 3));
    }
}
