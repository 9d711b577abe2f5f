//! The error of a handler: its kind is the policy.

use std::borrow::Cow;
use std::time::Duration;

use postroom_core::{Class, Dependency, Ended, Failure, Reason};

/// What a handler answers instead of `Ok`. Any other error turns into [`Error::retry`] by `?`.
#[derive(Clone, Debug)]
pub struct Error {
    policy: Policy,
    detail: Option<&'static str>,
    message: String,
}

#[derive(Clone, Debug)]
enum Policy {
    Retry(Option<Duration>),
    Dead(Reason),
    Outage(Dependency),
    Deferred,
    Skip,
    Fatal,
}

impl Error {
    /// Try again with back-off, until the attempts are used up; then a dead letter.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { policy: Policy::Retry(None), detail: None, message: message.into() }
    }

    /// Try again, not before `after`: the other side said when.
    pub fn retry_after(after: Duration, message: impl Into<String>) -> Self {
        Self { policy: Policy::Retry(Some(after)), detail: None, message: message.into() }
    }

    /// Never try again: a dead letter with reason `rejected`.
    pub fn dead(message: impl Into<String>) -> Self {
        Self { policy: Policy::Dead(Reason::Rejected), detail: None, message: message.into() }
    }

    /// The event breaks a rule of its type: a dead letter with reason `invalid`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { policy: Policy::Dead(Reason::Invalid), detail: None, message: message.into() }
    }

    /// The other side was asked for as long as the time budget allows: a dead letter with reason `exhausted`.
    pub(crate) fn exhausted(message: impl Into<String>) -> Self {
        Self { policy: Policy::Dead(Reason::Exhausted), detail: None, message: message.into() }
    }

    /// A configured dependency is away: wait and probe, spend no attempt, dead-letter nothing.
    pub fn outage(dependency: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { policy: Policy::Outage(Dependency(dependency.into())), detail: None, message: message.into() }
    }

    /// The event is stored durably for later, elsewhere: finished here, without its effect.
    pub(crate) fn deferred(message: impl Into<String>) -> Self {
        Self { policy: Policy::Deferred, detail: None, message: message.into() }
    }

    /// Pass over the event by a rule of the handler's: finished, without effect.
    pub fn skip(message: impl Into<String>) -> Self {
        Self { policy: Policy::Skip, detail: None, message: message.into() }
    }

    /// The process cannot go on: the event stays where it is, the group drains and stops.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { policy: Policy::Fatal, detail: None, message: message.into() }
    }

    /// Names the detail beneath the reason: a word of a closed list.
    #[must_use]
    pub(crate) fn detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Says whether the event is stored for later.
    pub(crate) fn is_deferred(&self) -> bool {
        matches!(self.policy, Policy::Deferred)
    }

    /// Says whether the record is finished by it: as a dead letter, or passed over.
    pub(crate) fn is_final(&self) -> bool {
        match self.policy {
            Policy::Dead(_) | Policy::Skip => true,
            Policy::Retry(_) | Policy::Outage(_) | Policy::Deferred | Policy::Fatal => false,
        }
    }

    /// Returns the failure, or `None` for a skip or a deferral.
    pub(crate) fn failure(self) -> Option<Failure> {
        let (class, detail) = match self.policy {
            Policy::Retry(retry_after) => {
                (Class::Transient { retry_after, ended: Ended::ByError }, "handler_error")
            }
            Policy::Dead(reason) => (Class::Dead(reason), "handler_refused"),
            Policy::Outage(dependency) => (Class::Outage(dependency), "outage"),
            Policy::Deferred | Policy::Skip => return None,
            Policy::Fatal => (Class::Fatal, "handler_fatal"),
        };
        Some(Failure::new(class, self.detail.unwrap_or(detail), self.message))
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::retry(message)
    }
}
