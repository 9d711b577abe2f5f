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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;

    #[test]
    fn one_probe_closes_what_it_reached() {
        let mut circuits = Circuits::default();
        assert_eq!(circuits.gate(Moment::START), Gate::Free);

        let until = outage(&mut circuits, 1, "smtp", Moment::START).unwrap();
        assert_eq!(circuits.gate(Moment::START), Gate::Shut);
        assert_eq!(circuits.gate(until), Gate::Probe);

        assert_eq!(circuits.begin_probe(RunId(2)), [(smtp(), CircuitState::HalfOpen)]);
        assert_eq!(circuits.gate(until), Gate::Shut);
        assert_eq!(circuits.reached(RunId(2)), [(smtp(), CircuitState::Closed)]);
        assert_eq!(circuits.gate(until), Gate::Free);
    }

    #[test]
    fn runs_from_before_the_outage_neither_close_nor_lengthen_it() {
        let mut circuits = Circuits::default();
        let until = outage(&mut circuits, 1, "smtp", Moment::START).unwrap();

        assert_eq!(outage(&mut circuits, 2, "smtp", Moment::START), None);
        assert!(circuits.reached(RunId(3)).is_empty());
        assert_eq!(circuits.states(), [(smtp(), CircuitState::Open { until })]);
    }

    #[test]
    fn a_failed_probe_waits_longer_up_to_the_cap() {
        let mut circuits = Circuits::default();
        let mut now = outage(&mut circuits, 0, "smtp", Moment::START).unwrap();
        let mut longest = Duration::ZERO;
        for run in 1..200 {
            assert_eq!(circuits.gate(now), Gate::Probe);
            circuits.begin_probe(RunId(run));
            let until = outage(&mut circuits, run, "smtp", now).unwrap();
            longest = longest.max(until.since(now));
            now = until;
        }

        let cap = Retry::default().cap;
        assert!(longest <= cap && longest > cap / 2, "{longest:?}");
    }

    #[test]
    fn an_abandoned_probe_is_free_again() {
        let mut circuits = Circuits::default();
        let until = outage(&mut circuits, 1, "smtp", Moment::START).unwrap();
        circuits.begin_probe(RunId(2));

        assert_eq!(circuits.end_probe(RunId(2)), [(smtp(), CircuitState::Open { until })]);
        assert_eq!(circuits.gate(until), Gate::Probe);
    }

    #[test]
    fn a_probe_waits_until_every_dependency_may_be_asked() {
        let mut circuits = Circuits::default();
        let first = outage(&mut circuits, 1, "smtp", Moment::START).unwrap();
        let second = outage(&mut circuits, 2, "store", first).unwrap();

        assert_eq!(circuits.gate(first), Gate::Shut);
        assert_eq!(circuits.gate(second), Gate::Probe);
    }

    fn outage(circuits: &mut Circuits, run: u64, name: &'static str, now: Moment) -> Option<Moment> {
        let mut jitter = Jitter::new(run);
        circuits.outage(RunId(run), Dependency(name.into()), now, &Retry::default(), &mut jitter).1
    }

    fn smtp() -> Dependency {
        Dependency("smtp".into())
    }
}
