//! Where everything arrives that a group's driver is to hear of.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::ports::{EdgeError, EdgeEvent};
use crate::runtime::claims::ClaimAnswer;
use crate::runtime::workers::Completion;

/// How often the driver comes round while nothing happens, to refresh the status.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

/// What the service tells a running group.
#[derive(Debug)]
pub(crate) enum Control {
    /// Stop taking work and leave within the span.
    Drain { within: Duration },
}

/// Something that the driver is to hear of.
#[derive(Debug)]
pub(crate) enum Happening {
    Edge(EdgeEvent),
    Completed(Vec<Completion>),
    Claimed(ClaimAnswer),
    Control(Control),
    Tick,
}

/// The receiving ends.
pub(crate) struct Inbox {
    edge: UnboundedReceiver<EdgeEvent>,
    reports: UnboundedReceiver<Vec<Completion>>,
    claims: UnboundedReceiver<ClaimAnswer>,
    control: UnboundedReceiver<Control>,
    /// Whether whoever controls the group is still there.
    controlled: bool,
}

/// The sending ends that lead to an inbox.
pub(crate) struct Ways {
    pub(crate) reports: UnboundedSender<Vec<Completion>>,
    pub(crate) answers: UnboundedSender<ClaimAnswer>,
    pub(crate) control: UnboundedSender<Control>,
}

impl Inbox {
    pub(crate) fn new(edge: UnboundedReceiver<EdgeEvent>) -> (Self, Ways) {
        let (reports, reported) = unbounded_channel();
        let (answers, claims) = unbounded_channel();
        let (control, asked) = unbounded_channel();
        let inbox = Self { edge, reports: reported, claims, control: asked, controlled: true };
        (inbox, Ways { reports, answers, control })
    }

    /// Waits for the next happening; a tick at `wake`, or after a while.
    pub(crate) async fn next(&mut self, wake: Option<Instant>) -> Happening {
        let refresh = Instant::now() + STATUS_INTERVAL;
        let wake = wake.map_or(refresh, |wake| wake.min(refresh));
        tokio::select! {
            biased;
            control = self.control.recv(), if self.controlled => {
                self.controlled = control.is_some();
                // Nobody holds the group any more: nobody will ask it to leave.
                Happening::Control(control.unwrap_or(Control::Drain { within: Duration::ZERO }))
            }
            Some(completions) = self.reports.recv() => Happening::Completed(completions),
            Some(answer) = self.claims.recv() => Happening::Claimed(answer),
            event = self.edge.recv() => Happening::Edge(event.unwrap_or_else(edge_gone)),
            () = tokio::time::sleep_until(wake) => Happening::Tick,
        }
    }

    /// Takes further completions that are there already.
    pub(crate) fn completed_meanwhile(&mut self) -> Option<Happening> {
        self.reports.try_recv().ok().map(Happening::Completed)
    }
}

fn edge_gone() -> EdgeEvent {
    EdgeEvent::Stopped(Err(EdgeError::Client("its thread ended without a word".to_owned())))
}
