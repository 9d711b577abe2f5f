//! When to try again: exponential back-off with full jitter, drawn from a seed.

use std::time::Duration;

use crate::settings::Retry;

/// A small generator of repeatable numbers (SplitMix64): jitter needs spread, not secrecy.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// Begins the sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns how long to wait after `failures` in a row, evenly drawn up to the bound that doubles with each.
    /// Never zero, unless the bound is.
    pub(crate) fn delay(&mut self, retry: &Retry, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = retry.base.saturating_mul(doubled).min(retry.cap);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let drawn = (u128::from(self.next()) * u128::from(nanos)) >> u64::BITS;
        Duration::from_nanos(u64::try_from(drawn).unwrap_or(u64::MAX).saturating_add(1).min(nanos))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_below_a_bound_that_doubles_up_to_the_cap() {
        let retry = Retry::default();
        for (failures, bound) in
            [(1, 200), (2, 400), (5, 3_200), (9, 30_000), (40, 30_000), (u32::MAX, 30_000)]
        {
            let bound = Duration::from_millis(bound);
            let mut jitter = Jitter::new(1);
            let delays: Vec<Duration> = (0..2_000).map(|_| jitter.delay(&retry, failures)).collect();

            assert!(delays.iter().all(|delay| !delay.is_zero() && *delay <= bound));
            let mean = delays.iter().sum::<Duration>() / 2_000;
            assert!(mean > bound * 45 / 100 && mean < bound * 55 / 100, "{mean:?} of {bound:?}");
        }
    }

    #[test]
    fn a_seed_repeats_its_delays() {
        let delays = |seed| {
            let mut jitter = Jitter::new(seed);
            [1, 2, 3].map(|failures| jitter.delay(&Retry::default(), failures))
        };

        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }

    #[test]
    fn no_base_means_no_delay() {
        let retry = Retry { base: Duration::ZERO, ..Retry::default() };

        assert_eq!(Jitter::new(1).delay(&retry, 5), Duration::ZERO);
    }
}
