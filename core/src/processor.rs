//! The processor.

use std::marker::PhantomData;

use crate::input::Input;
use crate::output::Output;
use crate::record::Moment;
use crate::settings::Settings;
use crate::snapshot::Snapshot;

/// The state machine of one consumer group's member.
#[derive(Debug)]
pub struct Processor<T> {
    payload: PhantomData<T>,
}

impl<T: Clone> Processor<T> {
    /// Builds a processor without partitions.
    pub fn new(_settings: Settings) -> Self {
        Self { payload: PhantomData }
    }

    /// Takes note of what happened at `now`; what follows is read by [`Processor::poll_output`].
    pub fn handle(&mut self, _now: Moment, _input: Input<T>) {}

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        None
    }

    /// Returns when [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Moment> {
        None
    }

    /// Returns the state as a plain value.
    pub fn snapshot(&self) -> Snapshot<T> {
        Snapshot {
            partitions: Vec::new(),
            runs_in_flight: 0,
            unfinished: 0,
            unfinished_bytes: 0,
            circuits: Vec::new(),
        }
    }
}
