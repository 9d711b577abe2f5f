//! What is always true of a processor: pure functions, one a rule.
//!
//! They look at the state between two inputs; the rules about histories (order of attempts, commits, stale
//! generations) are checked on the outputs, by the property tests and the simulation.

use crate::lane::State;
use crate::partition::{Partition, Phase};
use crate::processor::Processor;
use crate::records::Stage;
use crate::settings::Ordering;

/// Returns the first rule that `processor` breaks.
pub(crate) fn broken<T: Clone>(processor: &Processor<T>) -> Option<&'static str> {
    let rules: [(&str, bool); 4] = [
        ("runs in flight stay within the concurrency", runs_are_bounded(processor)),
        ("the bytes of all partitions add up", bytes_add_up(processor)),
        ("every run belongs to a partition that is held", runs_are_owned(processor)),
        ("a partition is held under one generation", generations_are_current(processor)),
    ];
    let broken = rules.iter().find(|(_, holds)| !holds).map(|(rule, _)| *rule);
    broken.or_else(|| processor.partitions.values().find_map(broken_by))
}

/// Returns the first rule that `partition` breaks.
fn broken_by<T: Clone>(partition: &Partition<T>) -> Option<&'static str> {
    let rules: [(&str, bool); 4] = [
        ("what is held is what is unfinished", held_is_unfinished(partition)),
        ("no commit passes the lowest unfinished offset", commit_is_behind(partition)),
        ("every record is in one place", records_are_in_one_place(partition)),
        ("a lane runs one run at most", lanes_run_once(partition)),
    ];
    rules.iter().find(|(_, holds)| !holds).map(|(rule, _)| *rule)
}

fn runs_are_bounded<T>(processor: &Processor<T>) -> bool {
    processor.shared.runs.len() <= processor.shared.settings.concurrency.get()
}

fn bytes_add_up<T>(processor: &Processor<T>) -> bool {
    let held: usize = processor.partitions.values().map(|partition| partition.records.bytes()).sum();
    processor.shared.bytes == held
}

fn runs_are_owned<T>(processor: &Processor<T>) -> bool {
    let in_flight: usize = processor.partitions.values().map(|partition| partition.in_flight).sum();
    let mut flights = processor.shared.runs.values();
    in_flight == processor.shared.runs.len()
        && flights.all(|flight| processor.partitions.contains_key(&flight.generation))
}

fn generations_are_current<T>(processor: &Processor<T>) -> bool {
    processor.current.len() == processor.partitions.len()
        && processor
            .partitions
            .values()
            .all(|partition| processor.current.get(&partition.name) == Some(&partition.generation))
}

fn held_is_unfinished<T>(partition: &Partition<T>) -> bool {
    // A fenced partition has dropped its records; the claim that follows begins its offsets anew.
    let dropped = matches!(
        partition.phase,
        Phase::Fenced { .. } | Phase::Claiming { refetch: crate::partition::Refetch::From(_), .. }
    );
    if dropped {
        return partition.records.len() == 0;
    }
    let lowest = partition.records.iter().map(|(_, held)| held.offset).min();
    partition.offsets.unfinished() == partition.records.len()
        && lowest.is_none_or(|lowest| partition.offsets.watermark() == Some(lowest))
}

fn commit_is_behind<T>(partition: &Partition<T>) -> bool {
    let sound = |next| partition.offsets.watermark().is_some_and(|watermark| next <= watermark);
    // Kafka's own commit may lie above the store's position; nothing is committed until that is reached.
    let ours = partition.commits.named_by_us();
    ours.is_none_or(sound) || partition.epoch != crate::FetchEpoch::default()
}

fn records_are_in_one_place<T>(partition: &Partition<T>) -> bool {
    if !matches!(partition.phase, Phase::Active | Phase::Claiming { .. }) {
        return true;
    }
    let queued: usize = partition.lanes.iter().map(|(_, lane)| lane.queue.len()).sum();
    let staged =
        |wanted: fn(Stage) -> bool| partition.records.iter().filter(|(_, held)| wanted(held.stage)).count();
    queued == staged(|stage| stage == Stage::Queued)
        && partition.dead.len() == staged(|stage| stage == Stage::Dead)
        && partition.lanes.aside() == partition.records.iter().filter(|(_, held)| held.aside).count()
}

