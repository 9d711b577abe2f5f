//! `webhooks`: tells endpoints of others what happened, signed, until they have it or their time is up.
//!
//! Deliveries wait for each other in the outbox, which holds at most one of an endpoint out: here they are in no order,
//! and an endpoint that hangs delays nobody else.

mod answer;
mod sign;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use sign::{BadSecret, check_secret, signature};

use self::answer::{Answer, answer, reply};
use crate::effects::owner_of;
use crate::event::{Envelope, WebhookRequested, time};
use crate::handler::{Context, Error, Handler};
use crate::ports::{
    Change, Endpoint, RequestEnding, Reservation, Store, StoreError, Wanted, Web, WebError, WebMethod,
    WebRequest, WebResponse,
};

/// Returns the present time, in milliseconds since the Unix epoch.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Delivers events to the endpoints that subscribed to them.
#[derive(Clone)]
pub struct Webhooks {
    web: Arc<dyn Web>,
    now: Now,
    budget: Duration,
    disable_after: Option<Duration>,
    owner: String,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("budget", &self.budget).field("owner", &self.owner).finish()
    }
}

/// What its requests are counted under. It has no outage: every endpoint is a host that a subscriber named.
pub const DEPENDENCY: &str = "http";

impl Webhooks {
    /// Makes the effect. A delivery is tried for the span of `budget`, from the moment it was first due; `owner` is
    /// this process's name, unlike that of any other.
    pub fn new(web: Arc<dyn Web>, now: Now, budget: Duration, owner: impl Into<String>) -> Self {
        Self { web, now, budget, disable_after: None, owner: owner.into() }
    }

    /// Disables an endpoint that has failed without a break for so long.
    #[must_use]
    pub fn disable_after(mut self, span: Duration) -> Self {
        self.disable_after = Some(span);
        self
    }

    async fn deliver(
        &self,
        envelope: &Envelope<WebhookRequested>,
        context: &mut Context,
    ) -> Result<(), Error> {
        let delivery = &envelope.event;
        let store = Arc::clone(context.store());
        let id = delivery.event_id.as_str();
        let case = Case { store: &*store, id, owner: &owner_of(&self.owner, &envelope.record) };
        let until = (self.now)().saturating_add(time::millis(context.deadline()));
        let attempt = self.reserve(case, context).await?;
        let endpoint = store.endpoint(&delivery.endpoint).await.map_err(of_the_store)?;
        let Some(endpoint) = endpoint else {
            return Err(self.withdrawn(case, "the endpoint is gone", context).await?);
        };
        if endpoint.disabled.is_some() {
            return Err(self.withdrawn(case, "the endpoint is disabled", context).await?);
        }
        if (self.now)() >= until {
            // This process was stopped meanwhile: somebody else may be at it.
            return Err(Error::retry("the reservation had ended before the delivery could be sent"));
        }
        let sent = match request(&endpoint, id, (self.now)(), &delivery.body) {
            Ok(request) => context.request(DEPENDENCY, self.web.send(request)).await,
            Err(bad) => {
                let what = format!("endpoint {:?}: {bad}", endpoint.id);
                return Err(self.dead(case, &what, "bad_secret", context).await?);
            }
        };
        let (asked, text) = match self.judge(sent) {
            Verdict::Delivered(text) => {
                context.change(closed(id, RequestEnding::Done, &text, (self.now)()));
                // It has the delivery, whatever the store says: the next success ends the count as well.
                if endpoint.failing_since.is_some()
                    && let Err(error) = store.endpoint_answered(&endpoint.id).await
                {
                    tracing::debug!(endpoint = endpoint.id, %error, "that it answers again was not written down");
                }
                return Ok(());
            }
            Verdict::Later(asked, text) => {
                if let Some(why) = self.failed(&*store, &endpoint, &text).await? {
                    let what = format!("endpoint {:?}: {why}", endpoint.id);
                    return Err(self.dead(case, &what, DISABLED, context).await?);
                }
                (asked, text)
            }
            Verdict::Never(detail, text) => {
                if detail == GONE {
                    let why = format!("it answered {text}");
                    let now = (self.now)();
                    store.disable_endpoint(&endpoint.id, now, &why).await.map_err(of_the_store)?;
                } else {
                    self.failed(&*store, &endpoint, &text).await?;
                }
                let what = format!("endpoint {:?}: {text}", endpoint.id);
                return Err(self.dead(case, &what, detail, context).await?);
            }
        };
        let said = format!("endpoint {:?}: {text}", endpoint.id);
        self.later(case, delivery, attempt, asked, &said, context).await
    }

