//! Mail: one request, one recipient, one mail.
//!
//! Who hears of what is decided before, by `notify`. Here a request is reserved in the ledger, written, handed to the relay
//! and closed. A process that dies between the relay's answer and the close leaves a reservation behind; whoever finds it
//! sends the same mail again, with the same `Message-ID`, or parks it.
//!
//! What is parked stays unknown in the ledger, also when it is closed: of a record that comes again nothing is sent. Only
//! a person who replays the dead letter has it sent once more.

mod address;
mod backoff;
mod letter;
mod templates;
#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
mod text;

use std::sync::Arc;
use std::time::Duration;

pub use letter::{Letter, Stationery};
pub use templates::{TemplateProblem, Templates};

use crate::config::OnUnknown;
use crate::effects::{is_of, owner_of};
use crate::event::{Envelope, MailRequested, time};
use crate::handler::{Context, Error, Handler};
use crate::ports::{Change, IfUnknown, MailError, Mailer, RequestEnding, Reservation, StoreError};

/// Why somebody gets a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Comment,
    Post,
    Welcome,
}

impl Reason {
    const ALL: [Self; 3] = [Self::Comment, Self::Post, Self::Welcome];

    const fn word(self) -> &'static str {
        match self {
            Self::Comment => "comment",
            Self::Post => "post",
            Self::Welcome => "welcome",
        }
    }

    fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }
}

/// The clock, in milliseconds since the Unix epoch.
pub type Now = fn() -> i64;

/// Sends what is asked for on `blog.mail`.
pub struct Mail {
    /// Where mails go.
    pub mailer: Arc<dyn Mailer>,
    /// How they look.
    pub stationery: Stationery,
    /// How long a deferred mail is tried, from when it was requested.
    pub budget: Duration,
    /// What to do where it is unknown whether the relay has a mail.
    pub on_unknown: OnUnknown,
    /// Who we are in the ledger: no two processes share it.
    pub owner: String,
    /// The present.
    pub now: Now,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("stationery", &self.stationery).finish_non_exhaustive()
    }
}

impl Handler for Mail {
    type Event = MailRequested;

    async fn handle(&self, event: &Envelope<MailRequested>, context: &mut Context) -> Result<(), Error> {
        let case = Case { mail: self, event, id: event.id.as_str() };
        let letter = match self.stationery.write(&event.event, (self.now)()) {
            Ok(letter) => letter,
            Err(why) => return Err(case.dead(context, &why, Error::invalid(&why))),
        };
        // The wait is not part of the reservation: a process that dies in it leaves nothing unknown behind.
        self.mailer.turn().await;
        let Taken { attempt, until, is_known } = case.reserve(context).await?;
        let now = (self.now)();
        if now >= until {
            // This process was stopped meanwhile: somebody else may be at it. Of an attempt before it knows nothing.
            let why = "the reservation had ended before the mail could be sent";
            if is_known {
                case.over(context, now, why).await?;
            }
            return Err(Error::retry(why));
        }
        match context.request(DEPENDENCY, self.mailer.send(&letter.mail)).await {
            Ok(reply) => {
                case.close(context, RequestEnding::Done, &reply.0);
                Ok(())
            }
            Err(error) => Err(case.failed(context, error, attempt).await?),
        }
    }
}

/// The right to send a mail.
struct Taken {
    /// The attempt's number.
    attempt: u32,
    /// The end of the lease.
    until: i64,
    /// Whether the relay is known not to have the mail by an attempt before.
    is_known: bool,
}

/// One request in one attempt.
struct Case<'a> {
    mail: &'a Mail,
    event: &'a Envelope<MailRequested>,
    id: &'a str,
}

