//! What a row of the outbox is, for every engine: its states, its id, and why it is withdrawn.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::adapters::store::RequestState;
use crate::adapters::store::fitting::stored;
use crate::ports::{Request, RequestEnding, StoreError};

/// The kind of a row that asks for a mail.
pub(crate) const MAIL: &str = "mail";
/// The kind of a row that asks for a delivery to an endpoint.
pub(crate) const WEBHOOK: &str = "webhook";

/// The numbers that stand in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Behind another row of its addressee.
    Queued,
    /// The head, due at some time.
    Waiting,
    /// The head, with a relay.
    Taken,
    /// The head, published.
    Out,
    /// The head, without an address.
    Parked,
    /// Published long ago: no longer the head.
    Lapsed,
    /// At its end.
    Closed,
}

impl State {
    /// Returns the number that stands in the table.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Queued => 0,
            Self::Waiting => 1,
            Self::Taken => 2,
            Self::Out => 3,
            Self::Parked => 4,
            Self::Lapsed => 5,
            Self::Closed => 6,
        }
    }

    /// Reads the number that stands in the table.
    pub(crate) const fn of_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Queued),
            1 => Some(Self::Waiting),
            2 => Some(Self::Taken),
            3 => Some(Self::Out),
            4 => Some(Self::Parked),
            5 => Some(Self::Lapsed),
            6 => Some(Self::Closed),
            _ => None,
        }
    }

    /// Returns what people are told: `at` is when a row was closed, and how it ended.
    pub(crate) fn told(self, at: i64, ending: Option<RequestEnding>) -> RequestState {
        match self {
            Self::Queued => RequestState::Queued,
            Self::Waiting => RequestState::Waiting,
            Self::Parked => RequestState::WithoutAddress,
            Self::Taken | Self::Out | Self::Lapsed => RequestState::Out,
            Self::Closed => RequestState::Closed { at, ending },
        }
    }

    /// Says whether it is the one row of its addressee that may be out.
    pub(crate) const fn is_head(self) -> bool {
        matches!(self, Self::Waiting | Self::Taken | Self::Out | Self::Parked)
    }
}

/// Returns the number that stands in the table.
pub(crate) const fn ending_code(ending: RequestEnding) -> i64 {
    match ending {
        RequestEnding::Done => 0,
        RequestEnding::Withdrawn => 1,
        // The ledger tells them apart.
        RequestEnding::Dead | RequestEnding::Unknown => 2,
    }
}

/// Reads the number that stands in the table.
pub(crate) const fn ending_of(code: i64) -> Option<RequestEnding> {
    match code {
        0 => Some(RequestEnding::Done),
        1 => Some(RequestEnding::Withdrawn),
        2 => Some(RequestEnding::Dead),
        _ => None,
    }
}

/// Whose request it is that somebody puts off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deferral {
    Ours,
    /// Still ours, but somebody closed it as unknown meanwhile.
    Parked,
    Others,
    Nobodys,
}

impl Deferral {
    /// Judges by the ledger's owner and the end of their lease.
    pub(crate) fn of(held: Option<&(String, i64)>, owner: &str) -> Self {
        match held {
            None => Self::Nobodys,
            Some((other, _)) if other != owner => Self::Others,
            Some((_, PARKED)) => Self::Parked,
            Some(_) => Self::Ours,
        }
    }
}

/// The end of the lease of what was closed as unknown: no lease ends then by itself.
pub(crate) const PARKED: i64 = 0;

/// Says that a request cannot be put off: no row could wait.
pub(crate) fn unknown_to_outbox(id: &str) -> StoreError {
    StoreError::Refused(format!("the outbox has no request {id}, so it cannot wait there"))
}

/// Says that a request cannot be put off: its row is closed.
pub(crate) fn parked(id: &str) -> StoreError {
    StoreError::Refused(format!(
        "request {id} was closed as unknown meanwhile, so it cannot wait in the outbox"
    ))
}

/// Makes a request's event id of what it is about: the same for every copy, printable, of a fixed length.
pub(crate) fn id(parts: [&str; 4]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut id = String::with_capacity(40);
    for byte in hasher.finalize().iter().take(20) {
        id.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        id.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    id
}

/// Says why a row is no longer wanted, by the number that the engine's question answers with.
pub(crate) const fn withdrawal(code: i64) -> &'static str {
    match code {
        1 => "the recipient is gone",
        2 => "the notification was taken back",
        3 => "the recipient unsubscribed",
        _ => "the endpoint is disabled or gone",
    }
}

/// Returns what is kept of a reply.
pub(crate) fn capped(reply: &str) -> Cow<'_, str> {
    stored(reply.get(..reply.floor_char_boundary(MOST_REPLY)).unwrap_or_default())
}

/// Returns what a row holds in memory, roughly.
pub(crate) fn size(request: &Request) -> usize {
    let own = match request {
        Request::Mail(mail) => mail.text.as_ref().map_or(0, String::len),
        Request::Webhook(webhook) => webhook.body.len(),
    };
    own + ROW_BYTES
}

/// How long after a row has lapsed it is published again, in milliseconds.
pub(crate) const LOST_AFTER: i64 = 86_400_000;

/// How many rows of a kind may be out at once: what waits longer waits here, where nothing is lost when a topic is short
/// of room.
pub(crate) const MOST_OUT: u32 = 10_000;

/// How many rows one step may look at in vain.
pub(crate) const LOOK: u32 = 1_000;

/// What the rows of one step may hold together, roughly: a single one may be larger.
pub(crate) const MOST_BYTES: usize = 8 * 1_024 * 1_024;

/// What a row holds beside its text.
pub(crate) const ROW_BYTES: usize = 512;

/// What is kept of a reply, in bytes.
const MOST_REPLY: usize = 300;
