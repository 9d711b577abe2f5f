//! What a process has used: CPU time and memory, from the kernel's own account.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Work;
use crate::failure::Failure;

/// What one run of one program has used, from the end of the warm-up to the last event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Events in that span.
    pub(crate) events: u64,
    /// User and system time of all threads, in seconds.
    pub(crate) cpu_s: f64,
    /// Time that passed, in seconds.
    pub(crate) wall_s: f64,
    /// The most memory that was ever resident, in MB.
    pub(crate) rss_mb: f64,
    /// Sum over the events: shows that all were decoded.
    pub(crate) checksum: u64,
}

impl Measured {
    /// CPU seconds per million events.
    pub(crate) fn cpu_per_million(&self) -> f64 {
        self.cpu_s * 1e6 / float(self.events)
    }
}

/// Counts events and looks at the clocks at two of them.
pub(crate) struct Meter {
    warm_up: u64,
    total: u64,
    seen: AtomicU64,
    checksum: AtomicU64,
    begin: Mutex<Option<Usage>>,
    end: Mutex<Option<Usage>>,
}

impl Meter {
    pub(crate) fn new(work: &Work) -> Self {
        Self {
            warm_up: work.warm_up,
            total: work.events,
            seen: AtomicU64::new(0),
            checksum: AtomicU64::new(0),
            begin: Mutex::new(None),
            end: Mutex::new(None),
        }
    }

    /// Counts `events` whose sum is `sum`. Says whether they were the last.
    pub(crate) fn count(&self, events: u64, sum: u64) -> bool {
        self.checksum.fetch_add(sum, Ordering::Relaxed);
        let before = self.seen.fetch_add(events, Ordering::Relaxed);
        let after = before + events;
        if before < self.warm_up && after >= self.warm_up {
            *self.begin.lock().unwrap_or_else(PoisonError::into_inner) = Usage::now(after).ok();
        }
        if before < self.total && after >= self.total {
            *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Usage::now(after).ok();
        }
        after >= self.total
    }

    /// Says whether all were counted and the clocks read.
    pub(crate) fn is_full(&self) -> bool {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Returns what was used between the two.
    pub(crate) fn measured(&self) -> Result<Measured, Failure> {
        let begin = *self.begin.lock().unwrap_or_else(PoisonError::into_inner);
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(begin), Some(end)) = (begin, end) else { return Err(Failure::Untold("CPU time")) };
        Ok(Measured {
            events: end.events - begin.events,
            cpu_s: end.cpu_s - begin.cpu_s,
            wall_s: end.wall_s - begin.wall_s,
            rss_mb: peak_rss_mb()?,
            checksum: self.checksum.load(Ordering::Relaxed),
        })
    }
}

#[derive(Clone, Copy)]
struct Usage {
    events: u64,
    cpu_s: f64,
    wall_s: f64,
}

impl Usage {
    fn now(events: u64) -> Result<Self, Failure> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        // Behind the name in brackets, which may itself hold brackets and spaces, the state is the first field.
        let fields = stat.rsplit_once(')').ok_or(Failure::Untold("CPU time"))?.1;
        let mut ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
            return Err(Failure::Untold("CPU time"));
        };
        let uptime = fs::read_to_string("/proc/uptime")?;
        let wall_s = uptime.split_whitespace().next().and_then(|word| word.parse().ok());
        Ok(Self {
            events,
            cpu_s: float(user + system) / TICKS_PER_SECOND,
            wall_s: wall_s.ok_or(Failure::Untold("the time"))?,
        })
    }
}

fn peak_rss_mb() -> Result<f64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok());
    Ok(float(kib.ok_or(Failure::Untold("memory"))?) * 1024.0 / 1e6)
}

#[expect(clippy::as_conversions, reason = "figures far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// `USER_HZ`: the unit of the kernel's account, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
