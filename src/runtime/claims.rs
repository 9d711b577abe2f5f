//! Claiming a partition: the store's row, Kafka's commit and the log's range decide where it goes on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use postroom_core::{Attempt, Generation, Offset, OffsetRange, Start, Ticket, TopicPartition};
use tokio::sync::mpsc::UnboundedSender;

use crate::ports::{Claim, CommittedPosition, Edge, Guard, Store, StoreError, Unit};
use crate::runtime::letters::Request;
use crate::runtime::start::StartRules;
use crate::runtime::worker::SharedClaim;

/// The outcome of a claim.
#[derive(Debug)]
pub(crate) enum ClaimAnswer {
    /// It is ours; go on at `next` (`None`: where Kafka says), behind what was `removed` from the log.
    Claimed { generation: Generation, claim: Claim, next: Offset, removed: Option<OffsetRange> },
    /// The store or the broker is away: to be asked again.
    Away { generation: Generation },
    /// The group must not start here.
    Refused { generation: Generation, refusal: Refusal },
    /// A dead letter is acknowledged, and the store's position is past its record.
    Passed { ticket: Ticket },
}

/// Why a group may not start where it would have to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The partition.
    pub partition: TopicPartition,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.partition, self.message)
    }
}

/// Makes claims beside the loop.
pub(crate) struct Claims {
    asker: Arc<Asker>,
    answers: UnboundedSender<ClaimAnswer>,
    committed: HashMap<Generation, Option<CommittedPosition>>,
}

struct Asker {
    group: Arc<str>,
    rules: StartRules,
    store: Arc<dyn Store>,
    edge: Arc<dyn Edge>,
}

impl Claims {
    pub(crate) fn new(
        group: Arc<str>,
        rules: StartRules,
        store: Arc<dyn Store>,
        edge: Arc<dyn Edge>,
        answers: UnboundedSender<ClaimAnswer>,
    ) -> Self {
        Self { asker: Arc::new(Asker { group, rules, store, edge }), answers, committed: HashMap::new() }
    }

    /// Notes what Kafka's commit said at an assignment.
    pub(crate) fn assigned(&mut self, generation: Generation, committed: Option<CommittedPosition>) {
        self.committed.insert(generation, committed);
    }

    /// Forgets an assignment.
    pub(crate) fn released(&mut self, generation: Generation) {
        self.committed.remove(&generation);
    }

    /// Says whether an assignment has not been released.
    pub(crate) fn holds(&self, generation: Generation) -> bool {
        self.committed.contains_key(&generation)
    }

    /// Asks the store and the broker; the answer comes through the inbox.
    pub(crate) fn claim(&self, partition: TopicPartition, generation: Generation) {
        let asker = Arc::clone(&self.asker);
        let answers = self.answers.clone();
        let committed = self.committed.get(&generation).cloned().flatten();
        tokio::spawn(async move {
            let answer = asker.ask(partition, generation, committed).await;
            // A closed inbox means that the group has ended: nobody waits for the answer.
            drop(answers.send(answer));
        });
    }

    /// Moves the store's position past a record whose dead letter is acknowledged, so that no later owner takes the
    /// record again, and closes the request that it carried; the answer comes through the inbox, whatever the store says.
    /// `false` where the store has nothing to do.
    pub(crate) fn pass(&self, ticket: Ticket, claim: Option<&SharedClaim>, request: Option<Request>) -> bool {
        let claim = claim.filter(|_| self.asker.rules.keep_positions()).cloned();
        if claim.is_none() && request.is_none() {
            return false;
        }
        let (asker, answers) = (Arc::clone(&self.asker), self.answers.clone());
        tokio::spawn(async move {
            if let Some(claim) = claim {
                asker.pass(ticket.offset.next(), &claim).await;
            }
            if let Some(request) = request {
                request.dies(&*asker.store).await;
            }
            drop(answers.send(ClaimAnswer::Passed { ticket }));
        });
        true
    }

    /// Keeps the number of an attempt over restarts; a store that is away costs only the count.
    pub(crate) fn count_attempt(&self, partition: TopicPartition, offset: Offset, attempt: Attempt) {
        let asker = Arc::clone(&self.asker);
        tokio::spawn(async move {
            let kept = asker.store.count_attempt(&asker.group, &partition, offset, attempt).await;
            if let Err(error) = kept {
                tracing::warn!(%partition, %offset, %error, "the attempt was not counted");
            }
        });
    }
}

impl Asker {
    async fn ask(
        &self,
        partition: TopicPartition,
        generation: Generation,
        committed: Option<CommittedPosition>,
    ) -> ClaimAnswer {
        let mut claim = match self.store.claim(&self.group, &partition).await {
            Ok(claim) => claim,
            Err(StoreError::Away(error)) => {
                tracing::warn!(%partition, %error, "the store is away: the claim is repeated");
                return ClaimAnswer::Away { generation };
            }
            Err(error @ (StoreError::Refused(_) | StoreError::Unusable(_))) => {
                let refusal = Refusal { partition, message: error.to_string() };
                return ClaimAnswer::Refused { generation, refusal };
            }
        };
        let log = match self.edge.log_range(&partition).await {
            Ok(log) => log,
            Err(error) => {
                tracing::warn!(%partition, %error, "the log's range is not known: the claim is repeated");
                return ClaimAnswer::Away { generation };
            }
        };
        match self.rules.decide(&partition, claim.next, committed.as_ref(), log, self.store.id()) {
            Ok(Start { next, removed }) => {
                self.forget_finished(&mut claim, next).await;
                ClaimAnswer::Claimed { generation, claim, next, removed }
            }
            Err(message) => ClaimAnswer::Refused { generation, refusal: Refusal { partition, message } },
        }
    }

    /// Removes the attempts at records that are finished, where the store does not know by its own position.
    async fn forget_finished(&self, claim: &mut Claim, next: Offset) {
        let held = claim.attempts.len();
        claim.attempts.retain(|(offset, _)| *offset >= next);
        if claim.attempts.len() == held || self.rules.keeps_position(&claim.partition) {
            return;
        }
        if let Err(error) = self.store.forget_attempts(&self.group, &claim.partition, next).await {
            tracing::debug!(partition = %claim.partition, %error, "attempts at finished records were not removed");
        }
    }

    async fn pass(&self, next: Offset, claim: &SharedClaim) {
        let mut claim = claim.lock().await;
        if !self.rules.keeps_position(&claim.partition) || claim.next.is_some_and(|own| own >= next) {
            return;
        }
        let unit = Unit { guard: Guard::Position { next }, changes: Vec::new() };
        // The next batch moves the position too. A foreign epoch shows there as well.
        if let Err(error) = self.store.apply(&mut claim, unit).await {
            let partition = &claim.partition;
            tracing::warn!(%partition, %next, %error, "the position was not moved past a dead letter");
        }
    }
}
