//! When fetching stops: past a high mark; it goes on at half of it, because a pause throws the prefetch away.

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
