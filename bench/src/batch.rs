//! A Postroom group with a batch handler that does nothing: partition order, position in the store.

use std::num::NonZeroUsize;
use std::sync::Arc;

use postroom::Group;
use postroom::event::Envelope;
use postroom::handler::{BatchContext, BatchHandler, Error};

use crate::Work;
use crate::event::{PageViewed, sum};
use crate::failure::Failure;
use crate::measure::{Measured, Meter};
use crate::service::serve;

struct Nothing {
    meter: Arc<Meter>,
}

impl BatchHandler for Nothing {
    type Event = PageViewed;

    async fn handle(&self, events: &[Envelope<PageViewed>], _: &mut BatchContext) -> Result<(), Error> {
        let count = u64::try_from(events.len()).unwrap_or_default();
        self.meter.count(count, events.iter().map(|envelope| sum(&envelope.event)).sum());
        Ok(())
    }
}

/// Reads and decodes all events in batches.
pub(crate) fn run(work: &Work) -> Result<Measured, Failure> {
    let meter = Arc::new(Meter::new(work));
    let group = Group::batches("batch", Nothing { meter: Arc::clone(&meter) });
    serve(work, group.batch_size(NonZeroUsize::new(500).unwrap_or(NonZeroUsize::MIN)).non_blocking(), &meter)
}
