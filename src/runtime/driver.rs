//! The loop around the core: await one happening, tell the processor, execute what it answers.

mod told;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postroom_core::{Generation, Input, Moment, Offset, Output, Processor, Run, Settings};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

use crate::event::RawRecord;
use crate::ports::{Edge, EdgeError, EdgeEvent};
use crate::runtime::claims::{ClaimAnswer, Claims};
use crate::runtime::clock::Clock;
use crate::runtime::ending::Ending;
use crate::runtime::group::Group;
use crate::runtime::inbox::{Control, Happening, Inbox, Ways};
use crate::runtime::logs::Logs;
use crate::runtime::observe::Observer;
use crate::runtime::start::StartRules;
use crate::runtime::worker::{Desk, RunEnd, SharedClaim};
use crate::runtime::workers::{Completion, Workers};
use crate::telemetry::{GroupMetrics, GroupState};

/// How often it is looked whether the edge, which holds records back, may fetch on.
const HELD_BACK_INTERVAL: Duration = Duration::from_millis(10);
/// How much longer than the drain the consumer may take to leave its group.
const CLOSE_MARGIN: Duration = Duration::from_secs(5);

/// What a driver is built with.
pub(crate) struct Parts {
    pub(crate) group: Group,
    pub(crate) desk: Desk,
    pub(crate) settings: Settings,
    pub(crate) rules: StartRules,
    pub(crate) edge: Arc<dyn Edge>,
    pub(crate) events: UnboundedReceiver<EdgeEvent>,
    pub(crate) metrics: Arc<GroupMetrics>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) clock: Clock,
    /// Where handlers run.
    pub(crate) threads: Handle,
    /// How long a group that ends by itself may drain.
    pub(crate) shutdown_deadline: Duration,
}

/// One group's loop.
pub(crate) struct Driver {
    workers: Workers,
    processor: Processor<RawRecord>,
    edge: Arc<dyn Edge>,
    clock: Clock,
    claims: Claims,
    observer: Observer,
    shutdown_deadline: Duration,
    inbox: Inbox,
    held: HashMap<Generation, SharedClaim>,
    ending: Option<Ending>,
    closing: bool,
    dispatched: Vec<(Run<RawRecord>, SharedClaim)>,
    /// Where assignments begin, to be told when the outputs of that decision are executed.
    decided: Vec<(Generation, Offset)>,
    /// Records taken from the edge that it still counts as waiting.
    untold: usize,
    /// What those weigh.
    untold_bytes: usize,
    /// The moment of this round.
    now: Moment,
}

impl Driver {
    /// Puts a driver together; what comes with it tells it to drain, and so does dropping that.
    pub(crate) fn new(parts: Parts) -> (Self, UnboundedSender<Control>) {
        let Parts {
            group,
            desk,
            settings,
            rules,
            edge,
            events,
            metrics,
            logs,
            clock,
            threads,
            shutdown_deadline,
        } = parts;
        let (inbox, Ways { reports, answers, control }) = Inbox::new(events);
        let desk = Arc::new(desk);
        let (name, store) = (Arc::clone(&desk.group), Arc::clone(&desk.store));
        let driver = Self {
            processor: Processor::new(settings),
            clock,
            workers: Workers::new(group.worker, Arc::clone(&desk), group.placement, threads, reports),
            claims: Claims::new(name, rules, store, Arc::clone(&edge), answers),
            observer: Observer::new(metrics, logs, desk),
            edge,
            shutdown_deadline,
            inbox,
            held: HashMap::new(),
            ending: None,
            closing: false,
            dispatched: Vec::new(),
            decided: Vec::new(),
            untold: 0,
            untold_bytes: 0,
            now: clock.now(),
        };
        (driver, control)
    }

    /// Runs until the group has ended and its consumer is closed.
    pub(crate) async fn run(mut self) -> Ending {
        loop {
            let wake = self.processor.next_deadline().map(|moment| self.clock.instant(moment));
            let happening = self.inbox.next(self.wake(wake)).await;
            self.now = self.clock.now();
            if let Happening::Edge(EdgeEvent::Stopped(result)) = happening {
                return self.stopped(result);
            }
            self.take(happening);
            self.take_what_is_there();
            self.execute_all();
            self.fetch_on();
            self.refresh_status();
        }
    }

    /// Looks soon again whether the edge may fetch on, while it holds records back.
    fn wake(&self, deadline: Option<Instant>) -> Option<Instant> {
        if self.untold == 0 {
            return deadline;
        }
        let look = Instant::now() + HELD_BACK_INTERVAL;
        Some(deadline.map_or(look, |deadline| deadline.min(look)))
    }

    /// Lets the edge fetch on while the core has room.
    fn fetch_on(&mut self) {
        if self.untold > 0 && self.processor.wants_more() {
            self.edge.taken(std::mem::take(&mut self.untold), std::mem::take(&mut self.untold_bytes));
        }
    }

