//! The loop around the core: await one happening, tell the processor, execute what it answers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postroom_core::{Generation, HaltCause, Input, Output, Processor, Run};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::event::RawRecord;
use crate::ports::{Edge, EdgeError, EdgeEvent};
use crate::runtime::claims::{ClaimAnswer, Claims, Refusal};
use crate::runtime::clock::Clock;
use crate::runtime::observe::Observer;
use crate::runtime::worker::{RunEnd, SharedClaim};
use crate::runtime::workers::{Completion, Workers};
use crate::telemetry::GroupState;

/// How often the status is refreshed while nothing happens.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// How often it is looked whether the edge, which holds records back, may fetch on.
const HELD_BACK_INTERVAL: Duration = Duration::from_millis(10);
/// How much longer than the drain the consumer may take to leave its group.
const CLOSE_MARGIN: Duration = Duration::from_secs(5);

/// Why a group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to, and nothing was abandoned.
    Drained,
    /// It was asked to, and runs were abandoned at the deadline: the next owner repeats them.
    DeadlinePassed {
        /// How many.
        abandoned: usize,
    },
    /// The core stopped it.
    Halted(HaltCause),
    /// It may not start where it would have to.
    Refused(Refusal),
    /// The Kafka client cannot go on.
    Edge(EdgeError),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("drained"),
            Self::DeadlinePassed { abandoned } => {
                write!(
                    f,
                    "the shutdown deadline passed with {abandoned} runs in flight: the next owner repeats them"
                )
            }
            Self::Halted(HaltCause::Fatal(failure)) => write!(f, "{}", failure.message),
            Self::Halted(HaltCause::DeadLetterFlood { dead, finished }) => write!(
                f,
                "{dead} of the last {finished} records were dead letters: look at them (`postroom dlq ls`), \
                 then raise `dead_letter_limit` or mend the handler"
            ),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Edge(error) => error.fmt(f),
        }
    }
}

/// What the service tells a running group.
#[derive(Debug)]
pub(crate) enum Control {
    /// Stop taking work and leave within the span.
    Drain { within: Duration },
}

/// One group's loop.
pub(crate) struct Driver {
    pub(crate) processor: Processor<RawRecord>,
    pub(crate) edge: Arc<dyn Edge>,
    pub(crate) clock: Clock,
    pub(crate) workers: Workers,
    pub(crate) claims: Claims,
    pub(crate) observer: Observer,
    pub(crate) shutdown_deadline: Duration,
    pub(crate) inbox: Inbox,
    pub(crate) held: HashMap<Generation, SharedClaim>,
    pub(crate) ending: Option<Ending>,
    pub(crate) draining: bool,
    pub(crate) closing: bool,
    pub(crate) dispatched: Vec<(Run<RawRecord>, SharedClaim)>,
    /// Records taken from the edge that it still counts as waiting.
    pub(crate) untold: usize,
}

/// Where happenings arrive.
pub(crate) struct Inbox {
    pub(crate) edge: UnboundedReceiver<EdgeEvent>,
    pub(crate) reports: UnboundedReceiver<Vec<Completion>>,
    pub(crate) claims: UnboundedReceiver<ClaimAnswer>,
    pub(crate) control: UnboundedReceiver<Control>,
}

#[derive(Debug)]
enum Happening {
    Edge(EdgeEvent),
    Completed(Vec<Completion>),
    Claimed(ClaimAnswer),
    Control(Control),
    Tick,
}

