//! The driver of one process: tells its processor what happened and executes what it asks for.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::edge::Command;
use super::happening::Happening;
use super::history::{Letter, Process, What};
use super::reached::Point;
use super::window::Window;
use super::worker::Step;
use super::world::World;
use crate::failure::Reason;
use crate::input::Input;
use crate::output::{CircuitState, DeadLetter, HaltCause, Output, Run};
use crate::record::{Generation, Moment};

/// After so many ticks that leave a deadline in the past, the loop is called busy.
const IDLE_TICKS: u32 = 8;

impl World {
    /// Tells a processor something and executes what follows.
    pub(super) fn tell(&mut self, process: Process, input: Input<Letter>) {
        self.count_stale(process, &input);
        let window = Window::after(&input);
        self.note(process, What::Told(input.clone()));
        let now = self.now;
        let member = self.member(process);
        let moment = member.moment(now);
        let processor = &mut member.processor;
        // In debug builds the processor checks its invariants after each input, by a panic.
        let sound = catch_unwind(AssertUnwindSafe(|| processor.handle(moment, input)));
        if let Err(panic) = sound {
            return self.end_unsound(process, panic.as_ref());
        }
        while let Some(output) = self.member(process).processor.poll_output() {
            self.note(process, What::Asked(output.clone()));
            self.execute(process, output);
        }
        self.arm_tick(process);
        if let Some(window) = window {
            self.spring(process, window);
        }
    }

    fn end_unsound(&mut self, process: Process, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        self.note(process, What::Unsound(text.unwrap_or_default()));
        self.broken = true;
    }

    /// Only time passed.
    pub(super) fn tick(&mut self, process: Process) {
        let now = self.now;
        let member = self.member(process);
        // A stray tick leaves the armed one armed.
        member.tick_at = member.tick_at.filter(|armed| *armed > now);
        self.tell(process, Input::Tick);
        let member = self.member(process);
        let behind = member.processor.next_deadline().is_some_and(|due| due <= member.moment(now));
        member.idle_ticks = if behind { member.idle_ticks + 1 } else { 0 };
        if member.idle_ticks == IDLE_TICKS {
            self.note(process, What::BusyLoop);
        }
    }

    fn arm_tick(&mut self, process: Process) {
        if self.plan.rates.stray_tick > 0 && self.random.chance(self.plan.rates.stray_tick) {
            self.reached.note(Point::StrayTick);
            let early = self.random.micros(0, 50_000);
            self.after(early, Happening::Tick(process));
        }
        let late = self.random.micros(1, 2_000);
        let now = self.now;
        let member = self.member(process);
        let Some(deadline) = member.processor.next_deadline() else { return };
        let due = member.world_time(deadline).max(now).plus(late);
        if member.tick_at.is_none_or(|armed| due < armed) {
            member.tick_at = Some(due);
            self.at(due, Happening::Tick(process));
        }
    }

    fn count_stale(&mut self, process: Process, input: &Input<Letter>) {
        let generation = match input {
            Input::Records { generation, .. }
            | Input::Claimed { generation, .. }
            | Input::ClaimFailed { generation }
            | Input::Fenced { generation }
            | Input::Committed { generation, .. }
            | Input::CommitFailed { generation } => *generation,
            Input::DeadLettered { ticket } | Input::DeadLetterFailed { ticket } => ticket.generation,
            Input::Assigned { .. }
            | Input::Verified { .. }
            | Input::Completed { .. }
            | Input::Revoked { .. }
            | Input::Lost { .. }
            | Input::Drain { .. }
            | Input::Tick => return,
        };
        match self.member(process).place_of(generation) {
            None => self.reached.note(Point::StaleInput),
            Some(place) if matches!(input, Input::Records { .. }) => {
                let paused =
                    self.member(process).held.get(&place).is_some_and(super::member::Held::is_paused);
                if paused {
                    self.reached.note(Point::RecordsWhilePaused);
                }
            }
            Some(_) => {}
        }
    }

