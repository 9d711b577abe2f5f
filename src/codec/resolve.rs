//! How data of one schema become values of another.

use crate::codec::writer::Ready;

/// How data of a writer's schema are read by a reader's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Straight into the reader's struct.
    Direct,
    /// By resolution, value for value.
    Resolve,
    /// Never.
    Refuse(String),
}

/// Decides it.
pub(crate) fn plan(writer: &Ready, reader: &Ready) -> Plan {
    if std::ptr::eq(writer, reader) || writer.writer.rabin == reader.writer.rabin {
        return Plan::Direct;
    }
    Plan::Resolve
}
