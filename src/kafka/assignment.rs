//! The partitions that the group gave us, and what may be committed for them.

use std::sync::atomic::{AtomicU64, Ordering};

use postroom_core::{FetchEpoch, Generation, Offset, TopicPartition};

/// What we own, by our own generations.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    owned: Vec<Owned>,
}

/// One partition that is ours.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    /// Which partition.
    pub(crate) partition: TopicPartition,
    /// Its assignment.
    pub(crate) generation: Generation,
    /// The last seek.
    pub(crate) epoch: FetchEpoch,
    /// Records below are not handed over. `None`: wherever fetching begins.
    pub(crate) expected: Option<Offset>,
    /// A seek that the client has not taken yet: no record is handed over before it has.
    pub(crate) pending_seek: Option<Offset>,
    /// Whether fetching is paused.
    pub(crate) paused: bool,
    /// The group's commit is not known yet, and so the driver has not heard of the assignment.
    pub(crate) untold: bool,
    /// Where the assignment begins, once that is decided: offsets below are not missed.
    pub(crate) claimed: Option<Offset>,
    /// The client has stopped fetching, since the position is not in the log or was never known. A seek does not help there:
    /// fetching has to be started anew.
    pub(crate) stalled: bool,
    /// The highest offset that a commit was asked for.
    committed: Option<Offset>,
    /// Whether a revocation is waiting for it.
    hold: Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Kept,
    Revoking,
    Released,
}

/// Why a commit is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The generation is not ours (any more).
    NotOurs,
    /// It would move the committed offset back.
    Backwards,
}

impl Assignment {
    /// Takes a partition, under a generation that no assignment of this process ever had.
    pub(crate) fn assign(&mut self, partition: TopicPartition, expected: Option<Offset>) -> Generation {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let generation = Generation(NEXT.fetch_add(1, Ordering::Relaxed));
        self.owned.retain(|owned| owned.partition != partition);
        self.owned.push(Owned {
            partition,
            generation,
            epoch: FetchEpoch::default(),
            expected,
            pending_seek: None,
            paused: false,
            untold: false,
            claimed: None,
            stalled: false,
            committed: None,
            hold: Hold::Kept,
        });
        generation
    }

    /// Returns what a new assignment ends without having been given back: all that is ours where it replaces the one before
    /// (`increments` is false), else what it names again.
    pub(crate) fn superseded(&self, new: &[(&str, i32)], increments: bool) -> Vec<Owned> {
        let named = |owned: &&Owned| {
            !increments || new.contains(&(owned.partition.topic.as_str(), owned.partition.partition.0))
        };
        self.owned.iter().filter(named).cloned().collect()
    }

    /// Returns the partition's entry.
    pub(crate) fn of_partition(&mut self, topic: &str, partition: i32) -> Option<&mut Owned> {
        self.owned
            .iter_mut()
            .find(|owned| owned.partition.partition.0 == partition && owned.partition.topic.as_str() == topic)
    }

    /// Returns the generation's entry.
    pub(crate) fn of_generation(&mut self, generation: Generation) -> Option<&mut Owned> {
        self.owned.iter_mut().find(|owned| owned.generation == generation)
    }

    /// Returns everything that is ours.
    pub(crate) fn owned(&self) -> &[Owned] {
        &self.owned
    }

    /// Notes that an assignment has to wait until the group's commit is known.
    pub(crate) fn leave_untold(&mut self, generation: Generation) {
        if let Some(owned) = self.of_generation(generation) {
            owned.untold = true;
            owned.stalled = true;
        }
    }

    /// Notes that nothing is fetched of any of them.
    pub(crate) fn all_stalled(&mut self) {
        for owned in &mut self.owned {
            owned.stalled = true;
        }
    }

    /// Notes that a revocation waits for these.
    pub(crate) fn hold_for_release(&mut self, generations: &[Generation]) {
        for generation in generations {
            if let Some(owned) = self.of_generation(*generation)
                && owned.hold == Hold::Kept
            {
                owned.hold = Hold::Revoking;
            }
        }
    }