impl Case<'_> {
    /// Takes the right to send it; an error where it is not ours to send.
    async fn reserve(&self, context: &mut Context) -> Result<Taken, Error> {
        let now = (self.mail.now)();
        let until = now.saturating_add(time::millis(context.deadline()));
        let (store, owner, lease) = (context.store(), self.owner(), context.deadline());
        // What it would not send it does not take: it stays written who may have sent it.
        let parks = self.mail.on_unknown == OnUnknown::Park && !context.is_replay();
        let if_unknown = if parks { IfUnknown::Leave } else { IfUnknown::Take };
        let reserved = store.reserve_with(self.id, &owner, now, lease, if_unknown).await;
        match reserved.map_err(store_error)? {
            Reservation::Ours { attempt } => Ok(Taken { attempt, until, is_known: true }),
            Reservation::Done => Err(Error::skip("the mail was sent before")),
            Reservation::Held { until } => {
                let wait =
                    Duration::from_millis(u64::try_from(until.saturating_sub(now)).unwrap_or_default());
                Err(Error::retry_after(wait, "another process is sending the mail, or died while it was"))
            }
            Reservation::Unknown { attempt, by } => match self.mail.on_unknown {
                OnUnknown::Resend => Ok(Taken { attempt, until, is_known: false }),
                // It is asked for once more by somebody who knows; but not by an attempt of this replay that died.
                OnUnknown::Park if context.is_replay() && !is_of(&by, &self.event.record) => {
                    Ok(Taken { attempt, until, is_known: false })
                }
                OnUnknown::Park => Err(self.parked(
                    context,
                    "an attempt before ended without a word: it is unknown whether the relay has the mail",
                )),
            },
            Reservation::Withdrawn => {
                let why = "the mail is no longer wanted";
                self.close(context, RequestEnding::Withdrawn, why);
                Err(Error::skip(why))
            }
        }
    }

    /// Returns what follows from a failed attempt, after the ledger knows of it.
    async fn failed(&self, context: &mut Context, error: MailError, attempt: u32) -> Result<Error, Error> {
        let now = (self.mail.now)();
        match error {
            MailError::Later(said) => self.later(context, now, &said, attempt).await,
            MailError::Unknown(said) => match self.mail.on_unknown {
                OnUnknown::Resend => self.later(context, now, &said, attempt).await,
                OnUnknown::Park => {
                    let why = format!("it is unknown whether the relay has the mail: {said}");
                    Ok(self.parked(context, &why))
                }
            },
            MailError::Refused(said) => {
                self.over(context, now, &said).await?;
                Ok(self.dead(context, &said, Error::dead(format!("the relay refused it: {said}"))))
            }
            MailError::BadAddress(why) => {
                self.over(context, now, &why).await?;
                Ok(self.dead(context, &why, Error::invalid(&why)))
            }
            error @ (MailError::Away(_) | MailError::Misconfigured(_)) => {
                let why = error.to_string();
                self.over(context, now, &why).await?;
                Ok(Error::outage(DEPENDENCY, why))
            }
        }
    }

    /// Puts it off, or gives it up where its time is over.
    async fn later(&self, context: &mut Context, now: i64, said: &str, attempt: u32) -> Result<Error, Error> {
        let end = self.requested_at(now).saturating_add(time::millis(self.mail.budget));
        if now >= end {
            self.over(context, now, said).await?;
            let why = format!("given up after {attempt} attempts; the relay said last: {said}");
            return Ok(self.dead(context, said, Error::exhausted(why)));
        }
        // The last attempt is made when the time is over, not before.
        let not_before = now.saturating_add(backoff::delay(self.id, attempt)).min(end);
        match context.store().defer(self.id, &self.owner(), now, not_before, said).await {
            Ok(()) => Ok(Error::deferred(format!("deferred after attempt {attempt}: {said}"))),
            // A request that did not come from the outbox cannot wait there: it waits here, as long as its attempts last.
            Err(StoreError::Refused(_)) => {
                self.over(context, now, said).await?;
                Ok(Error::retry(format!("not taken at attempt {attempt}: {said}")))
            }
            Err(error) => Err(store_error(error)),
        }
    }

    /// When its time began. A request that does not say counts from its record.
    fn requested_at(&self, now: i64) -> i64 {
        match self.event.event.requested_at {
            ..=0 => self.event.record.timestamp().filter(|time| *time > 0).unwrap_or(now),
            time => time,
        }
    }

    /// Who we are in the ledger while we carry this record out.
    fn owner(&self) -> String {
        owner_of(&self.mail.owner, &self.event.record)
    }

    /// Tells the ledger that the attempt is over and the mail was not sent by it.
    async fn over(&self, context: &Context, now: i64, said: &str) -> Result<(), Error> {
        context.store().attempt_failed(self.id, &self.owner(), now, said).await.map_err(store_error)
    }

    fn dead(&self, context: &mut Context, said: &str, error: Error) -> Error {
        self.close(context, RequestEnding::Dead, said);
        error
    }

    /// A dead letter of which nobody knows whether it was sent. The ledger says so from the reservation on.
    fn parked(&self, context: &mut Context, why: &str) -> Error {
        self.close(context, RequestEnding::Unknown, why);
        Error::dead(why)
    }

    fn close(&self, context: &mut Context, ending: RequestEnding, reply: &str) {
        let (id, reply) = (self.id.to_owned(), reply.to_owned());
        context.change(Change::RequestClosed { id, ending, reply, time: (self.mail.now)() });
    }
}

/// The relay's name among the dependencies.
pub(crate) const DEPENDENCY: &str = "smtp";

fn store_error(error: StoreError) -> Error {
    let message = error.to_string();
    match error {
        StoreError::Away(_) => Error::outage("store", message),
        StoreError::Refused(_) => Error::retry(message),
        StoreError::Unusable(_) => Error::fatal(message),
    }
}
