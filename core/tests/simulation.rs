//! The simulation in its quick form: what a run of all tests can afford. Long runs:
//! `cargo run -p postroom-core --features simulation --example simulate -- --minutes 3`.

#![expect(clippy::print_stderr, reason = "tests")]

use postroom_core::Bug;
use postroom_core::simulation::{Anomaly, Point, Reached, simulate};

/// Histories of the quick run.
const QUICK: u64 = 6_000;
/// Within so many seeds every deliberate bug must show.
const WITHIN: u64 = 10_000;

#[test]
fn random_histories_keep_every_promise_and_reach_every_window() {
    let mut reached = Reached::default();

    for seed in 0..QUICK {
        let told = simulate(seed, None);
        assert!(told.findings.is_empty(), "seed {seed}: {:?}", told.findings);
        reached.add(&told.reached);
    }

    assert_eq!(reached.missed(), Vec::<Point>::new());
}

#[test]
fn every_deliberate_bug_is_caught() {
    let mut latest = 0;

    for bug in Bug::ALL {
        let caught = (0..WITHIN).find_map(|seed| {
            let first = simulate(seed, Some(bug)).findings.into_iter().next()?;
            Some((seed, first))
        });
        let Some((seed, finding)) = caught else {
            unreachable!("{bug:?} lives through {WITHIN} histories");
        };
        eprintln!("{bug:?}: seed {seed}: {finding}");
        latest = latest.max(seed);
    }

    for seed in 0..=latest {
        assert!(simulate(seed, None).findings.is_empty(), "seed {seed} fails without a bug");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [1, 2, 3, 5, 8, 13, 21, 34] {
        let one = format!("{:?}", simulate(seed, None).history.entries);
        let other = format!("{:?}", simulate(seed, None).history.entries);

        assert!(one == other, "seed {seed}");
    }
}

#[test]
fn every_anomaly_has_a_name_of_its_own() {
    let mut names: Vec<String> = Anomaly::ALL.iter().map(|anomaly| format!("{anomaly:?}")).collect();
    names.sort();
    names.dedup();

    assert_eq!(names.len(), Anomaly::ALL.len());
}
