//! The end of a history: every record has exactly one final state, and repeats have an excuse.

use super::{Anomaly, Checker};
use crate::simulation::history::{Letter, RowPolicy};

impl Checker {
    pub(super) fn end(&mut self) {
        for place in 0..self.places.len() {
            let stuck = self.findings.iter().any(|finding| finding.anomaly == Anomaly::StuckPartition);
            for index in 0..self.places[place].records.len() {
                if !stuck {
                    self.is_accounted_for(place, index);
                }
                self.is_final(place, index);
                if !self.in_store() {
                    self.repeats_have_excuses(place, index);
                }
            }
        }
    }

    fn is_accounted_for(&mut self, place: usize, index: usize) {
        let record = &self.places[place].records[index];
        let letter: Letter = record.letter;
        if record.is_finished() {
            return;
        }
        let passed = self.places[place].committed.is_some_and(|committed| letter.offset < committed);
        if record.condemned {
            self.find(Anomaly::DeadLetterMissing, format!("{letter} is dead, its letter is nowhere"));
        } else if passed {
            self.find(Anomaly::LostEffect, format!("{letter} was passed over"));
        } else {
            self.find(Anomaly::UnaccountedRecord, format!("{letter} has no final state"));
        }
    }

    fn is_final(&mut self, place: usize, index: usize) {
        let record = &self.places[place].records[index];
        let letter = record.letter;
        let both = record.buried && !record.effects.is_empty();
        let Some(effect) = record.effects.first().filter(|_| both) else { return };
        // A crash between the dead letter's acknowledgement and the commit may bring another end (W14).
        let excused = self.tenures.values().any(|tenure| tenure.place == place && !tenure.ended_in_order());
        let followed = self.rules.rows == RowPolicy::Follow;
        if self.in_store() && followed && !excused {
            let detail = format!("{letter} is dead, and applied by g{}", effect.generation.0);
            self.find(Anomaly::FinalStateChanged, detail);
        }
    }

    fn repeats_have_excuses(&mut self, place: usize, index: usize) {
        let disturbed = self.places[place].disturbed;
        let record = &self.places[place].records[index];
        let letter = record.letter;
        let unexcused = record.effects.windows(2).find_map(|pair| {
            let [first, second] = pair else { return None };
            let same = first.generation == second.generation;
            // Where the second owner was chosen or began before the first had ended, or at an older commit than
            // the first one's last, one of the two was a zombie.
            let handed_on = match (self.tenures.get(&first.generation), self.tenures.get(&second.generation))
            {
                (Some(one), Some(two)) => {
                    let chosen_later = first.generation < second.generation;
                    let successor =
                        chosen_later && one.ended < Some(two.began) && one.last_asked <= two.start;
                    one.ended_in_order() && successor && !disturbed
                }
                _ => false,
            };
            (first.reported && (same || handed_on)).then_some((first.generation, second.generation))
        });
        if let Some((first, second)) = unexcused {
            let detail = format!("{letter} by g{} and again by g{}", first.0, second.0);
            self.find(Anomaly::DuplicateEffect, detail);
        }
    }
}