    /// Takes a bounded number of further happenings, so that one round of outputs serves them all.
    fn take_what_is_there(&mut self) {
        for _ in 0..64 {
            let Some(happening) = self.inbox.completed_meanwhile() else { break };
            self.take(happening);
        }
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Edge(event) => self.take_edge_event(event),
            Happening::Completed(completions) => {
                let completions = self.workers.standing(completions);
                self.observer.completed(&completions);
                for completion in completions {
                    self.take_completion(completion);
                }
            }
            Happening::Claimed(answer) => self.take_claim(answer),
            Happening::Control(Control::Drain { within }) => self.drain(within),
            Happening::Tick => self.tell(Input::Tick),
        }
    }

    fn take_completion(&mut self, completion: Completion) {
        match completion.report.end {
            RunEnd::Ended(result) => self.tell(Input::Completed { run: completion.run, result }),
            RunEnd::Fenced => {
                let generation = completion.generation;
                let dropped = self.tell_of(generation, Input::Fenced { generation });
                self.observer.given_back(&completion.partition, dropped);
            }
        }
    }

    /// Tells something of an assignment, and returns how many unfinished records of it were dropped for that.
    fn tell_of(&mut self, generation: Generation, input: Input<RawRecord>) -> usize {
        let held = self.processor.unfinished(generation);
        self.tell(input);
        held.saturating_sub(self.processor.unfinished(generation))
    }

    fn take_claim(&mut self, answer: ClaimAnswer) {
        match answer {
            // Nothing of an assignment that is over is kept.
            ClaimAnswer::Claimed { generation, .. } | ClaimAnswer::Refused { generation, .. }
                if !self.claims.holds(generation) => {}
            ClaimAnswer::Claimed { mut claim, generation, next, removed } => {
                self.observer.store_answers(true);
                if let Some(range) = removed {
                    self.observer.removed(&claim.partition, range);
                }
                let attempts = std::mem::take(&mut claim.attempts);
                let topic = claim.partition.topic.clone();
                self.held.insert(generation, Arc::new(Mutex::new(claim)));
                let below =
                    self.tell_of(generation, Input::Claimed { generation, next: Some(next), attempts });
                self.observer.passed_over(topic.as_str(), below);
                self.decided.push((generation, next));
            }
            ClaimAnswer::Away { generation } => {
                self.observer.store_answers(false);
                self.tell(Input::ClaimFailed { generation });
            }
            ClaimAnswer::Refused { refusal, .. } => {
                tracing::error!(reason = %refusal, "the group may not start here");
                self.end(Ending::Refused(refusal));
            }
            ClaimAnswer::Passed { ticket } => self.tell(Input::DeadLettered { ticket }),
        }
    }

    fn tell(&mut self, input: Input<RawRecord>) {
        self.processor.handle(self.now, input);
    }

    fn execute_all(&mut self) {
        while let Some(output) = self.processor.poll_output() {
            self.execute(output);
        }
        if !self.dispatched.is_empty() {
            self.workers.start(std::mem::take(&mut self.dispatched));
        }
        // The seeks are asked for by now.
        for (generation, next) in self.decided.drain(..) {
            self.edge.claimed(generation, next);
        }
    }

    /// Executes, counts and logs one output: the one place for each.
    fn execute(&mut self, output: Output<RawRecord>) {
        self.observer.output(self.now, &output);
        match output {
            Output::Claim { partition, generation } => self.claims.claim(partition, generation),
            Output::Verify { generation } => self.edge.verify(generation),
            Output::Seek { partition, generation, offset, epoch } => {
                self.edge.seek(&partition, generation, offset, epoch);
            }
            Output::Dispatch(run) => {
                if let Some(claim) = self.held.get(&run.generation) {
                    self.dispatched.push((run, Arc::clone(claim)));
                }
            }
            Output::Abandon { run } => self.workers.abandon(run),
            Output::CountAttempt { partition, ticket, attempt } => {
                self.claims.count_attempt(partition, ticket.offset, attempt);
            }
            Output::RetryScheduled { .. } | Output::Circuit { .. } => {}
            Output::DeadLetter(letter) => self.edge.dead_letter(letter),
            Output::Commit { partition, generation, next, finished } => {
                self.edge.commit(&partition, generation, next, &finished);
            }
            Output::Pause { generation, .. } => self.edge.pause(generation),
            Output::Resume { generation, .. } => self.edge.resume(generation),
            Output::Released { generation, .. } => {
                self.held.remove(&generation);
                self.claims.released(generation);
                self.edge.released(generation);
            }
            Output::Halt { cause } => self.end(Ending::Halted(cause)),
            Output::Drained { abandoned } => self.drained(abandoned),
        }
    }

    /// Notes why the group ends, once, and drains.
    fn end(&mut self, ending: Ending) {
        self.observer.halted(ending.to_string());
        self.ending.get_or_insert(ending);
        self.drain(self.shutdown_deadline);
    }

    /// Drains; asked again, by the earlier of the deadlines.
    fn drain(&mut self, within: Duration) {
        self.observer.state(GroupState::Draining);
        self.tell(Input::Drain { deadline: self.now.plus(within) });
    }

    fn drained(&mut self, abandoned: usize) {
        let ending = if abandoned == 0 { Ending::Drained } else { Ending::DeadlinePassed { abandoned } };
        self.ending.get_or_insert(ending);
        if !self.closing {
            self.closing = true;
            self.edge.close(self.now.plus(CLOSE_MARGIN));
        }
    }

    fn stopped(&mut self, result: Result<(), EdgeError>) -> Ending {
        self.observer.state(GroupState::Stopped);
        self.refresh_status();
        let ending = self.ending.take();
        match (ending, result) {
            (Some(ending), Ok(())) => ending,
            (Some(ending), Err(error)) => {
                tracing::warn!(%error, "the consumer did not close cleanly");
                ending
            }
            (None, Ok(())) => Ending::Drained,
            (None, Err(error)) => Ending::Edge(error),
        }
    }

    fn refresh_status(&mut self) {
        let processor = &self.processor;
        self.observer.publish(self.now, self.edge.rounds(), || processor.snapshot());
    }
}
