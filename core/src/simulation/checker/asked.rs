//! What a processor asks for: each request must be allowed by what it was told.

use super::ledger::Lane;
use super::tenure::Phase;
use super::told::index_of;
use super::{Anomaly, Checker, Run, RunState};
use crate::failure::{Class, Reason};
use crate::output::{DeadLetter, Output};
use crate::record::{Generation, Moment, Offset, OffsetRange, RunId, Ticket};
use crate::settings::Ordering;
use crate::simulation::history::{Letter, RowPolicy};

impl Checker {
    pub(super) fn asked(&mut self, output: &Output<Letter>) {
        match output {
            Output::Dispatch(run) => self.dispatched(run),
            Output::Abandon { run } => self.abandoned(*run),
            Output::Commit { partition, generation, next, finished } => {
                self.commit(index_of(partition), *generation, *next, finished);
            }
            Output::DeadLetter(dead) => self.dead_letter(dead),
            Output::Released { generation, unfinished, .. } => self.released(*generation, *unfinished),
            Output::Seek { generation, offset, epoch, .. } => {
                if let Some(tenure) = self.tenures.get_mut(generation) {
                    tenure.seek(*offset, *epoch);
                }
            }
            Output::CountAttempt { ticket, attempt, .. } => {
                if let Some(tenure) = self.tenures.get_mut(&ticket.generation)
                    && let Some(index) = self.places[tenure.place].index_of(ticket.offset)
                {
                    tenure.counted.insert(index, attempt.0);
                }
            }
            Output::RetryScheduled { ticket, at, .. } => self.scheduled(*ticket, *at),
            Output::Claim { .. }
            | Output::Verify { .. }
            | Output::Pause { .. }
            | Output::Resume { .. }
            | Output::Circuit { .. }
            | Output::Halt { .. }
            | Output::Drained { .. } => {}
        }
    }

    fn dispatched(&mut self, run: &crate::output::Run<Letter>) {
        let generation = run.generation;
        let Some(tenure) = self.tenures.get(&generation) else {
            return self
                .find(Anomaly::StaleOwner, format!("run {} of an unknown g{}", run.id.0, generation.0));
        };
        if tenure.phase != Phase::Active {
            let detail = format!("run {} of g{} while {:?}", run.id.0, generation.0, tenure.phase);
            self.find(Anomaly::StaleOwner, detail);
        }
        let indices = self.indices_of(generation, run);
        for (position, index) in indices.iter().enumerate() {
            self.may_call(generation, *index, indices.get(..position).unwrap_or_default());
        }
        self.may_try(generation, run, indices.first().copied());
        self.in_time(generation, &indices);
        self.alone_in_lane(generation, run.id, &indices);
        if let Some(tenure) = self.tenures.get_mut(&generation) {
            tenure.in_flight.push(run.id);
        }
        let process = self.process;
        self.runs.insert((process, run.id), Run { generation, indices, state: RunState::Flying });
        let owner = self.processes.entry(process).or_default();
        owner.flying += 1;
        let flying = owner.flying;
        if flying > self.rules.concurrency {
            self.find(Anomaly::TooManyRuns, format!("{flying} runs of {}", self.rules.concurrency));
        }
    }

    fn indices_of(&mut self, generation: Generation, run: &crate::output::Run<Letter>) -> Vec<usize> {
        let mut indices = Vec::with_capacity(run.records.len());
        let mut unknown = Vec::new();
        if let Some(tenure) = self.tenures.get(&generation) {
            let place = &self.places[tenure.place];
            for (offset, letter) in &run.records {
                match place.index_of(*offset) {
                    Some(index) if place.records[index].letter == *letter && tenure.has(index) => {
                        indices.push(index);
                    }
                    Some(_) | None => unknown.push(*letter),
                }
            }
        }
        for letter in unknown {
            self.find(Anomaly::PhantomEffect, format!("{letter} was not delivered to g{}", generation.0));
        }
        indices
    }

    fn may_call(&mut self, generation: Generation, index: usize, before: &[usize]) {
        let Some(tenure) = self.tenures.get_mut(&generation) else { return };
        let place = &self.places[tenure.place];
        let letter = place.records[index].letter;
        let finished = tenure.has_finished(index) && tenure.claims < 2;
        let given = tenure.is_below(letter.offset) || tenure.is_surely_hinted(letter.offset);
        let lane = Lane::of(letter, self.rules.ordering);
        let overtaken = tenure.overtaken(place, index, lane, before).map(|index| place.records[index].letter);
        if finished || given {
            let why = if finished { "finished by this owner" } else { "given to it as finished" };
            self.find(Anomaly::CalledAgain, format!("{letter} is {why}"));
        }
        if let Some(earlier) = overtaken {
            self.find(Anomaly::OrderInversion, format!("{letter} before {earlier} is finished"));
        }
    }

