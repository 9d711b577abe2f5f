//! The reference model: whether an output was allowed.

use super::*;

impl World {
    pub(super) fn check(&mut self, output: Output<i64>) -> Result<(), &'static str> {
        match output {
            Output::Dispatch(run) => {
                let owner = run.generation.0;
                let offsets: Vec<i64> = run.records.iter().map(|(offset, _)| offset.0).collect();
                self.check_dispatch(run.id, owner, run.attempt, &offsets)?;
                self.runs.insert(run.id, (owner, offsets));
                rule(self.runs.len() <= self.settings.concurrency.get(), "the concurrency is exceeded")
            }
            Output::Abandon { run } => {
                self.old_runs.push(run);
                if self.probe == Some(run) {
                    self.probe = None;
                }
                rule(self.runs.remove(&run).is_some(), "a run is abandoned that is not in flight")
            }
            Output::CountAttempt { partition, ticket, attempt } => {
                rule(attempt.0 >= 2, "a first attempt is counted")?;
                let truth = self.truth.get_mut(&partition.partition.0).unwrap();
                truth.attempts.insert(ticket.offset.0, attempt.0);
                Ok(())
            }
            Output::RetryScheduled { ticket, attempt, at, .. } => {
                let (now, most) = (self.now, self.settings.retry.max_attempts.get());
                let seen = self.seen(ticket)?;
                seen.until = at;
                rule(at > now, "a retry is scheduled in the past")?;
                rule(
                    seen.failed == attempt.0 || seen.failed + 1 == most,
                    "a scheduled retry names the wrong attempt",
                )
            }
            Output::DeadLetter(letter) => {
                let most = self.settings.retry.max_attempts.get();
                let seen = self.seen(letter.ticket)?;
                rule(!seen.finished && seen.dead != Some(Letter::Sent), "dead-lettered twice")?;
                rule(seen.doomed || seen.failed >= most, "dead-lettered without a reason")?;
                seen.dead = Some(Letter::Sent);
                Ok(())
            }
            Output::Commit { generation, next, finished, .. } => {
                self.check_commit(generation.0, next.0, finished)
            }
            Output::Pause { generation, .. } => {
                let held = self.current(generation)?;
                rule(!held.paused, "paused twice")?;
                held.paused = true;
                held.late = true;
                Ok(())
            }
            Output::Resume { generation, .. } => {
                let held = self.current(generation)?;
                rule(held.paused, "resumed twice")?;
                held.paused = false;
                Ok(())
            }
            Output::Seek { generation, offset, epoch, .. } => {
                let held = self.held.get_mut(&generation.0).ok_or("a stale seek")?;
                rule(epoch.0 == held.epoch + 1, "a seek without a new epoch")?;
                held.epoch = epoch.0;
                held.fetch = offset.0;
                held.received.clear();
                Ok(())
            }
            Output::Verify { generation } => {
                self.held.get_mut(&generation.0).ok_or("a stale question")?.verify = true;
                Ok(())
            }
            Output::Claim { generation, .. } => rule(self.held.contains_key(&generation.0), "a stale claim"),
            Output::Released { generation, .. } => {
                let in_flight = self.runs.values().any(|(owner, _)| *owner == generation.0);
                rule(!in_flight, "released while in flight")?;
                self.old_generations.push(generation.0);
                rule(self.held.remove(&generation.0).is_some(), "released twice")
            }
            Output::Circuit { dependency, state } => {
                match state {
                    CircuitState::Closed => self.circuits.remove(&dependency),
                    CircuitState::HalfOpen | CircuitState::Open { .. } => self.circuits.insert(dependency),
                };
                Ok(())
            }
            Output::Halt { .. } => Err("halted"),
            Output::Drained { .. } => {
                rule(!self.drained, "drained twice")?;
                self.drained = true;
                Ok(())
            }
        }
    }

    pub(super) fn check_dispatch(
        &mut self,
        run: RunId,
        owner: u64,
        attempt: Attempt,
        offsets: &[i64],
    ) -> Result<(), &'static str> {
        let ordering = self.settings.ordering;
        let held = self.held.get(&owner).ok_or("dispatched for a partition that is not ours")?;
        rule(!held.claiming && !held.fenced, "dispatched without a claim")?;
        rule(!held.revoked, "dispatched after a revoke")?;
        let first = offsets.first().ok_or("an empty run")?;
        let begun = held.received.get(first).ok_or("dispatched what did not arrive")?;
        rule(attempt.0 == begun.failed + 1, "the attempt is miscounted")?;
        rule(attempt.0 <= self.settings.retry.max_attempts.get(), "an attempt beyond the budget")?;
        if attempt.0 > 1 {
            let counted = self.truth[&held.partition].attempts.get(first).copied();
            rule(counted >= Some(attempt.0), "an attempt was not counted before it began")?;
        }
        rule(offsets.len() <= self.settings.batch.get(), "a run is too long")?;
        rule(offsets.is_sorted(), "a run is out of order")?;
        for offset in offsets {
            let seen = held.received.get(offset).ok_or("dispatched what did not arrive")?;
            rule(!seen.finished, "dispatched what is finished")?;
            rule(seen.dead.is_none(), "dispatched what is dead-lettered")?;
            rule(seen.until <= self.now, "dispatched before its retry is due")?;
            let in_flight = self.runs.values().any(|(other, run)| *other == owner && run.contains(offset));
            rule(!in_flight, "dispatched what is in flight")?;
            let waits = |(earlier, seen): (&i64, &Seen)| {
                !seen.finished
                    && !offsets.contains(earlier)
                    && match ordering {
                        Ordering::Partition => true,
                        Ordering::Key => key(*earlier) == key(*offset),
                        Ordering::Unordered => false,
                    }
            };
            let overtaken = held.received.range(..offset).any(waits);
            rule(!overtaken, "overtook an unfinished record")?;
        }
        if !self.circuits.is_empty() {
            rule(self.probe.is_none(), "dispatched into an open circuit")?;
            self.probe = Some(run);
        }
        Ok(())
    }

    pub(super) fn check_commit(
        &mut self,
        owner: u64,
        next: i64,
        finished: Vec<OffsetRange>,
    ) -> Result<(), &'static str> {
        let held = self.held.get_mut(&owner).ok_or("committed what is not ours")?;
        rule(!held.fenced, "committed while fenced")?;
        rule(held.committed.is_none_or(|before| before <= next), "a commit went back")?;
        held.committed = Some(next);
        let truth = &self.truth[&held.partition];
        let open = |offset: &i64| exists(*offset) && !truth.finished.contains(offset);
        rule(!(0..next.min(END)).any(|offset| open(&offset)), "a commit passed an unfinished record")?;
        let mut before = next - 1;
        for range in &finished {
            rule(
                range.from.0 > before && range.from < range.to,
                "finished ranges touch or are out of order",
            )?;
            before = range.to.0;
            rule(
                !(range.from.0..range.to.0).any(|offset| open(&offset)),
                "an unfinished record is said finished",
            )?;
        }
        held.unanswered.push((next, finished));
        Ok(())
    }

    pub(super) fn seen(&mut self, ticket: Ticket) -> Result<&mut Seen, &'static str> {
        let held = self.held.get_mut(&ticket.generation.0).ok_or("speaks of a partition that is not ours")?;
        held.received.get_mut(&ticket.offset.0).ok_or("speaks of a record that did not arrive")
    }

    pub(super) fn current(&mut self, generation: Generation) -> Result<&mut Held, &'static str> {
        self.held.get_mut(&generation.0).ok_or("flow control of a partition that is not ours")
    }
}

fn rule(holds: bool, name: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(name) }
}