    /// Notes that nothing of the generation is in flight, nor will be. A drain says so before the group takes the partition back, if
    /// it ever does; it is said once.
    pub(crate) fn release(&mut self, generation: Generation) {
        if let Some(owned) = self.of_generation(generation) {
            owned.hold = Hold::Released;
        }
    }

    /// Says whether the generation is being given back, so that what is committed now is committed last.
    pub(crate) fn is_leaving(&mut self, generation: Generation) -> bool {
        self.of_generation(generation).is_some_and(|owned| owned.hold != Hold::Kept)
    }

    /// Says whether no revocation waits for any of these.
    pub(crate) fn all_released(&self) -> bool {
        self.owned.iter().all(|owned| owned.hold != Hold::Revoking)
    }

    /// Forgets generations: nothing is committed for them from here on.
    pub(crate) fn remove(&mut self, generations: &[Generation]) {
        self.owned.retain(|owned| !generations.contains(&owned.generation));
    }

    /// Asks to commit: only for a generation that is ours, and never backwards within it.
    pub(crate) fn may_commit(&mut self, generation: Generation, next: Offset) -> Result<(), Refused> {
        let owned = self.of_generation(generation).ok_or(Refused::NotOurs)?;
        if owned.committed.is_some_and(|committed| next < committed) {
            return Err(Refused::Backwards);
        }
        owned.committed = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use postroom_core::{Partition, Topic};

    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new(Topic::new("blog.posts"), Partition(number))
    }

    #[test]
    fn every_assignment_has_a_new_generation() {
        let mut assignment = Assignment::default();

        let first = assignment.assign(partition(0), None);
        let second = assignment.assign(partition(0), None);

        assert!(second > first);
        assert!(assignment.of_generation(first).is_none());
    }

    #[test]
    fn a_commit_of_a_generation_that_is_gone_is_refused() {
        let mut assignment = Assignment::default();
        let generation = assignment.assign(partition(0), None);
        assignment.remove(&[generation]);

        assert_eq!(assignment.may_commit(generation, Offset(5)), Err(Refused::NotOurs));
    }

    #[test]
    fn a_commit_never_moves_back_within_a_generation() {
        let mut assignment = Assignment::default();
        let generation = assignment.assign(partition(0), None);

        assert_eq!(assignment.may_commit(generation, Offset(5)), Ok(()));
        assert_eq!(assignment.may_commit(generation, Offset(5)), Ok(()));
        assert_eq!(assignment.may_commit(generation, Offset(4)), Err(Refused::Backwards));
        assert_eq!(assignment.may_commit(generation, Offset(6)), Ok(()));
    }

    #[test]
    fn a_whole_assignment_ends_all_before_it_and_an_increment_only_what_it_names() {
        let mut assignment = Assignment::default();
        let gone = assignment.assign(partition(0), None);
        let again = assignment.assign(partition(1), None);
        let new = [("blog.posts", 1), ("blog.posts", 2), ("blog.users", 0)];
        let generations = |owned: Vec<Owned>| owned.into_iter().map(|owned| owned.generation);

        let ended: Vec<_> = generations(assignment.superseded(&new, false)).collect();
        assert_eq!(ended, [gone, again]);
        assert_eq!(generations(assignment.superseded(&new, true)).collect::<Vec<_>>(), [again]);

        assignment.remove(&ended);
        let next = assignment.assign(partition(1), None);
        assert!(next > again);
        for generation in ended {
            assert_eq!(assignment.may_commit(generation, Offset(1)), Err(Refused::NotOurs));
        }
        assert!(generations(assignment.superseded(&[], true)).next().is_none());
    }

    #[test]
    fn a_revocation_waits_for_exactly_its_own() {
        let mut assignment = Assignment::default();
        let moved = assignment.assign(partition(0), None);
        let kept = assignment.assign(partition(1), None);

        assignment.hold_for_release(&[moved]);
        assert!(!assignment.all_released());
        assignment.release(kept);
        assert!(!assignment.all_released());
        assignment.release(moved);
        assert!(assignment.all_released());
        // What a drain has released is not waited for again.
        assignment.hold_for_release(&[moved, kept]);
        assert!(assignment.all_released());
    }
}