impl Driver {
    /// Runs until the group has ended and its consumer is closed.
    pub(crate) async fn run(mut self) -> Ending {
        loop {
            let happening = self.next().await;
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

    async fn next(&mut self) -> Happening {
        let wake = self.processor.next_deadline().map(|moment| self.clock.instant(moment));
        let interval = if self.untold > 0 { HELD_BACK_INTERVAL } else { STATUS_INTERVAL };
        let refresh = tokio::time::Instant::now() + interval;
        let wake = wake.map_or(refresh, |wake| wake.min(refresh));
        tokio::select! {
            biased;
            Some(control) = self.inbox.control.recv() => Happening::Control(control),
            Some(completions) = self.inbox.reports.recv() => Happening::Completed(completions),
            Some(answer) = self.inbox.claims.recv() => Happening::Claimed(answer),
            Some(event) = self.inbox.edge.recv() => Happening::Edge(event),
            () = tokio::time::sleep_until(wake) => Happening::Tick,
        }
    }

    /// Takes a bounded number of further happenings, so that one round of outputs serves them all.
    fn take_what_is_there(&mut self) {
        for _ in 0..64 {
            let Ok(completions) = self.inbox.reports.try_recv() else { break };
            self.take(Happening::Completed(completions));
        }
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Edge(event) => self.take_edge_event(event),
            Happening::Completed(completions) => {
                for completion in completions {
                    self.take_completion(completion);
                }
            }
            Happening::Claimed(answer) => self.take_claim(answer),
            Happening::Control(Control::Drain { within }) => self.drain(within),
            Happening::Tick => self.tell(Input::Tick),
        }
    }

    fn take_edge_event(&mut self, event: EdgeEvent) {
        match event {
            EdgeEvent::Assigned { partition, generation, committed } => {
                self.observer.assigned(&partition);
                let start = committed.as_ref().map(|position| position.next);
                let finished =
                    committed.as_ref().map(|position| position.finished.clone()).unwrap_or_default();
                self.claims.assigned(generation, committed);
                self.tell(Input::Assigned { partition, generation, start, finished });
            }
            EdgeEvent::Input(input) => {
                self.observer.told(self.clock.now(), &input);
                if let Input::Records { records, .. } = &input {
                    self.untold += records.len();
                }
                self.tell(input);
            }
            // Ends the loop before it comes here.
            EdgeEvent::Stopped(_) => {}
        }
    }

    fn take_completion(&mut self, completion: Completion) {
        self.observer.completed(&completion);
        match completion.report.end {
            RunEnd::Ended(result) => self.tell(Input::Completed { run: completion.run, result }),
            RunEnd::Fenced => self.tell(Input::Fenced { generation: completion.generation }),
        }
    }

    fn take_claim(&mut self, answer: ClaimAnswer) {
        match answer {
            ClaimAnswer::Claimed { claim, generation, next } => {
                self.observer.store_answers(true);
                let attempts = claim.attempts.clone();
                self.held.insert(generation, Arc::new(Mutex::new(claim)));
                self.tell(Input::Claimed { generation, next, attempts });
            }
            ClaimAnswer::Away { generation } => {
                self.observer.store_answers(false);
                self.tell(Input::ClaimFailed { generation });
            }
            ClaimAnswer::Refused(refusal) => {
                tracing::error!(reason = %refusal, "the group may not start here");
                self.end(Ending::Refused(refusal));
            }
        }
    }

    fn tell(&mut self, input: Input<RawRecord>) {
        self.processor.handle(self.clock.now(), input);
    }

    fn execute_all(&mut self) {
        while let Some(output) = self.processor.poll_output() {
            self.execute(output);
        }
        if !self.dispatched.is_empty() {
            self.workers.start(std::mem::take(&mut self.dispatched));
        }
    }

    /// Executes, counts and logs one output: the one place for each.
    fn execute(&mut self, output: Output<RawRecord>) {
        self.observer.output(self.clock.now(), &output);
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

    fn drain(&mut self, within: Duration) {
        if self.draining {
            return;
        }
        self.draining = true;
        self.observer.state(GroupState::Draining);
        self.tell(Input::Drain { deadline: self.clock.now().plus(within) });
    }

    fn drained(&mut self, abandoned: usize) {
        let ending = if abandoned == 0 { Ending::Drained } else { Ending::DeadlinePassed { abandoned } };
        self.ending.get_or_insert(ending);
        if !self.closing {
            self.closing = true;
            self.edge.close(self.clock.now().plus(CLOSE_MARGIN));
        }
    }

    fn stopped(&mut self, result: Result<(), EdgeError>) -> Ending {
        self.observer.state(GroupState::Stopped);
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

    /// Lets the edge fetch on while the core has room.
    fn fetch_on(&mut self) {
        if self.untold > 0 && self.processor.wants_more() {
            self.edge.taken(std::mem::take(&mut self.untold));
        }
    }

    fn refresh_status(&mut self) {
        let processor = &self.processor;
        self.observer.publish(self.clock.now(), || processor.snapshot());
    }
}
