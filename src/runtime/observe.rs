//! Counts and logs what happens, one place for each happening.

use postroom_core::{Input, Output, TopicPartition};

use crate::event::RawRecord;
use crate::runtime::workers::Completion;

/// The metrics and log lines of one group.
pub(crate) struct Observer {
    pub(crate) group: String,
}

impl Observer {
    pub(crate) fn assigned(&self, partition: &TopicPartition) {
        tracing::info!(group = self.group, %partition, "partition assigned");
    }

    pub(crate) fn told(&self, _input: &Input<RawRecord>) {}

    pub(crate) fn completed(&self, _completion: &Completion) {}

    pub(crate) fn output(&self, _output: &Output<RawRecord>) {}
}
