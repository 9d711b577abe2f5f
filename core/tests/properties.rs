//! The invariants of the processor, on random scripts against a reference model.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

mod world;

#[cfg(feature = "simulation")]
use postroom_core::Bug;
use postroom_core::{Claims, Ordering};
use proptest::prelude::*;
#[cfg(feature = "simulation")]
use proptest::strategy::ValueTree;
#[cfg(feature = "simulation")]
use proptest::test_runner::TestRunner;

use world::{Step, Ticks, World, settings};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_output_of_a_random_history_is_allowed_and_all_records_finish(
        kind in kinds(), script in scripts(),
    ) {
        let mut world = world(kind);
        prop_assert_eq!(world.play(&script), Ok(()), "{}", world.story.join("\n"));
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs_and_needless_ticks_change_none(
        kind in kinds(), script in scripts(),
    ) {
        let (mut first, mut second, mut third) = (world(kind), world(kind), world(kind));
        third.ticks = Ticks::Needless;
        let ends = (first.play(&script), second.play(&script), third.play(&script));

        prop_assert_eq!(ends, (Ok(()), Ok(()), Ok(())));
        prop_assert_eq!(&first.journal, &second.journal);
        prop_assert_eq!(&first.journal, &third.journal);
    }
}

#[cfg(feature = "simulation")]
#[test]
fn every_deliberate_bug_breaks_a_rule() {
    let found = Bug::ALL.map(|bug| (bug, first_broken_rule(bug)));

    assert!(found.iter().all(|(_, rule)| rule.is_some()), "{found:#?}");
}

/// Plays random histories until a rule is broken; answers after how many, and which.
#[cfg(feature = "simulation")]
fn first_broken_rule(bug: Bug) -> Option<(usize, String)> {
    let mut runner = TestRunner::deterministic();
    (1..=3_000).find_map(|history| {
        let kind = kinds().new_tree(&mut runner).ok()?.current();
        let script = scripts().new_tree(&mut runner).ok()?.current();
        let mut world = world(kind);
        world.mistake(bug);
        let mut rule = world.play(&script).err()?;
        rule.truncate(60);
        Some((history, rule))
    })
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    ordering: Ordering,
    claims: Claims,
    batch: usize,
    seed: u64,
}

fn world(kind: Kind) -> World {
    World::new(settings(kind.ordering, kind.claims, kind.batch, kind.seed))
}

fn kinds() -> impl Strategy<Value = Kind> {
    let ordering = prop_oneof![Just(Ordering::Partition), Just(Ordering::Key), Just(Ordering::Unordered)];
    let claims = prop_oneof![Just(Claims::AtOnce), Just(Claims::FromStore)];
    (ordering, claims, prop_oneof![Just(1_usize), Just(5)], any::<u64>())
        .prop_map(|(ordering, claims, batch, seed)| Kind { ordering, claims, batch, seed })
}

fn scripts() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any::<Step>(), 0..200)
}
