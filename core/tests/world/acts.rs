//! What may happen to a group: assignments, answers, ends of runs, and what comes too late.

use super::*;

impl World {
    pub(super) fn assign(&mut self, partition: i32, b: u16) -> Result<(), String> {
        let older = self.held.iter().find(|(_, held)| held.partition == partition).map(|(at, _)| *at);
        if older.is_some() && !b.is_multiple_of(8) {
            return Ok(());
        }
        let generation = self.next_generation;
        self.next_generation += 1;
        let truth = &self.truth[&partition];
        let from_store = self.settings.claims == Claims::FromStore;
        let fetch = match truth.commit {
            Some(commit) => commit,
            None if from_store => i64::from(b % 20),
            None => 0,
        };
        let start = (truth.commit.is_some() && !b.is_multiple_of(3)).then_some(Offset(fetch));
        let hint = truth.hint.clone();
        self.held.insert(
            generation,
            Held {
                partition,
                claiming: from_store,
                fetch,
                committed: start.map(|o| o.0),
                hint: hint.clone(),
                ..Held::default()
            },
        );
        self.tell(Input::Assigned {
            partition: name(partition),
            generation: Generation(generation),
            start,
            finished: hint,
        })?;
        if let Some(older) = older
            && self.held.contains_key(&older)
        {
            return Err(format!("{older} was not released when {generation} took its place"));
        }
        Ok(())
    }

    pub(super) fn fetch(&mut self, owner: u64, count: usize, late: bool) -> Result<(), String> {
        let Some(held) = self.held.get_mut(&owner) else { return Ok(()) };
        if held.paused && !(late && held.late) {
            return Ok(());
        }
        if held.paused {
            held.late = false;
        }
        let offsets: Vec<i64> = (held.fetch..END).filter(|offset| exists(*offset)).take(count).collect();
        let Some(last) = offsets.last() else { return Ok(()) };
        held.fetch = last + 1;
        // A seek drops the hint: the store knows better.
        let hint: &[OffsetRange] = if held.epoch == 0 { &held.hint } else { &[] };
        if !held.fenced && !held.revoked {
            for offset in &offsets {
                let known = self.truth[&held.partition].attempts.get(offset).copied().unwrap_or(0);
                let hinted = hint.iter().any(|range| range.contains(Offset(*offset)));
                let failed = if self.settings.claims == Claims::FromStore { known } else { 0 };
                let finished = hinted || *offset < held.claimed_to;
                let seen = Seen { failed, finished, ..Seen::default() };
                held.received.entry(*offset).or_insert(seen);
            }
        }
        let (generation, epoch) = (Generation(owner), FetchEpoch(held.epoch));
        let records = offsets.into_iter().map(record).collect();
        self.tell(Input::Records { generation, epoch, records })
    }

    pub(super) fn end_run(&mut self, a: usize, b: u16) -> Result<(), String> {
        let Some((run, (owner, offsets))) = nth(&self.runs, a) else { return Ok(()) };
        let failure = match b / 16 % 8 {
            0 => Failure::new(Class::Outage(Dependency(["smtp", "store"][a % 2].into())), "away", ""),
            1 | 2 => Failure::new(Class::Dead(Reason::Rejected), "refused", ""),
            3 => transient(Some(Duration::from_millis(u64::from(b) % 900)), Ended::ByDeadline),
            _ => transient(None, Ended::ByError),
        };
        let result = match b % 8 {
            0 | 1 => RunResult::Failed(failure),
            2 | 3 => {
                let good = usize::from(b / 128) % offsets.len();
                let mut outcomes = vec![Outcome::Done; good];
                outcomes.push(Outcome::Failed(failure));
                outcomes.resize(offsets.len(), Outcome::Done);
                RunResult::Each(outcomes)
            }
            4 => RunResult::Each(vec![Outcome::Skipped; offsets.len()]),
            5 => RunResult::Each(vec![Outcome::Deferred; usize::from(b / 128) % offsets.len() + 1]),
            _ => RunResult::Done,
        };
        self.complete(run, owner, &offsets, result)
    }

    pub(super) fn complete(
        &mut self,
        run: RunId,
        owner: u64,
        offsets: &[i64],
        result: RunResult,
    ) -> Result<(), String> {
        self.runs.remove(&run);
        if self.probe == Some(run) {
            self.probe = None;
        }
        let most = self.settings.retry.max_attempts.get();
        let held = self.held.get_mut(&owner).unwrap();
        let (good, failure) = match &result {
            RunResult::Done => (offsets.len(), None),
            RunResult::Failed(failure) => (0, Some(failure)),
            RunResult::Each(outcomes) => {
                let good =
                    outcomes.iter().take_while(|outcome| !matches!(outcome, Outcome::Failed(_))).count();
                let failure = match outcomes.get(good) {
                    Some(Outcome::Failed(failure)) => Some(failure),
                    _ => None,
                };
                (good, failure)
            }
        };
        for offset in &offsets[..good] {
            held.received.get_mut(offset).unwrap().finished = true;
            self.truth.get_mut(&held.partition).unwrap().finished.insert(*offset);
        }
        let shared = matches!(result, RunResult::Failed(_)) && offsets.len() > 1;
        if let Some(failure) = failure {
            let seen = held.received.get_mut(&offsets[good]).unwrap();
            match failure.class {
                Class::Transient { .. } if shared => seen.failed = (seen.failed + 1).min(most - 1),
                Class::Transient { .. } => seen.failed += 1,
                Class::Dead(_) => seen.doomed |= !shared,
                Class::Outage(_) | Class::Fatal => {}
            }
        }
        self.old_runs.push(run);
        self.tell(Input::Completed { run, result })
    }