    /// Reserves the delivery and returns which attempt this is. Whether an endpoint has it may be unknown: then it is
    /// told again, by the same id.
    async fn reserve(&self, case: Case<'_>, context: &mut Context) -> Result<u32, Error> {
        let Case { store, id, owner } = case;
        let now = (self.now)();
        match store.reserve(id, owner, now, context.deadline()).await.map_err(of_the_store)? {
            Reservation::Ours { attempt } | Reservation::Unknown { attempt, .. } => Ok(attempt),
            Reservation::Done => Err(Error::skip("it was delivered before")),
            Reservation::Held { until } => {
                Err(Error::retry_after(between(now, until), "another member is at it"))
            }
            Reservation::Withdrawn => {
                let why = "it is no longer wanted";
                context.change(closed(id, RequestEnding::Withdrawn, why, now));
                Err(Error::skip(why))
            }
        }
    }

    /// Says what follows from what came back.
    fn judge(&self, sent: Result<WebResponse, WebError>) -> Verdict {
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                let text = error.to_string();
                return match detail(&error) {
                    Some(detail) => Verdict::Never(detail, text),
                    None => Verdict::Later(None, text),
                };
            }
        };
        let text = reply(&response);
        match answer(&response, (self.now)()) {
            Answer::Delivered => Verdict::Delivered(text),
            Answer::Gone => Verdict::Never(GONE, text),
            Answer::Refused(detail) => Verdict::Never(detail, text),
            Answer::Later(after) => Verdict::Later(after, text),
        }
    }

    /// Notes that an attempt failed. Disables an endpoint that has failed for too long, and says why; nothing where it
    /// may be tried on.
    async fn failed(
        &self,
        store: &dyn Store,
        endpoint: &Endpoint,
        said: &str,
    ) -> Result<Option<String>, Error> {
        let Some(most) = self.disable_after else { return Ok(None) };
        let now = (self.now)();
        // Between the deliveries of a quiet blog nobody knows how an endpoint is.
        let pause = self.budget.max(DAY);
        let since = store.endpoint_failed(&endpoint.id, now, pause).await.map_err(of_the_store)?;
        if between(since, now) < most {
            return Ok(None);
        }
        let why = format!("it has failed since {} without a break, at last with: {said}", time::write(since));
        store.disable_endpoint(&endpoint.id, now, &why).await.map_err(of_the_store)?;
        Ok(Some(format!("{why}; it is disabled")))
    }

    /// Puts a delivery off after an attempt of that number, durably; or gives it up where the next attempt would come too late.
    async fn later(
        &self,
        case: Case<'_>,
        delivery: &WebhookRequested,
        attempt: u32,
        asked: Option<Duration>,
        said: &str,
        context: &mut Context,
    ) -> Result<(), Error> {
        let Case { store, id, owner } = case;
        let now = (self.now)();
        let wait = back_off(id, attempt).max(asked.unwrap_or_default());
        let at = now.saturating_add(time::millis(wait));
        if at > delivery.requested_at.saturating_add(time::millis(self.budget)) {
            let what = format!("{said} (attempt {attempt}; its time of {:?} is up)", self.budget);
            self.end(case, RequestEnding::Dead, &what, context).await?;
            return Err(Error::exhausted(what));
        }
        match store.defer(id, owner, now, at, said).await {
            Ok(()) => Err(Error::deferred(said)),
            // A replay of a letter whose row is long gone: it cannot wait there.
            Err(StoreError::Refused(why)) => {
                Err(Error::exhausted(format!("{said} (attempt {attempt}; {why})")))
            }
            Err(error) => Err(of_the_store(error)),
        }
    }

    /// Makes a dead letter of it.
    async fn dead(
        &self,
        case: Case<'_>,
        what: &str,
        detail: &'static str,
        context: &mut Context,
    ) -> Result<Error, Error> {
        self.end(case, RequestEnding::Dead, what, context).await?;
        Ok(Error::dead(what).detail(detail))
    }

    async fn withdrawn(&self, case: Case<'_>, why: &str, context: &mut Context) -> Result<Error, Error> {
        self.end(case, RequestEnding::Withdrawn, why, context).await?;
        Ok(Error::skip(why))
    }

    /// Tells the ledger that the attempt is over, so that a replay need not wait for the end of its lease, and closes the request.
    async fn end(
        &self,
        Case { store, id, owner }: Case<'_>,
        ending: RequestEnding,
        said: &str,
        context: &mut Context,
    ) -> Result<(), Error> {
        let now = (self.now)();
        store.attempt_failed(id, owner, now, said).await.map_err(of_the_store)?;
        context.change(closed(id, ending, said, now));
        Ok(())
    }
}

