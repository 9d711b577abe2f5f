//! The checker: a pure function from a history to what is wrong with it.
//!
//! It keeps two books. The *ledger* is the truth: which effects, skips and dead letters there are, whoever
//! made them. A *tenure* is what one assignment's owner was told, and so what it may do. An owner may lag
//! behind the truth; it may never run ahead of what it was told.

mod anomaly;
mod asked;
mod ending;
mod ledger;
mod tenure;
mod told;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::anomaly::{Anomaly, Finding};
use self::ledger::{Effect, Place};
use self::tenure::{Phase, Tenure};
use super::history::{Entry, History, Process, Rules, Sender, What};
use crate::record::{Generation, Moment, Offset, RunId};
use crate::settings::{Claims, Ordering};

/// Returns what is wrong with a history, in the order in which it shows.
pub fn check(history: &History) -> Vec<Finding> {
    let mut checker = Checker::new(history.rules);
    for entry in &history.entries {
        checker.take(entry);
    }
    checker.end();
    checker.findings
}

struct Checker {
    rules: Rules,
    places: Vec<Place>,
    tenures: BTreeMap<Generation, Tenure>,
    runs: BTreeMap<(Process, RunId), Run>,
    processes: BTreeMap<Process, Owner>,
    findings: Vec<Finding>,
    entry: usize,
    at: Moment,
    process: Process,
}

/// A dispatched run.
#[derive(Debug)]
struct Run {
    generation: Generation,
    indices: Vec<usize>,
    state: RunState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunState {
    Flying,
    Abandoned,
    Over,
}

/// A process.
#[derive(Debug, Default)]
struct Owner {
    born: Moment,
    flying: usize,
    /// Assignments whose runs must be abandoned, or that must be released, before it is told the next thing.
    lost: Vec<Generation>,
    overdue: Vec<Generation>,
}

impl Checker {
    fn new(rules: Rules) -> Self {
        Self {
            rules,
            places: (0..rules.partitions).map(|_| Place::default()).collect(),
            tenures: BTreeMap::new(),
            runs: BTreeMap::new(),
            processes: BTreeMap::new(),
            findings: Vec::new(),
            entry: 0,
            at: Moment::START,
            process: Process(0),
        }
    }

    fn find(&mut self, anomaly: Anomaly, detail: String) {
        self.findings.push(Finding { anomaly, at: self.at, process: self.process, detail });
    }

    fn take(&mut self, entry: &Entry) {
        self.entry += 1;
        self.at = entry.at;
        self.process = entry.process;
        match &entry.what {
            What::Produced(letter) => self.places[letter.place].produce(*letter, self.rules.ordering),
            What::Started => {
                let owner = Owner { born: entry.at, ..Owner::default() };
                self.processes.insert(entry.process, owner);
            }
            What::Crashed => self.end_of_process(Ending::ByForce),
            What::Left => self.end_of_process(Ending::InOrder),
            What::Frozen => self.mark_dirty(),
            What::Thawed | What::Began(..) => {}
            What::Told(input) => self.told(input),
            What::Asked(output) => self.asked(output),
            What::Unsound(why) => self.find(Anomaly::UnsoundState, why.replace('\n', " ")),
            What::BusyLoop => self.find(Anomaly::BusyLoop, "ticks leave a deadline in the past".into()),
            What::Effect { letter, generation, run, epoch } => {
                self.effect(*letter, *generation, *run, *epoch);
            }
            What::Settled(letter) => {
                if let Some(index) = self.places[letter.place].index_of(letter.offset) {
                    self.places[letter.place].records[index].settled = true;
                }
            }
            What::Epoch { place, epoch, .. } => self.places[*place].epoch = *epoch,
            What::DeadLetterStored(letter, _) => self.buried(*letter),
            What::CommitApplied { place, generation, next, sender } => {
                self.answered(*generation, true);
                self.commit_applied(*place, *next, *sender);
            }
            What::CommitRefused { generation, .. } => self.answered(*generation, false),
            What::HintDamaged(place) => self.places[*place].disturbed = true,
            What::Finished => {}
            What::Stuck(why) => self.find(Anomaly::StuckPartition, why.clone()),
        }
    }

    fn effect(
        &mut self,
        letter: super::history::Letter,
        generation: Generation,
        run: RunId,
        epoch: Option<u64>,
    ) {
        let process = self.process;
        let place = &mut self.places[letter.place];
        let Some(index) = place.index_of(letter.offset).filter(|i| place.records[*i].letter == letter) else {
            return self.find(Anomaly::PhantomEffect, format!("nobody produced {letter}"));
        };
        let record = &mut place.records[index];
        let again = !record.effects.is_empty();
        record.effects.push(Effect { process, generation, run, reported: false });
        let Some(epoch) = epoch else { return };
        let stale = epoch < place.epoch;
        let backwards = place.stored_up_to.is_some_and(|highest| letter.offset < highest);
        place.stored_up_to = place.stored_up_to.max(Some(letter.offset));
        if stale {
            self.find(Anomaly::StaleOwner, format!("{letter} applied under the old epoch {epoch}"));
        }
        if again {
            self.find(Anomaly::DuplicateEffect, format!("{letter} applied twice in the store"));
        } else if backwards && self.rules.ordering == Ordering::Partition {
            self.find(Anomaly::OrderInversion, format!("{letter} applied after a later record"));
        }
    }

    fn buried(&mut self, letter: super::history::Letter) {
        let place = &mut self.places[letter.place];
        match place.index_of(letter.offset) {
            Some(index) if place.records[index].letter == letter => place.records[index].buried = true,
            Some(_) => self.find(Anomaly::DeadLetterAltered, format!("{letter} differs from its record")),
            None => self.find(Anomaly::PhantomEffect, format!("dead letter {letter} was never produced")),
        }
    }

    fn commit_applied(&mut self, index: usize, next: Offset, sender: Sender) {
        let place = &mut self.places[index];
        place.disturbed |= sender == Sender::Stale;
        let back = place.committed.filter(|committed| next < *committed && !place.disturbed);
        place.committed = Some(next);
        if let Some(before) = back {
            self.find(Anomaly::CommitRegress, format!("partition {index} went from {before} to {next}"));
        }
    }

    fn answered(&mut self, generation: Generation, taken: bool) {
        if let Some(tenure) = self.tenures.get_mut(&generation) {
            tenure.commits_answered += 1;
            tenure.last_commit_taken = taken;
        }
    }

    fn end_of_process(&mut self, ending: Ending) {
        if ending == Ending::ByForce {
            self.mark_dirty();
        } else {
            self.settle_duties();
        }
        let process = self.process;
        for tenure in self.tenures.values_mut().filter(|tenure| tenure.process == process) {
            if tenure.phase != Phase::Over {
                tenure.dirty = true;
                tenure.end(self.entry);
            }
        }
        self.processes.remove(&process);
    }

    fn mark_dirty(&mut self) {
        let process = self.process;
        for tenure in self.tenures.values_mut().filter(|tenure| tenure.process == process) {
            tenure.dirty = true;
        }
    }

    fn in_store(&self) -> bool {
        self.rules.claims == Claims::FromStore
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    ByForce,
    InOrder,
}