    pub(super) fn answer_claim(&mut self, owner: u64, fails: bool) -> Result<(), String> {
        let Some(held) = self.held.get_mut(&owner) else { return Ok(()) };
        if !held.claiming || held.revoked {
            return Ok(());
        }
        let generation = Generation(owner);
        if fails {
            return self.tell(Input::ClaimFailed { generation });
        }
        held.claiming = false;
        held.fenced = false;
        let truth = &self.truth[&held.partition];
        let row = (0..END).find(|offset| exists(*offset) && !truth.finished.contains(offset)).unwrap_or(END);
        let next = (row > 0 || held.fetch > 0).then_some(Offset(row));
        held.claimed_to = row;
        for (offset, seen) in &mut held.received {
            seen.finished |= *offset < row;
        }
        let attempts =
            truth.attempts.iter().map(|(offset, begun)| (Offset(*offset), Attempt(*begun))).collect();
        self.tell(Input::Claimed { generation, next, attempts })
    }

    pub(super) fn answer_commit(&mut self, owner: u64, fails: bool) -> Result<(), String> {
        let held = self.held.get_mut(&owner).unwrap();
        let generation = Generation(owner);
        if held.unanswered.is_empty() {
            return Ok(());
        }
        let (next, finished) = held.unanswered.remove(0);
        if fails {
            return self.tell(Input::CommitFailed { generation });
        }
        let truth = self.truth.get_mut(&held.partition).unwrap();
        truth.commit = truth.commit.max(Some(next));
        truth.hint = finished;
        self.tell(Input::Committed { generation, next: Offset(next) })
    }

    pub(super) fn answer_letter(&mut self, a: usize, acknowledged: bool) -> Result<(), String> {
        let mut sent = Vec::new();
        for (owner, held) in &self.held {
            let letters = held.received.iter().filter(|(_, seen)| seen.dead == Some(Letter::Sent));
            sent.extend(letters.map(|(offset, _)| (*owner, *offset)));
        }
        let Some((owner, offset)) = sent.get(a % sent.len().max(1)).copied() else { return Ok(()) };
        let held = self.held.get_mut(&owner).unwrap();
        let seen = held.received.get_mut(&offset).unwrap();
        let ticket = Ticket { generation: Generation(owner), offset: Offset(offset) };
        if acknowledged {
            seen.finished = true;
            seen.dead = None;
            self.truth.get_mut(&held.partition).unwrap().finished.insert(offset);
            self.tell(Input::DeadLettered { ticket })
        } else {
            seen.dead = Some(Letter::Refused);
            self.tell(Input::DeadLetterFailed { ticket })
        }
    }

    pub(super) fn revoke(&mut self, owner: u64, b: u16) -> Result<(), String> {
        let deadline = self.now.plus(Duration::from_millis(u64::from(b) % 1_000));
        self.held.get_mut(&owner).unwrap().revoked = true;
        self.tell(Input::Revoked { generations: vec![Generation(owner)], deadline })
    }

    pub(super) fn lose(&mut self, owner: u64) -> Result<(), String> {
        let commits = self.journal.iter().filter(|line| line.starts_with("Commit")).count();
        self.tell(Input::Lost { generations: vec![Generation(owner)] })?;
        if self.held.contains_key(&owner) {
            return Err("a lost partition was not released".into());
        }
        let after = self.journal.iter().filter(|line| line.starts_with("Commit")).count();
        if after > commits { Err("a lost partition was committed".into()) } else { Ok(()) }
    }

    pub(super) fn fence(&mut self, owner: u64) -> Result<(), String> {
        let runs = self.runs_of(owner);
        let held = self.held.get_mut(&owner).unwrap();
        if self.settings.claims == Claims::AtOnce || held.claiming || held.fenced {
            return Ok(());
        }
        held.received.clear();
        held.fenced = true;
        self.tell(Input::Fenced { generation: Generation(owner) })?;
        if runs.iter().any(|run| self.runs.contains_key(run)) {
            return Err("a fenced partition's run was not abandoned".into());
        }
        Ok(())
    }

    pub(super) fn verify(&mut self, owner: u64) -> Result<(), String> {
        let Some(held) = self.held.get_mut(&owner) else { return Ok(()) };
        if !std::mem::take(&mut held.verify) || held.revoked {
            return Ok(());
        }
        held.claiming = true;
        self.tell(Input::Verified { generation: Generation(owner) })
    }

    /// Says something of what is gone: nothing may follow.
    pub(super) fn stale(&mut self, a: u16, b: u16) -> Result<(), String> {
        let offset = Offset(i64::from(b) % END);
        let old = self.old_generations.get(usize::from(a) % self.old_generations.len().max(1));
        let input = match (a % 7, old) {
            (0 | 1, _) => {
                let at = usize::from(b) % self.old_runs.len().max(1);
                let Some(run) = self.old_runs.get(at).copied() else { return Ok(()) };
                Input::Completed { run, result: RunResult::Done }
            }
            (_, None) => return Ok(()),
            (kind, Some(old)) => {
                let generation = Generation(*old);
                match kind {
                    2 => Input::DeadLettered { ticket: Ticket { generation, offset } },
                    3 => Input::Claimed { generation, next: Some(offset), attempts: vec![] },
                    4 => Input::Fenced { generation },
                    5 => Input::Records { generation, epoch: FetchEpoch(0), records: vec![record(offset.0)] },
                    _ => Input::Lost { generations: vec![generation] },
                }
            }
        };
        let (before, lines) = (format!("{:?}", self.processor.snapshot()), self.journal.len());
        let what = format!("{input:?}");
        self.tell(input)?;
        if self.journal.len() > lines || format!("{:?}", self.processor.snapshot()) != before {
            return Err(format!("{what} had an effect"));
        }
        Ok(())
    }
}