/// One delivery in one attempt.
#[derive(Clone, Copy)]
struct Case<'a> {
    store: &'a dyn Store,
    id: &'a str,
    owner: &'a str,
}

impl Handler for Webhooks {
    type Event = WebhookRequested;

    async fn handle(
        &self,
        envelope: &Envelope<WebhookRequested>,
        context: &mut Context,
    ) -> Result<(), Error> {
        if envelope.event.event_id.is_empty() || envelope.event.endpoint.is_empty() {
            return Err(Error::invalid("event_id or endpoint is empty"));
        }
        self.deliver(envelope, context).await
    }
}

/// What follows from an attempt, with what the other side said.
enum Verdict {
    Delivered(String),
    /// Not before the span that the endpoint asked for.
    Later(Option<Duration>, String),
    /// With the detail for the dead letter.
    Never(&'static str, String),
}

/// Returns what is sent to an endpoint: signed with all of its secrets, so that receivers can change theirs.
///
/// # Errors
/// One of the secrets cannot be used.
pub fn request(endpoint: &Endpoint, id: &str, now: i64, body: &str) -> Result<WebRequest, BadSecret> {
    let seconds = now.div_euclid(1_000);
    let signature = signature(&endpoint.secrets, id, seconds, body)?;
    Ok(WebRequest {
        method: WebMethod::Post,
        url: endpoint.url.clone(),
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signature),
        ],
        body: body.as_bytes().to_vec(),
        wanted: Wanted::Start(MOST_OF_A_REPLY),
    })
}

fn closed(id: &str, ending: RequestEnding, reply: &str, time: i64) -> Change {
    Change::RequestClosed { id: id.to_owned(), ending, reply: reply.to_owned(), time }
}

/// Says what is wrong where another attempt could never help. All else is the network's or the host's, and passes.
fn detail(error: &WebError) -> Option<&'static str> {
    match error {
        WebError::BadUrl(_) => Some("bad_url"),
        WebError::Blocked { .. } => Some("blocked"),
        WebError::Connect(_)
        | WebError::Tls(_)
        | WebError::Timeout(_)
        | WebError::Broken(_)
        | WebError::TooLarge(_) => None,
    }
}

/// The class of a store's error, as everywhere: a store that is away is an outage.
fn of_the_store(error: StoreError) -> Error {
    let message = error.to_string();
    match error {
        StoreError::Away(_) => Error::outage("store", message),
        StoreError::Refused(_) => Error::dead(message),
        StoreError::Unusable(_) => Error::fatal(message),
    }
}

/// How long a delivery waits after its attempt of that number, from 1: up to a fifth more or less, by its id, so that
/// those that failed together do not come back together.
fn back_off(id: &str, attempt: u32) -> Duration {
    let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = WAITS.get(place).copied().unwrap_or(LONGEST_WAIT);
    // FNV-1a: the same in every process.
    let hash = id.bytes().chain(attempt.to_be_bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let permille = u32::try_from((hash >> 32) % 401).unwrap_or_default() + 800;
    wait * permille / 1_000
}

fn between(now: i64, until: i64) -> Duration {
    Duration::from_millis(u64::try_from(until.saturating_sub(now)).unwrap_or_default())
}

const WAITS: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(600)];
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// The detail of a dead letter whose endpoint wants nothing any more.
const GONE: &str = "gone";

/// The detail of a dead letter whose endpoint was disabled for it.
const DISABLED: &str = "disabled";

const DAY: Duration = Duration::from_secs(86_400);

/// How much of an answer is read, in bytes.
const MOST_OF_A_REPLY: usize = 64 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_an_hour_and_differ_by_id() {
        for (attempt, wait) in [(1, 5), (2, 30), (3, 120), (4, 600), (5, 3_600), (99, 3_600)] {
            let wait = Duration::from_secs(wait);
            let of = |id: u32| back_off(&format!("delivery-{id}"), attempt);
            let all: Vec<_> = (0..500).map(of).collect();

            assert!(all.iter().all(|one| *one >= wait * 8 / 10 && *one <= wait * 12 / 10), "{attempt}");
            assert!(
                all.iter().any(|one| *one < wait * 9 / 10) && all.iter().any(|one| *one > wait * 11 / 10)
            );
            assert_eq!(of(7), of(7));
        }
    }
}
