//! The circuits of the group's dependencies: while one is away, a single run probes it and nothing else runs.

use std::collections::BTreeMap;

use crate::failure::Dependency;
use crate::output::CircuitState;
use crate::record::{Moment, RunId};
use crate::retry::Jitter;
use crate::settings::Retry;

/// The circuits that are not closed.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    broken: BTreeMap<Dependency, Circuit>,
    probe: Option<RunId>,
}

/// Whether a run may be dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// All dependencies are there.
    Free,
    /// One run may go, as a probe.
    Probe,
    /// None.
    Shut,
}

#[derive(Debug)]
struct Circuit {
    until: Moment,
    failures: u32,
    half_open: bool,
}

impl Circuit {
    fn state(&self) -> CircuitState {
        if self.half_open { CircuitState::HalfOpen } else { CircuitState::Open { until: self.until } }
    }
}

impl Circuits {
    /// Says whether all circuits are closed.
    pub(crate) fn all_closed(&self) -> bool {
        self.broken.is_empty()
    }

    /// Says whether a run may be dispatched at `now`.
    pub(crate) fn gate(&self, now: Moment) -> Gate {
        if self.broken.is_empty() {
            Gate::Free
        } else if self.probe.is_none() && self.broken.values().all(|circuit| circuit.until <= now) {
            Gate::Probe
        } else {
            Gate::Shut
        }
    }

    /// Lets `run` probe all dependencies that are away.
    pub(crate) fn begin_probe(&mut self, run: RunId) -> Vec<(Dependency, CircuitState)> {
        self.probe = Some(run);
        self.mark(true)
    }

    /// Takes note that `run` found a dependency away; answers with the changes and the next probe.
    pub(crate) fn outage(
        &mut self,
        run: RunId,
        dependency: Dependency,
        now: Moment,
        retry: &Retry,
        jitter: &mut Jitter,
    ) -> (Vec<(Dependency, CircuitState)>, Option<Moment>) {
        let probed = self.probe == Some(run);
        if !probed && self.broken.contains_key(&dependency) {
            return (Vec::new(), None);
        }
        let mut changes = self.end_probe(run);
        changes.retain(|(other, _)| *other != dependency);
        let circuit = self.broken.entry(dependency.clone()).or_insert(Circuit {
            until: now,
            failures: 0,
            half_open: false,
        });
        circuit.failures = circuit.failures.saturating_add(1);
        circuit.until = now.plus(jitter.delay(retry, circuit.failures));
        changes.push((dependency, circuit.state()));
        (changes, Some(circuit.until))
    }

    /// Takes note that `run` ended and found all it needed.
    pub(crate) fn reached(&mut self, run: RunId) -> Vec<(Dependency, CircuitState)> {
        if self.probe != Some(run) {
            return Vec::new();
        }
        self.probe = None;
        let closed: Vec<Dependency> = self
            .broken
            .iter()
            .filter(|(_, circuit)| circuit.half_open)
            .map(|(dependency, _)| dependency.clone())
            .collect();
        self.broken.retain(|_, circuit| !circuit.half_open);
        closed.into_iter().map(|dependency| (dependency, CircuitState::Closed)).collect()
    }

    /// Takes note that `run` says nothing of its dependencies: it was abandoned. The probe is free again.
    pub(crate) fn end_probe(&mut self, run: RunId) -> Vec<(Dependency, CircuitState)> {
        if self.probe != Some(run) {
            return Vec::new();
        }
        self.probe = None;
        self.mark(false)
    }

    /// Returns the circuits that are not closed, in the order of their names.
    pub(crate) fn states(&self) -> Vec<(Dependency, CircuitState)> {
        self.broken.iter().map(|(dependency, circuit)| (dependency.clone(), circuit.state())).collect()
    }

    fn mark(&mut self, half_open: bool) -> Vec<(Dependency, CircuitState)> {
        let mut changes = Vec::new();
        for (dependency, circuit) in &mut self.broken {
            if circuit.half_open != half_open {
                circuit.half_open = half_open;
                changes.push((dependency.clone(), circuit.state()));
            }
        }
        changes
    }
}
