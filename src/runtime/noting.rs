//! Tells the journal what became of single records.

use std::time::Duration;

use postroom_core::{Class, DeadLetter, Failure, Offset, Outcome, RunResult, TopicPartition};
use serde_json::Value;

use crate::codec::Codec;
use crate::event::{RawRecord, time};
use crate::runtime::age::WallClock;
use crate::runtime::tally::{Finish, OTHER, Tally};
use crate::runtime::worker::{Desk, RunEnd};
use crate::runtime::workers::Completion;
use crate::telemetry::{Deed, DeedEnd, Described, RecordPlace};

/// Notes how the records of a run ended, of which the journal has admitted the first.
pub(crate) fn completed(desk: &Desk, completion: &Completion, clock: WallClock) {
    let RunEnd::Ended(result) = &completion.report.end else { return };
    for (index, record) in completion.noted.iter().enumerate() {
        let Some(end) = end_of(desk, record, index, result, completion) else { continue };
        let (end, message) = match end {
            End::Finished(end) => (Some(end), None),
            End::Failed(failure) => match &failure.class {
                Class::Outage(dependency) => {
                    let dependency = dependency.0.to_string();
                    (Some(DeedEnd::Waiting { dependency }), Some(failure.to_string()))
                }
                // What follows from it is told by the processor.
                Class::Transient { .. } | Class::Dead(_) | Class::Fatal => (None, None),
            },
        };
        let deed = end.map(|end| Deed {
            group: desk.group.to_string(),
            end,
            attempt: if index == 0 { completion.attempt.0 } else { 1 },
            at: clock.millis(),
            message,
        });
        desk.journal.note(
            place(record.partition(), record.offset()),
            || Some(describe(&desk.codec, record)),
            deed,
        );
    }
}

/// Notes that a record is tried again.
pub(crate) fn retry(
    desk: &Desk,
    partition: &TopicPartition,
    offset: Offset,
    attempt: u32,
    wait: Duration,
    cause: &Failure,
) {
    if !desk.journal.admits_failure() {
        return;
    }
    let at = WallClock::now().millis();
    let next_at = at.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    let end = DeedEnd::Retry { next_at };
    let message = Some(cause.to_string());
    let deed = Deed { group: desk.group.to_string(), end, attempt, at, message };
    desk.journal.note(place(partition, offset), || None, Some(deed));
}

/// Notes that a record goes to the dead letters.
pub(crate) fn dead_letter(desk: &Desk, letter: &DeadLetter<RawRecord>) {
    if !desk.journal.admits_failure() {
        return;
    }
    let end = DeedEnd::DeadLettered { reason: letter.reason.code().to_owned() };
    let deed = Deed {
        group: desk.group.to_string(),
        end,
        attempt: letter.attempts,
        at: WallClock::now().millis(),
        message: Some(letter.failure.to_string()),
    };
    let place = place(&letter.partition, letter.ticket.offset);
    desk.journal.note(place, || Some(describe(&desk.codec, &letter.payload)), Some(deed));
}

enum End<'f> {
    Finished(DeedEnd),
    Failed(&'f Failure),
}

/// Says how the record at `index` ended; `None` where it was not attempted.
fn end_of<'f>(
    desk: &Desk,
    record: &RawRecord,
    index: usize,
    result: &'f RunResult,
    completion: &Completion,
) -> Option<End<'f>> {
    let done = || End::Finished(finished(desk, record, &completion.report.tally));
    match result {
        RunResult::Done => Some(done()),
        RunResult::Each(outcomes) => match outcomes.get(index)? {
            Outcome::Done | Outcome::Skipped => Some(done()),
            Outcome::Deferred => Some(End::Finished(DeedEnd::Deferred)),
            Outcome::Failed(failure) => Some(End::Failed(failure)),
        },
        // Of a run that failed together only an outage is true of each.
        RunResult::Failed(failure)
            if completion.records == 1 || matches!(failure.class, Class::Outage(_)) =>
        {
            Some(End::Failed(failure))
        }
        RunResult::Failed(_) => None,
    }
}

/// Says how a finished record was finished. The tally counts by type: where records of one type in one run ended in
/// several ways (repeats among replays), it says what most of them did.
fn finished(desk: &Desk, record: &RawRecord, tally: &Tally) -> DeedEnd {
    let event_type = desk.event_type(record);
    let of_type = tally.rows().filter(|(name, ..)| *name == event_type);
    match of_type.max_by_key(|(.., count)| *count).map(|(_, finish, _)| *finish) {
        Some(Finish::Ok) => DeedEnd::Ok,
        Some(Finish::Deferred) => DeedEnd::Deferred,
        Some(Finish::Duplicate) => DeedEnd::Duplicate,
        Some(Finish::Skipped) => DeedEnd::Skipped,
        None if event_type == OTHER => DeedEnd::Skipped,
        None => DeedEnd::Ok,
    }
}

/// Says what a record is, for people. Large ones are not looked into.
pub(crate) fn describe(codec: &Codec, record: &RawRecord) -> Described {
    let readable = (record.size() <= LARGEST_READ).then(|| codec.to_json(record).ok().flatten()).flatten();
    let text = |name: &str| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
    let field = |name: &str| readable.as_ref().and_then(|readable| readable.fields.get(name)?.as_str());
    let id = text("ce_id").or_else(|| text("id")).or_else(|| field("event_id"));
    let occurred = text("ce_time").or_else(|| field("occurred_at")).and_then(|text| time::parse(text).ok());
    Described {
        id: id.map(str::to_owned),
        event_type: text("ce_type")
            .map(str::to_owned)
            .or_else(|| readable.as_ref().map(|readable| readable.event_type.clone()))
            .unwrap_or_else(|| UNREADABLE.to_owned()),
        key: record.key().map(|key| String::from_utf8_lossy(key).into_owned()),
        subject: readable.as_ref().and_then(|readable| subject(&readable.fields)),
        occurred_at: occurred.or_else(|| record.timestamp()),
    }
}

/// The first field that says what an event is about.
fn subject(fields: &Value) -> Option<String> {
    let text = |name: &&str| fields.get(*name)?.as_str().filter(|text| !text.trim().is_empty());
    let found = SUBJECTS.iter().find_map(text)?;
    let line = found.lines().find(|line| !line.trim().is_empty()).unwrap_or(found);
    Some(line.trim().chars().take(LONGEST_SUBJECT).collect())
}

fn place(partition: &TopicPartition, offset: Offset) -> RecordPlace {
    RecordPlace {
        topic: partition.topic.as_str().to_owned(),
        partition: partition.partition.0,
        offset: offset.0,
    }
}

/// Which fields may say what an event is about, the best first.
const SUBJECTS: [&str; 8] =
    ["title", "body", "text", "post_title", "object_key", "name", "comment_id", "post_id"];
/// How many characters of a subject are kept.
const LONGEST_SUBJECT: usize = 100;
/// What is said of an event whose record cannot be read.
const UNREADABLE: &str = "unreadable";
/// The largest record that is read for its subject, in bytes.
const LARGEST_READ: usize = 64 * 1024;
