//! When a failed record is tried again: exponential back-off with full jitter.

use std::time::Duration;

use crate::settings::Retry;

/// A small generator of pseudo-random numbers (SplitMix64): the same seed gives the same jitter.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws a span from zero to `bound`, both included.
    pub(crate) fn below(&mut self, bound: Duration) -> Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.next() % nanos.saturating_add(1).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Returns the bound of the delay after the `failures`-th failure in a row: `base` doubled each time, up to `cap`.
pub(crate) fn bound(retry: &Retry, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    retry.base.saturating_mul(1_u32 << doublings).min(retry.cap)
}

/// Returns how long to wait after the `failures`-th failure: jitter below the bound, or what the other side asked for
/// where that is longer.
pub(crate) fn delay(
    retry: &Retry,
    jitter: &mut Jitter,
    failures: u32,
    retry_after: Option<Duration>,
) -> Duration {
    let delay = jitter.below(bound(retry, failures));
    retry_after.map_or(delay, |asked| delay.max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let retry = Retry::default();

        let bounds: Vec<_> = (1..=10).map(|failures| bound(&retry, failures).as_millis()).collect();

        assert_eq!(bounds, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn delays_fill_the_range_below_the_bound() {
        let retry = Retry::default();
        let mut jitter = Jitter::new(7);

        let delays: Vec<_> = (0..1_000).map(|_| delay(&retry, &mut jitter, 3, None).as_millis()).collect();

        assert!(delays.iter().all(|delay| *delay <= 800));
        assert!(delays.iter().any(|delay| *delay < 80) && delays.iter().any(|delay| *delay > 720));
    }

    #[test]
    fn what_the_other_side_asks_for_is_honoured_beyond_the_cap() {
        let asked = Duration::from_secs(120);

        assert_eq!(delay(&Retry::default(), &mut Jitter::new(1), 1, Some(asked)), asked);
    }
}