    fn execute(&mut self, process: Process, output: Output<Letter>) {
        match output {
            Output::Claim { partition, generation } => {
                if let Some(place) = self.broker.index_of(&partition) {
                    self.claim(process, place, generation);
                }
            }
            Output::Verify { generation } => self.order(process, Command::Verify(generation)),
            Output::Seek { generation, offset, epoch, .. } => {
                self.reached.note(Point::Seek);
                self.order(process, Command::Seek(generation, offset, epoch));
            }
            Output::Dispatch(run) => self.dispatch(process, run),
            Output::Abandon { run } => self.abandon(process, run),
            Output::CountAttempt { partition, ticket, attempt } => {
                let away = self.now < self.nemesis.store_away_until;
                if !away
                    && let Some(place) = self.broker.index_of(&partition)
                    && let Some(stored) = self.broker.places[place].stored(ticket.offset)
                {
                    stored.attempts = stored.attempts.max(attempt.0);
                }
            }
            Output::RetryScheduled { .. } => {}
            Output::DeadLetter(dead) => self.dead_letter(process, dead),
            Output::Commit { partition, generation, next, finished } => {
                if let Some(place) = self.broker.index_of(&partition) {
                    self.commit(process, place, generation, next, finished);
                }
            }
            Output::Pause { generation, .. } => {
                self.reached.note(Point::Paused);
                self.order(process, Command::Pause(generation));
            }
            Output::Resume { generation, .. } => self.order(process, Command::Resume(generation)),
            Output::Released { generation, .. } => self.released(process, generation),
            Output::Circuit { state, .. } => {
                if matches!(state, CircuitState::Open { .. }) {
                    self.reached.note(Point::CircuitOpened);
                }
            }
            Output::Halt { cause } => {
                if matches!(cause, HaltCause::DeadLetterFlood { .. }) {
                    self.reached.note(Point::Flood);
                }
                self.leave(process);
            }
            Output::Drained { .. } => {
                let delay = self.random.micros(10, 5_000);
                self.after(delay, Happening::Close(process));
            }
        }
    }

    fn dispatch(&mut self, process: Process, run: Run<Letter>) {
        let Some(place) = self.broker.index_of(&run.partition) else { return };
        let job = super::member::Job::new(place, run.generation, &run.records);
        self.member(process).jobs.insert(run.id, job);
        let delay = self.random.micros(1, 3_000);
        self.after(delay, Happening::Work(process, run.id, Step::Begin));
    }

    fn dead_letter(&mut self, process: Process, dead: DeadLetter<Letter>) {
        if matches!(dead.reason, Reason::Exhausted | Reason::TimedOut) {
            self.reached.note(Point::Exhausted);
        }
        let delay = if self.random.chance(self.plan.rates.dead_letter_late) {
            self.reached.note(Point::DeadLetterLate);
            self.random.millis(500, 4_000)
        } else {
            self.random.micros(200, 20_000)
        };
        self.after(delay, Happening::DeadLetterArrives(process, Box::new(dead)));
    }

    /// The dead-letter topic answers: takes, refuses, or takes and loses its answer.
    pub(super) fn dead_letter_arrives(&mut self, process: Process, dead: &DeadLetter<Letter>) {
        let ticket = dead.ticket;
        let refused = self.now < self.nemesis.dead_letters_away_until
            || self.random.chance(self.plan.rates.dead_letter_refused);
        let delay = self.random.micros(200, 20_000);
        let answer = if refused {
            self.reached.note(Point::DeadLetterRefused);
            Input::DeadLetterFailed { ticket }
        } else {
            self.note(process, What::DeadLetterStored(dead.payload, dead.reason));
            self.last_progress = self.now;
            if self.random.chance(self.plan.rates.dead_letter_reply_lost) {
                self.reached.note(Point::DeadLetterReplyLost);
                Input::DeadLetterFailed { ticket }
            } else {
                Input::DeadLettered { ticket }
            }
        };
        self.after(delay, Happening::Tell(process, Box::new(answer)));
    }

    /// Asks a process to stop, as a signal or the processor itself does.
    pub(super) fn leave(&mut self, process: Process) {
        let now = self.now;
        let drain = self.plan.drain;
        let member = self.member(process);
        if !member.is_open() {
            return;
        }
        member.life = super::member::Life::Closing;
        let deadline = member.moment(now).plus(drain);
        self.reached.note(Point::Leave);
        self.after_group(process, Input::Drain { deadline });
        self.after(drain + std::time::Duration::from_millis(800), Happening::CloseLimit(process));
    }

    /// Sends an input through the queue of the group's events, which keeps their order.
    pub(super) fn after_group(&mut self, process: Process, input: Input<Letter>) {
        let delay = self.random.micros(1, 3_000);
        let earliest = self.now.plus(delay);
        let queue = &mut self.member(process).queues.group;
        *queue = earliest.max(*queue);
        let at: Moment = *queue;
        self.at(at, Happening::Tell(process, Box::new(input)));
    }

    /// Returns a number for a new assignment.
    pub(super) fn next_generation(&mut self) -> Generation {
        self.generations += 1;
        Generation(self.generations)
    }
}
