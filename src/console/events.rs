//! The latest events with what each group made of them.

use serde::Serialize;

use crate::console::text::masked;
use crate::console::words::{from_now, rfc3339};
use crate::telemetry::{Deed, DeedEnd, JournalEvent, RecordPlace, Status};

/// One event in the list.
#[derive(Serialize)]
pub(crate) struct EventView {
    /// What is between `/events/` and the end of its story's address.
    link: String,
    event_type: String,
    id: String,
    subject: Option<String>,
    when: String,
    at: String,
    chips: Vec<Chip>,
}

/// What one group made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Chip {
    pub(crate) handler: String,
    /// The class of its colour.
    pub(crate) kind: &'static str,
    pub(crate) sign: &'static str,
    pub(crate) words: String,
}

/// Turns events of the journal into what is shown.
pub(crate) fn view(events: &[JournalEvent], status: &Status, now: i64) -> Vec<EventView> {
    events.iter().map(|event| one(event, status, now)).collect()
}

fn one(event: &JournalEvent, status: &Status, now: i64) -> EventView {
    let described = &event.described;
    let at = event.deeds.first().map(|deed| deed.at).or(described.occurred_at).unwrap_or(now);
    EventView {
        link: link(&event.place),
        event_type: described.event_type.clone(),
        id: described.id.clone().unwrap_or_else(|| event.place.to_string()),
        subject: described.subject.as_deref().map(masked),
        when: from_now(now, at),
        at: rfc3339(at),
        chips: chips(event, status, now),
    }
}

/// Returns a chip for each group of this process that the event concerns.
pub(crate) fn chips(event: &JournalEvent, status: &Status, now: i64) -> Vec<Chip> {
    let known = status.groups.iter().filter_map(|group| {
        let is_past = position(status, &group.group, &event.place).is_some_and(|at| at > event.place.offset);
        // What came of a failure may not have been noted.
        let deed = event.last_of(&group.group).filter(|deed| !(is_past && deed.end.is_unfinished()));
        let (kind, sign, words) = match deed {
            Some(deed) => of_deed(deed, now)?,
            None => unnoted(status, &group.group, &event.place)?,
        };
        Some(Chip { handler: group.handler.clone(), kind, sign, words })
    });
    known.collect()
}

/// Returns class, sign and words for what a group did last; nothing for what did not concern it.
pub(crate) fn of_deed(deed: &Deed, now: i64) -> Option<(&'static str, &'static str, String)> {
    let attempt = deed.attempt;
    Some(match &deed.end {
        DeedEnd::Ok => ("ok", "✓", "done".to_owned()),
        DeedEnd::Duplicate => ("ok", "✓", "was done before".to_owned()),
        DeedEnd::Deferred => ("deferred", "⏲", "stored for later".to_owned()),
        DeedEnd::Retry { next_at } => {
            ("retry", "↻", format!("attempt {attempt} failed, again {}", from_now(now, *next_at)))
        }
        DeedEnd::Waiting { dependency } => ("waiting", "…", format!("waits for {dependency}")),
        DeedEnd::DeadLettered { reason } => ("dead", "✕", format!("dead letter: {reason}")),
        DeedEnd::Skipped => return None,
    })
}

/// What the positions tell where nothing was noted.
fn unnoted(
    status: &Status,
    group: &str,
    place: &RecordPlace,
) -> Option<(&'static str, &'static str, String)> {
    let position = position(status, group, place)?;
    Some(if position > place.offset {
        ("past", "✓", "finished, not noted".to_owned())
    } else {
        ("waiting", "…", "waits for its turn".to_owned())
    })
}

/// Returns the position of a group in the partition of a record, where this process holds it.
pub(crate) fn position(status: &Status, group: &str, place: &RecordPlace) -> Option<i64> {
    let group = status.groups.iter().find(|one| one.group == group)?;
    let held =
        group.partitions.iter().find(|one| one.topic == place.topic && one.partition == place.partition)?;
    Some(held.position.unwrap_or(0))
}

/// Returns the part of an address that names a record: topics hold no character that means something there.
pub(crate) fn link(place: &RecordPlace) -> String {
    url::form_urlencoded::byte_serialize(place.topic.as_bytes()).collect::<String>()
        + &format!("/{}/{}", place.partition, place.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{GroupStatus, PartitionStatus};

    fn status(position: i64) -> Status {
        let partition = PartitionStatus {
            topic: "blog.posts".to_owned(),
            partition: 1,
            position: Some(position),
            ..PartitionStatus::default()
        };
        let group = GroupStatus {
            group: "postroom.mail".to_owned(),
            handler: "mail".to_owned(),
            partitions: vec![partition],
            ..GroupStatus::default()
        };
        Status { groups: vec![group], ..Status::default() }
    }

    fn event(end: Option<DeedEnd>) -> JournalEvent {
        let deed =
            end.map(|end| Deed { group: "postroom.mail".to_owned(), end, attempt: 2, ..Deed::default() });
        JournalEvent {
            place: RecordPlace { topic: "blog.posts".to_owned(), partition: 1, offset: 10 },
            deeds: deed.into_iter().collect(),
            ..JournalEvent::default()
        }
    }

    fn kind(event: &JournalEvent, position: i64) -> Option<&'static str> {
        chips(event, &status(position), 0).first().map(|chip| chip.kind)
    }

    #[test]
    fn what_was_noted_decides_the_chip() {
        let dead = DeedEnd::DeadLettered { reason: "rejected".to_owned() };
        for (end, expected) in [
            (DeedEnd::Ok, Some("ok")),
            (DeedEnd::Skipped, None),
            (DeedEnd::Deferred, Some("deferred")),
            (DeedEnd::Retry { next_at: 5 }, Some("retry")),
            (dead, Some("dead")),
        ] {
            assert_eq!(kind(&event(Some(end)), 10), expected);
        }
    }

    #[test]
    fn a_failure_that_the_group_has_passed_is_over() {
        assert_eq!(kind(&event(Some(DeedEnd::Retry { next_at: 5 })), 11), Some("past"));
    }

    #[test]
    fn without_a_note_the_position_tells_whether_it_waits() {
        assert_eq!(kind(&event(None), 10), Some("waiting"));
        assert_eq!(kind(&event(None), 11), Some("past"));
    }

    #[test]
    fn a_group_without_the_partition_has_no_chip() {
        let mut elsewhere = event(None);
        elsewhere.place.partition = 2;

        assert_eq!(kind(&elsewhere, 11), None);
    }
}
