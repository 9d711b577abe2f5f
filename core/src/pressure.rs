//! When fetching stops: past a high mark; it goes on at half of it, because a pause throws the prefetch away.

use std::time::Duration;

use crate::output::PauseCause;
use crate::settings::Settings;

/// What weighs on one partition.
#[derive(Debug)]
pub(crate) struct Load {
    /// Its unfinished records.
    pub(crate) unfinished: usize,
    /// Those of keys that stepped aside.
    pub(crate) aside: usize,
    /// Its dead letters that were refused.
    pub(crate) refused: usize,
    /// Whether the bytes of all partitions are above their mark.
    pub(crate) pressed: bool,
    /// Whether a record waits that holds up the whole partition.
    pub(crate) head_waits: bool,
    /// Whether a dependency is away.
    pub(crate) outage: bool,
}

/// Says whether the partition is to be paused, and why, given whether it is now.
pub(crate) fn verdict(load: &Load, settings: &Settings, paused: Option<PauseCause>) -> Option<PauseCause> {
    let above =
        |value: usize, mark: usize| if paused.is_some() { value > mark / 2 } else { value >= mark.max(1) };
    // Of the side queue the limit itself is still allowed.
    if load.refused > 0 || above(load.aside, settings.retry.side_queue.saturating_add(1)) {
        return Some(PauseCause::Order);
    }
    // A partition that holds nothing weighs nothing: it is never paused for what others hold.
    let heavy = load.pressed && load.unfinished > 0;
    if !heavy && !above(load.unfinished, settings.pressure.partition_records) {
        return None;
    }
    Some(if load.outage {
        PauseCause::Circuit
    } else if load.head_waits {
        PauseCause::Order
    } else {
        PauseCause::Backpressure
    })
}

/// Says whether all partitions together hold too much, given whether they did before.
pub(crate) fn pressed(bytes: usize, settings: &Settings, before: bool) -> bool {
    let mark = settings.pressure.total_bytes;
    if before { bytes > mark / 2 } else { bytes >= mark.max(1) }
}

/// How long nothing may end or come before some further records are welcome whatever is held.
pub(crate) const PATIENCE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    const LIGHT: Load =
        Load { unfinished: 0, aside: 0, refused: 0, pressed: false, head_waits: false, outage: false };

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.pressure.partition_records = 100;
        settings.pressure.total_bytes = 1_000;
        settings.retry.side_queue = 10;
        settings
    }

    #[test]
    fn fetching_stops_at_the_mark_and_goes_on_at_half() {
        let verdict = |unfinished, paused| verdict(&Load { unfinished, ..LIGHT }, &settings(), paused);
        let cause = Some(PauseCause::Backpressure);

        assert_eq!((verdict(99, None), verdict(100, None)), (None, cause));
        assert_eq!((verdict(51, cause), verdict(50, cause)), (cause, None));
    }

    #[test]
    fn the_cause_says_what_holds_the_partition_up() {
        let full = Load { unfinished: 100, ..LIGHT };
        let verdict = |load: Load| verdict(&load, &settings(), None);

        assert_eq!(verdict(Load { head_waits: true, ..full }), Some(PauseCause::Order));
        assert_eq!(verdict(Load { outage: true, unfinished: 100, ..LIGHT }), Some(PauseCause::Circuit));
        assert_eq!(verdict(Load { refused: 1, ..LIGHT }), Some(PauseCause::Order));
        assert_eq!(verdict(Load { aside: 10, ..LIGHT }), None);
        assert_eq!(verdict(Load { aside: 11, ..LIGHT }), Some(PauseCause::Order));
    }

    #[test]
    fn a_partition_that_holds_nothing_is_not_paused_for_others() {
        let verdict = |unfinished| verdict(&Load { unfinished, pressed: true, ..LIGHT }, &settings(), None);

        assert_eq!((verdict(0), verdict(1)), (None, Some(PauseCause::Backpressure)));
    }

    #[test]
    fn bytes_press_from_the_mark_down_to_half() {
        let settings = settings();

        assert_eq!((pressed(999, &settings, false), pressed(1_000, &settings, false)), (false, true));
        assert_eq!((pressed(501, &settings, true), pressed(500, &settings, true)), (true, false));
    }
}
