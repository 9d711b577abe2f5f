//! Circuits: while a dependency is away nothing is dispatched but one run that probes it.

use std::collections::BTreeMap;

use crate::failure::Dependency;
use crate::output::CircuitState;
use crate::record::{Moment, RunId};
use crate::retry::{Jitter, bound};
use crate::settings::Retry;

/// The circuits of a group's dependencies; those that are not listed are closed.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    open: BTreeMap<Dependency, Open>,
    probe: Option<RunId>,
}

#[derive(Debug)]
struct Open {
    until: Moment,
    failures: u32,
}

/// What may be dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Anything.
    All,
    /// One run, whose end decides.
    Probe,
    /// Nothing.
    None,
}

impl Circuits {
    pub(crate) fn leave(&self, now: Moment) -> Leave {
        if self.open.is_empty() {
            return Leave::All;
        }
        let due = self.open.values().all(|open| open.until <= now);
        if due && self.probe.is_none() { Leave::Probe } else { Leave::None }
    }

    /// When the next probe is due.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        if self.probe.is_some() { None } else { self.open.values().map(|open| open.until).max() }
    }

    pub(crate) fn probing(&mut self, run: RunId) -> impl Iterator<Item = &Dependency> {
        self.probe = Some(run);
        self.open.keys()
    }

    /// A run met an outage: opens the circuit, or keeps it open where the run was a probe or its first notice.
    pub(crate) fn outage(
        &mut self,
        now: Moment,
        run: RunId,
        dependency: &Dependency,
        retry: &Retry,
        jitter: &mut Jitter,
    ) -> Option<CircuitState> {
        let probed = self.probe == Some(run);
        if probed {
            self.probe = None;
        } else if self.open.contains_key(dependency) {
            return None;
        }
        let failures = self.open.get(dependency).map_or(1, |open| open.failures.saturating_add(1));
        // Half of the bound at least: an outage should not be probed in a busy loop.
        let half = bound(retry, failures) / 2;
        let until = now.plus(half).plus(jitter.below(half));
        self.open.insert(dependency.clone(), Open { until, failures });
        Some(CircuitState::Open { until })
    }

    /// A run ended otherwise: where it was the probe, all circuits close. Returns those that did.
    pub(crate) fn worked(&mut self, run: RunId) -> Vec<Dependency> {
        if self.probe != Some(run) {
            return Vec::new();
        }
        self.probe = None;
        std::mem::take(&mut self.open).into_keys().collect()
    }

    /// The probe was abandoned: it says nothing.
    pub(crate) fn abandoned(&mut self, run: RunId) {
        if self.probe == Some(run) {
            self.probe = None;
        }
    }

    pub(crate) fn states(&self) -> Vec<(Dependency, CircuitState)> {
        let state = |open: &Open| {
            if self.probe.is_some() {
                CircuitState::HalfOpen
            } else {
                CircuitState::Open { until: open.until }
            }
        };
        self.open.iter().map(|(dependency, open)| (dependency.clone(), state(open))).collect()
    }
}