    fn may_try(&mut self, generation: Generation, run: &crate::output::Run<Letter>, first: Option<usize>) {
        let limit = self.rules.max_attempts;
        let Some(tenure) = self.tenures.get(&generation) else { return };
        let failures = first.and_then(|first| tenure.failures.get(&first)).map_or(0, |failures| failures.0);
        let begun = first.and_then(|first| tenure.begun.get(&first)).copied().unwrap_or(0);
        let shared = first.and_then(|first| tenure.shared_failures.get(&first)).copied().unwrap_or(0);
        let counted = first.and_then(|first| tenure.counted.get(&first)).copied().unwrap_or(0);
        let least = (failures.max(begun) + 1).min(limit);
        let most = limit.min(failures + shared + begun + 1);
        let uncounted = run.attempt.0 > 1 && counted.max(begun) < run.attempt.0;
        if run.attempt.0 > most || run.attempt.0 < least || uncounted {
            let detail = format!(
                "run {} is attempt {} of {limit}; {failures} failed, {shared} in company, {begun} were begun \
                 before, {counted} are counted",
                run.id.0, run.attempt.0
            );
            self.find(Anomaly::BudgetExceeded, detail);
        }
    }

    fn scheduled(&mut self, ticket: Ticket, at: Moment) {
        let born = self.processes.get(&self.process).map_or(Moment::START, |owner| owner.born);
        let at = born.plus(at.since_start());
        let latest = self.at.plus(self.rules.retry_cap);
        let Some(tenure) = self.tenures.get_mut(&ticket.generation) else { return };
        let Some(index) = self.places[tenure.place].index_of(ticket.offset) else { return };
        let asked = tenure.not_before.get(&index).copied().unwrap_or_default();
        tenure.not_before.insert(index, at.max(asked));
        if at > latest.max(asked) {
            self.find(Anomaly::RetryMistimed, format!("record {index} is put off beyond the cap"));
        }
    }

    fn in_time(&mut self, generation: Generation, indices: &[usize]) {
        let Some(tenure) = self.tenures.get(&generation) else { return };
        let now = self.at;
        let early = indices.iter().find(|index| tenure.not_before.get(index).is_some_and(|at| now < *at));
        if let Some(index) = early.copied() {
            self.find(Anomaly::RetryMistimed, format!("record {index} is tried before its moment"));
        }
    }

    fn alone_in_lane(&mut self, generation: Generation, id: RunId, indices: &[usize]) {
        let Some(tenure) = self.tenures.get(&generation) else { return };
        let records = &self.places[tenure.place].records;
        let lane = |index: &usize| Lane::of(records[*index].letter, self.rules.ordering);
        let shared = tenure.in_flight.iter().find(|other| {
            self.runs.get(&(self.process, **other)).is_some_and(|other| {
                if self.rules.ordering == Ordering::Partition {
                    return true;
                }
                other.indices.iter().any(|theirs| indices.iter().any(|mine| lane(mine) == lane(theirs)))
            })
        });
        if let Some(other) = shared.copied() {
            self.find(Anomaly::TwoRunsInLane, format!("run {} beside run {}", id.0, other.0));
        }
    }

