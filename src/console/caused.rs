//! What an event caused in the store: notifications, mails, deliveries and pictures.

use crate::adapters::store::{AnyStore, RequestState, RequestStory, ThumbnailLine};
use crate::console::story::{Caused, Tried};
use crate::console::words::grouped;
use crate::ports::{RequestEnding, StoreError};

/// Returns what an event caused.
///
/// # Errors
/// As the store's.
pub(crate) async fn caused(store: &AnyStore, event: &str) -> Result<Vec<Caused>, StoreError> {
    let (rows, count) = store.notifications_of_event(event, MOST).await?;
    let left = count.saturating_sub(u64::try_from(rows.len()).unwrap_or(u64::MAX));
    let mut caused: Vec<_> = rows
        .into_iter()
        .map(|row| Caused {
            what: "notification".to_owned(),
            name: row.recipient,
            state: format!("written ({})", row.reason),
            at: Some(row.time),
            ..Caused::default()
        })
        .collect();
    if left > 0 {
        caused.push(Caused {
            what: "notification".to_owned(),
            name: format!("and {} more", grouped(i64::try_from(left).unwrap_or(i64::MAX))),
            state: "written".to_owned(),
            ..Caused::default()
        });
    }
    caused.extend(store.requests_of_event(event, MOST).await?.into_iter().map(of_request));
    caused.extend(store.thumbnails_of_event(event).await?.map(of_picture));
    Ok(caused)
}

fn of_request(request: RequestStory) -> Caused {
    let (state, at) = match request.state {
        RequestState::Queued => ("waits behind an earlier one", None),
        RequestState::Waiting => ("waits for its time", None),
        RequestState::WithoutAddress => ("waits for an address", None),
        RequestState::Out => ("on its way", None),
        RequestState::Closed { at, ending } => {
            let word = match ending {
                Some(RequestEnding::Done) => "done",
                Some(RequestEnding::Withdrawn) => "no longer wanted",
                Some(RequestEnding::Dead | RequestEnding::Unknown) => "a dead letter",
                None => "closed",
            };
            (word, Some(at))
        }
    };
    let latest = request.attempts.len().saturating_sub(TRIES);
    let next = matches!(request.state, RequestState::Waiting).then_some(request.not_before);
    Caused {
        what: request.kind,
        name: request.key,
        id: Some(request.id),
        state: request.reason.map_or_else(|| state.to_owned(), |reason| format!("{state} ({reason})")),
        attempts: request.attempts.last().map_or(0, |last| last.attempt),
        reply: request.reply,
        at: at.or_else(|| request.attempts.last().map(|last| last.ended_at.unwrap_or(last.began_at))),
        next_at: next,
        command: None,
        tries: request
            .attempts
            .into_iter()
            .skip(latest)
            .map(|one| Tried { attempt: one.attempt, began_at: one.began_at, reply: one.reply })
            .collect(),
    }
}

fn of_picture(line: ThumbnailLine) -> Caused {
    let sizes: Vec<_> = line.files.iter().map(|file| format!("{}×{}", file.width, file.height)).collect();
    Caused {
        what: "thumbnail".to_owned(),
        name: line.object_key,
        state: format!("made: {}", sizes.join(", ")),
        at: Some(line.time),
        ..Caused::default()
    }
}

/// How many of a kind are told of.
const MOST: u32 = 20;

/// How many attempts of one are told of.
const TRIES: usize = 10;
