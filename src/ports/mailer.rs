//! The mail relay: takes one mail for one recipient.

use std::future::Future;
use std::pin::Pin;

/// The answer of a mail relay.
pub type MailFuture<'a, V> = Pin<Box<dyn Future<Output = V> + Send + 'a>>;

/// Hands mails to the configured relay.
pub trait Mailer: Send + Sync + 'static {
    /// Waits until the configured rate allows one more mail. Those who wait are served in their order.
    fn turn(&self) -> MailFuture<'_, ()>;

    /// Hands one mail over. `Ok` means that the relay has taken it. The error's class is decided here, once.
    fn send<'a>(&'a self, mail: &'a Mail) -> MailFuture<'a, Result<MailReply, MailError>>;
}

/// One mail for one recipient, as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The address that the relay reports failures to.
    pub from: String,
    /// The one recipient.
    pub to: String,
    /// Headers and body by RFC 5322, with lines that end in CR LF.
    pub message: Vec<u8>,
}

/// What the relay said when it took a mail, in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailReply(pub String);

/// Why a mail was not handed over. The text is what the relay said or what happened, in a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The relay refuses this recipient or this mail for good (5xx).
    #[error("the relay refused the mail: {0}")]
    Refused(String),
    /// The relay says: not now (4xx but 421).
    #[error("the relay does not take the mail now: {0}")]
    Later(String),
    /// The relay cannot be reached, is closing (421), or is not protected as it must be.
    #[error("the mail relay is away: {0}")]
    Away(String),
    /// The recipient's address is none.
    #[error("the address cannot be used: {0}")]
    BadAddress(String),
    /// The connection broke or fell silent after the mail was sent: nobody knows whether the relay took it.
    #[error("it is unknown whether the relay has the mail: {0}")]
    Unknown(String),
    /// The relay refuses us, not the mail: the credentials, the sender's address, or that we send through it at all.
    #[error("the mail relay refuses the configured sender or credentials: {0}")]
    Misconfigured(String),
}