    fn abandoned(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&(self.process, id)) else { return };
        if run.state != RunState::Flying {
            return;
        }
        run.state = RunState::Abandoned;
        if let Some(tenure) = self.tenures.get_mut(&run.generation) {
            tenure.in_flight.retain(|flying| *flying != id);
            tenure.dirty = true;
        }
        if let Some(owner) = self.processes.get_mut(&self.process) {
            owner.flying = owner.flying.saturating_sub(1);
        }
    }

    fn commit(&mut self, place: usize, generation: Generation, next: Offset, finished: &[OffsetRange]) {
        let Some(tenure) = self.tenures.get_mut(&generation) else {
            return self.find(Anomaly::ForeignCommit, format!("g{} is unknown", generation.0));
        };
        tenure.commits_asked += 1;
        if tenure.phase == Phase::Over || tenure.place != place || tenure.process != self.process {
            return self.find(Anomaly::ForeignCommit, format!("g{} is over", generation.0));
        }
        let fenced = tenure.phase == Phase::Fenced;
        let lowest = tenure.last_asked.max(tenure.start.filter(|_| self.rules.rows == RowPolicy::Follow));
        tenure.last_asked = Some(next);
        let mut passed = tenure.unfinished_below(&self.places[place], next);
        for range in finished {
            let ledger = &self.places[place];
            let inside = ledger.first_from(range.from)..ledger.first_from(range.to);
            let ahead = inside.into_iter().find(|index| {
                !tenure.knows_finished(*index, ledger.records[*index].letter.offset)
                    && !ledger.records[*index].is_finished()
            });
            passed = passed.or(ahead);
        }
        let unheard =
            passed.map(|index| (self.places[place].records[index].letter, tenure.condemned.contains(&index)));
        let untrue = self.places[place].unfinished_below(next);
        let passed = unheard.or_else(|| untrue.map(|record| (record.letter, record.condemned)));
        if fenced {
            self.find(Anomaly::StaleOwner, format!("commit {next} of the fenced g{}", generation.0));
        }
        if let Some(before) = lowest.filter(|before| next < *before) {
            self.find(Anomaly::CommitRegress, format!("g{} asks for {next} after {before}", generation.0));
        }
        match passed {
            Some((letter, true)) => {
                self.find(Anomaly::DeadLetterUnacknowledged, format!("commit {next} passes {letter}"));
            }
            Some((letter, false)) => {
                self.find(Anomaly::CommitAhead, format!("commit {next} passes {letter}"));
            }
            None => {}
        }
    }

    fn dead_letter(&mut self, dead: &DeadLetter<Letter>) {
        let limit = self.rules.max_attempts;
        let Some(tenure) = self.tenures.get_mut(&dead.ticket.generation) else { return };
        let place = &mut self.places[tenure.place];
        let Some(index) = place.index_of(dead.ticket.offset) else {
            return self.find(Anomaly::PhantomEffect, format!("dead letter {}", dead.payload));
        };
        place.records[index].condemned = true;
        if !tenure.condemned.contains(&index) {
            tenure.condemned.push(index);
        }
        let over = tenure.phase == Phase::Over;
        let same = place.records[index].letter == dead.payload;
        let (failures, last) = tenure.failures.get(&index).cloned().unwrap_or_default();
        let shared = tenure.shared_failures.get(&index).copied().unwrap_or(0);
        let begun = tenure.begun.get(&index).copied().unwrap_or(0);
        let founded = match (dead.reason, &last) {
            (Reason::Exhausted | Reason::TimedOut, Some(Class::Transient { .. })) => true,
            (Reason::Exhausted | Reason::TimedOut | Reason::CrashLoop, None) => begun >= limit,
            (reason, Some(Class::Dead(told))) => reason == *told,
            _ => false,
        };
        if !same || !founded {
            let detail = format!("{} is dead for {}, last told {last:?}", dead.payload, dead.reason);
            self.find(Anomaly::DeadLetterAltered, detail);
        }
        if over {
            self.find(Anomaly::StaleOwner, format!("dead letter {} of an ended assignment", dead.payload));
        }
        let early = matches!(last, Some(Class::Transient { .. })) && begun + failures + shared < limit;
        if early || dead.attempts > limit {
            let detail = format!("{} died after {} attempts of {limit}", dead.payload, dead.attempts);
            self.find(Anomaly::BudgetExceeded, detail);
        }
    }

    fn released(&mut self, generation: Generation, unfinished: usize) {
        let Some(tenure) = self.tenures.get_mut(&generation) else { return };
        let late = matches!(tenure.phase, Phase::Draining(deadline) if deadline <= self.at);
        let held = tenure.unfinished(&self.places[tenure.place]);
        // After a second claim its own knowledge may be older than the row.
        let miscounted = held != unfinished && !late && tenure.claims < 2;
        tenure.end(self.entry);
        tenure.dirty |= !tenure.condemned.is_empty();
        if let Some(run) = tenure.in_flight.first().copied() {
            self.find(Anomaly::ReleasedInFlight, format!("run {} of g{}", run.0, generation.0));
        }
        if miscounted {
            let detail = format!("g{} leaves {held} records and says {unfinished}", generation.0);
            self.find(Anomaly::UnaccountedRecord, detail);
        }
    }
}
