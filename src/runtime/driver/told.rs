//! What the edge tells.

use postroom_core::{FetchEpoch, Generation, Input, Record};

use super::Driver;
use crate::event::RawRecord;
use crate::ports::EdgeEvent;
use crate::runtime::letters::Request;

impl Driver {
    pub(super) fn take_edge_event(&mut self, event: EdgeEvent) {
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
                let request = self.observer.told(self.now, &input);
                self.take_input(input, request);
            }
            EdgeEvent::Removed { partition, range } => self.observer.removed(&partition, range),
            // Ends the loop before it comes here.
            EdgeEvent::Stopped(_) => {}
        }
    }

    fn take_input(&mut self, input: Input<RawRecord>, request: Option<Request>) {
        if let Input::Records { generation, epoch, records } = input {
            self.untold += records.len();
            let bytes = records.iter().map(|record| usize::try_from(record.bytes).unwrap_or(usize::MAX));
            self.untold_bytes += bytes.sum::<usize>();
            self.take_records(generation, epoch, records);
        } else if let Input::DeadLettered { ticket } = input
            && self.claims.pass(ticket, self.held.get(&ticket.generation), request)
        {
            // Told when the store knows of it: a drain waits until then.
        } else {
            self.tell(input);
        }
    }

    fn take_records(&mut self, generation: Generation, epoch: FetchEpoch, records: Vec<Record<RawRecord>>) {
        let Some(first) = records.first() else { return };
        let topic = first.payload.partition().topic.clone();
        let bytes = records.iter().map(|record| u64::from(record.bytes)).sum();
        // What is due is done first, so that only these records change the number.
        let now = self.now;
        self.processor.handle(now, Input::Tick);
        let before = self.processor.unfinished(generation);
        self.processor.handle(now, Input::Records { generation, epoch, records });
        let taken = self.processor.unfinished(generation).saturating_sub(before);
        self.observer.received(topic.as_str(), taken, bytes);
    }
}
