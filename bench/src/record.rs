//! A Postroom group with a handler that takes one event at a time and does nothing: key order, 64 at once.

use std::sync::Arc;

use postroom::Group;
use postroom::event::Envelope;
use postroom::handler::{Context, Error, Handler};

use crate::Work;
use crate::event::{PageViewed, sum};
use crate::failure::Failure;
use crate::measure::{Measured, Meter};
use crate::service::serve;

struct Nothing {
    meter: Arc<Meter>,
}

impl Handler for Nothing {
    type Event = PageViewed;

    async fn handle(&self, event: &Envelope<PageViewed>, _: &mut Context) -> Result<(), Error> {
        self.meter.count(1, sum(&event.event));
        Ok(())
    }
}

/// Reads and decodes all events one by one.
pub(crate) fn run(work: &Work) -> Result<Measured, Failure> {
    let meter = Arc::new(Meter::new(work));
    let group = Group::each("record", Nothing { meter: Arc::clone(&meter) });
    serve(work, group.non_blocking(), &meter)
}