fn lanes_run_once<T>(partition: &Partition<T>) -> bool {
    if matches!(partition.phase, Phase::Draining { .. }) {
        return true;
    }
    let running = partition.lanes.iter().filter(|(_, lane)| lane.state == State::Running).count();
    match partition.lanes.ordering() {
        Ordering::Unordered => true,
        Ordering::Partition | Ordering::Key => running == partition.in_flight,
    }
}

impl<T: Clone> Processor<T> {
    /// Returns the first rule about the processor's state that is broken: O(unfinished records).
    #[cfg(any(test, debug_assertions, feature = "simulation"))]
    pub fn broken_invariant(&self) -> Option<&'static str> {
        broken(self)
    }

    /// Stops a debug build at the input after which a rule is broken. Large states are looked at as a whole
    /// only now and then, so that a loaded debug build stays usable.
    #[cfg(debug_assertions)]
    pub(crate) fn assert_sound(&self) {
        #[cfg(feature = "simulation")]
        if self.shared.settings.bug.is_some() {
            return;
        }
        let unfinished: usize = self.partitions.values().map(|partition| partition.records.len()).sum();
        if unfinished + self.partitions.len() <= WHOLE {
            debug_assert_eq!(broken(self), None, "the processor's state is sound");
        }
    }
}

/// States up to this size are checked after every input.
#[cfg(debug_assertions)]
const WHOLE: usize = 64;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{
        FetchEpoch, Generation, Input, Moment, Offset, Partition as Number, Record, RunId, Settings, Topic,
        TopicPartition,
    };

    #[test]
    fn a_processor_at_work_breaks_no_rule() {
        assert_eq!(broken(&at_work()), None);
    }

    #[test]
    fn each_rule_sees_the_state_that_breaks_it() {
        breaks("runs in flight stay within the concurrency", |processor| {
            processor.shared.settings.concurrency = std::num::NonZeroUsize::MIN;
        });
        breaks("the bytes of all partitions add up", |processor| processor.shared.bytes += 1);
        breaks("every run belongs to a partition that is held", |processor| {
            processor.shared.runs.remove(&RunId(1));
        });
        breaks("a partition is held under one generation", |processor| processor.current.clear());
        breaks("what is held is what is unfinished", |processor| held(processor).offsets.raise(Offset(1)));
        breaks("no commit passes the lowest unfinished offset", |processor| {
            let mut ahead = crate::offsets::Offsets::default();
            ahead.raise(Offset(9));
            held(processor).commits.commit(&ahead);
        });
        breaks("every record is in one place", |processor| {
            let lane = held(processor).lanes.lane_of(None, false);
            held(processor).lanes.lane_mut(lane).unwrap().queue.clear();
        });
        breaks("a lane runs one run at most", |processor| {
            let lane = held(processor).lanes.lane_of(None, false);
            held(processor).lanes.wake(lane);
        });
    }

    fn breaks(rule: &str, mistake: impl Fn(&mut Processor<()>)) {
        let mut processor = at_work();
        mistake(&mut processor);
        assert_eq!(broken(&processor), Some(rule));
    }

    /// Two partitions with a run in flight and a queued record each.
    fn at_work() -> Processor<()> {
        let mut processor = Processor::new(Settings { ordering: Ordering::Partition, ..Settings::default() });
        for number in 0..2 {
            let partition = TopicPartition::new(Topic::new("blog.comments"), Number(number));
            let generation = Generation(u64::from(number.unsigned_abs()));
            let start = Some(Offset(0));
            processor.handle(
                Moment::START,
                Input::Assigned { partition, generation, start, finished: Vec::new() },
            );
            let record = |offset| Record { offset: Offset(offset), key: None, bytes: 1, payload: () };
            let records = vec![record(0), record(1)];
            processor
                .handle(Moment::START, Input::Records { generation, epoch: FetchEpoch::default(), records });
        }
        processor
    }

    fn held(processor: &mut Processor<()>) -> &mut Partition<()> {
        processor.partitions.get_mut(&Generation(0)).unwrap()
    }
}
