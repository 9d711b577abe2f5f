//! The story of one event: where it is, what each group did with it, what that caused, and what comes next.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::console::text::masked;
use crate::console::words::{from_now, grouped};
use crate::dead_letters::{Collection, Entry, State};
use crate::telemetry::{Deed, DeedEnd, Described, RecordPlace};

/// What is known of one event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// Its id, where it has one that can be read.
    pub id: Option<String>,
    /// Its kind.
    pub event_type: Option<String>,
    /// Where its record stands.
    pub place: Option<RecordPlace>,
    /// The record's key.
    pub key: Option<String>,
    /// A title or a first line.
    pub subject: Option<String>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: Option<i64>,
    /// The schema that its bytes name, where the record was read.
    pub schema: Option<String>,
    /// Its fields, addresses masked, where the record was read.
    pub fields: Option<Value>,
    /// What is wrong with its bytes, where they cannot be read.
    pub unreadable: Option<String>,
    /// What each group that reads its topic did with it.
    pub groups: Vec<GroupStory>,
    /// What it caused: notifications, mails, deliveries, pictures.
    pub caused: Vec<Caused>,
    /// What was seen of it, oldest first, as far back as the journal of the process reaches.
    pub deeds: Vec<Deed>,
    /// How many records the journal passed over since the process started: where it is not 0, the times of some
    /// deeds are missing.
    pub journal_passed_over: u64,
}

/// What one group did with the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStory {
    /// The consumer group.
    pub group: String,
    /// Its handler.
    pub handler: String,
    /// How far it is with the event.
    pub state: Standing,
    /// The state in a sentence.
    pub words: String,
    /// How many attempts there were, as far as known.
    pub attempts: Option<u32>,
    /// When it was last worked on, in milliseconds since the Unix epoch.
    pub at: Option<i64>,
    /// What was said of a failure.
    pub message: Option<String>,
    /// What comes next.
    pub next: Option<String>,
    /// The command that tells more or mends it.
    pub command: Option<String>,
}

/// How far a group is with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is a dead letter.
    DeadLetter,
    /// It is stored for later.
    Deferred,
    /// It is done.
    Finished,
    /// It failed and is tried again.
    Retry,
    /// It was none of the group's events, or a rule passed over it.
    Skipped,
    /// Nothing is known: the group's position is not.
    Unknown,
    /// It is not done yet.
    Waiting,
}

/// Something that the event caused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caused {
    /// `notification`, `mail`, `webhook` or `thumbnail`.
    pub what: String,
    /// For whom or of what: a user, an endpoint, an object's key.
    pub name: String,
    /// Its id, where it has one.
    pub id: Option<String>,
    /// How far it is, in a few words.
    pub state: String,
    /// How many attempts there were.
    pub attempts: u32,
    /// What the other side said last.
    pub reply: Option<String>,
    /// The attempts, in their order, the latest few.
    #[serde(default)]
    pub tries: Vec<Tried>,
    /// When it was last worked on, in milliseconds since the Unix epoch.
    pub at: Option<i64>,
    /// When it is tried again, in milliseconds since the Unix epoch.
    pub next_at: Option<i64>,
    /// The command that tells more of its dead letter.
    #[serde(default)]
    pub command: Option<String>,
}

/// One attempt to carry something out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it began, in milliseconds since the Unix epoch.
    pub began_at: i64,
    /// What the other side said; `None` while it runs, or where it ended without a word.
    pub reply: Option<String>,
}

/// How far a group is in the partition of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) group: String,
    pub(crate) handler: String,
    /// The next offset that it will finish; `None` where that is not known.
    pub(crate) position: Option<i64>,
}

/// What a story is made of.
#[derive(Default)]
pub(crate) struct Material<'m> {
    pub(crate) place: Option<RecordPlace>,
    pub(crate) described: Described,
    pub(crate) deeds: Vec<Deed>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) letters: Option<&'m Collection>,
    pub(crate) caused: Vec<Caused>,
    pub(crate) passed_over: u64,
}

/// Tells the story at `now` (milliseconds since the Unix epoch).
pub(crate) fn tell(material: Material<'_>, now: i64) -> Story {
    let Material { place, described, deeds, marks, letters, caused, passed_over } = material;
    let groups = place.as_ref().map_or_else(Vec::new, |place| {
        marks.iter().map(|mark| of_group(mark, place, &deeds, letters, now)).collect()
    });
    let caused = caused.into_iter().map(|one| with_letter(one, letters)).collect();
    Story {
        id: described.id,
        event_type: Some(described.event_type).filter(|kind| !kind.is_empty()),
        key: described.key.as_deref().map(masked),
        subject: described.subject.as_deref().map(masked),
        occurred_at: described.occurred_at,
        place,
        groups,
        caused,
        deeds: deeds.into_iter().map(without_addresses).collect(),
        journal_passed_over: passed_over,
        ..Story::default()
    }
}

/// Names the dead letter of a request, where it is one.
fn with_letter(one: Caused, letters: Option<&Collection>) -> Caused {
    let letter = letters.zip(one.id.as_deref()).and_then(|(letters, id)| letters.of_event(id));
    Caused { command: letter.map(|letter| format!("postroom dlq show {}", letter.id)).or(one.command), ..one }
}

fn of_group(
    mark: &Mark,
    place: &RecordPlace,
    deeds: &[Deed],
    letters: Option<&Collection>,
    now: i64,
) -> GroupStory {
    let is_past = mark.position.is_some_and(|position| position > place.offset);
    let deed = deeds.iter().rfind(|deed| deed.group == mark.group && !(is_past && deed.end.is_unfinished()));
    let id = format!("{}/{place}", mark.group);
    let letter = letters.and_then(|letters| letters.find(&id));
    let mut story = match (letter, deed) {
        (Some(letter), _) => of_letter(letter),
        (None, Some(deed)) => of_deed(deed, &id, now),
        (None, None) => of_position(mark.position, place.offset),
    };
    story.group.clone_from(&mark.group);
    story.handler.clone_from(&mark.handler);
    story.at = deed.map(|deed| deed.at);
    story.attempts = story.attempts.or_else(|| deed.map(|deed| deed.attempt));
    story
}

fn of_letter(letter: &Entry) -> GroupStory {
    let (state, words) = match &letter.state {
        State::Open => (Standing::DeadLetter, format!("dead letter: {}", letter.reason)),
        State::Replayed { at, by } => {
            (Standing::Waiting, format!("was a dead letter ({}), replayed {at} by {by}", letter.reason))
        }
        State::Discarded { at, by, .. } => {
            (Standing::Finished, format!("was a dead letter ({}), discarded {at} by {by}", letter.reason))
        }
    };
    let next =
        (state == Standing::DeadLetter).then(|| "stays until somebody replays or discards it".to_owned());
    GroupStory {
        attempts: letter.attempts,
        message: letter.message.as_deref().map(masked),
        next,
        command: Some(format!("postroom dlq show {}", letter.id)),
        ..GroupStory::of(state, words)
    }
}

fn of_deed(deed: &Deed, id: &str, now: i64) -> GroupStory {
    let failed = |state, words| GroupStory {
        message: deed.message.as_deref().map(masked),
        ..GroupStory::of(state, words)
    };
    match &deed.end {
        DeedEnd::Ok => GroupStory::of(Standing::Finished, "done".to_owned()),
        DeedEnd::Duplicate => GroupStory::of(Standing::Finished, "its effects were there already".to_owned()),
        DeedEnd::Skipped => GroupStory::of(Standing::Skipped, "none of this group's events".to_owned()),
        DeedEnd::Deferred => GroupStory {
            next: Some("when its time comes, from the outbox".to_owned()),
            ..failed(Standing::Deferred, "stored for later".to_owned())
        },
        DeedEnd::Retry { next_at } => GroupStory {
            next: Some(format!("attempt {} {}", deed.attempt.saturating_add(1), from_now(now, *next_at))),
            ..failed(Standing::Retry, format!("attempt {} failed", deed.attempt))
        },
        DeedEnd::Waiting { dependency } => GroupStory {
            next: Some(format!("when {dependency} answers again")),
            ..failed(Standing::Waiting, format!("waits for {dependency}, which is away"))
        },
        DeedEnd::DeadLettered { reason } => GroupStory {
            next: Some("stays until somebody replays or discards it".to_owned()),
            command: Some(format!("postroom dlq show {id}")),
            ..failed(Standing::DeadLetter, format!("dead letter: {reason}"))
        },
    }
}

fn of_position(position: Option<i64>, offset: i64) -> GroupStory {
    match position {
        None => GroupStory::of(Standing::Unknown, "the group's position is not known here".to_owned()),
        Some(position) if position > offset => {
            GroupStory::of(Standing::Finished, format!("finished: the group is at {}", grouped(position)))
        }
        Some(position) => {
            let before = grouped(offset.saturating_sub(position));
            GroupStory {
                next: Some("its turn in the partition".to_owned()),
                ..GroupStory::of(Standing::Waiting, format!("waits: {before} records stand before it"))
            }
        }
    }
}

impl GroupStory {
    fn of(state: Standing, words: String) -> Self {
        Self {
            group: String::new(),
            handler: String::new(),
            state,
            words,
            attempts: None,
            at: None,
            message: None,
            next: None,
            command: None,
        }
    }
}

fn without_addresses(deed: Deed) -> Deed {
    Deed { message: deed.message.as_deref().map(masked), ..deed }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn place() -> RecordPlace {
        RecordPlace { topic: "blog.posts".to_owned(), partition: 3, offset: 40 }
    }

    fn mark(position: Option<i64>) -> Mark {
        Mark { group: "postroom.mail".to_owned(), handler: "mail".to_owned(), position }
    }

    fn story(position: Option<i64>, end: Option<DeedEnd>) -> GroupStory {
        let deed = end.map(|end| Deed {
            group: "postroom.mail".to_owned(),
            end,
            attempt: 2,
            at: 1_000,
            message: Some("450 <ada@example.org> greylisted".to_owned()),
        });
        let material = Material {
            place: Some(place()),
            deeds: deed.into_iter().collect(),
            marks: vec![mark(position)],
            ..Material::default()
        };
        tell(material, 2_000).groups.remove(0)
    }

    #[test]
    fn a_group_behind_the_event_says_how_far() {
        let behind = story(Some(38), None);

        assert_eq!(behind.state, Standing::Waiting);
        assert_eq!(behind.words, "waits: 2 records stand before it");
        assert_eq!(story(Some(41), None).state, Standing::Finished);
        assert_eq!(story(None, None).state, Standing::Unknown);
    }

    #[test]
    fn a_retry_says_what_failed_and_when_it_is_tried_again() {
        let retry = story(Some(40), Some(DeedEnd::Retry { next_at: 6_000 }));

        assert_eq!(retry.next.as_deref(), Some("attempt 3 in 4 s"));
        assert_eq!(retry.message.as_deref(), Some("450 <a•••@example.org> greylisted"));
    }

    #[test]
    fn a_dead_letter_names_the_command_that_shows_it() {
        let dead = story(Some(41), Some(DeedEnd::DeadLettered { reason: "rejected".to_owned() }));

        assert_eq!(dead.command.as_deref(), Some("postroom dlq show postroom.mail/blog.posts/3/40"));
    }

    #[test]
    fn a_delivery_that_is_a_dead_letter_names_the_command_too() {
        let mut letters = Collection::default();
        letters.add(&crate::dead_letters::tests::letter("request-1"));
        let of =
            |id: &str| Caused { what: "webhook".to_owned(), id: Some(id.to_owned()), ..Caused::default() };
        let caused = vec![of("request-1"), of("request-2")];

        let told = tell(Material { letters: Some(&letters), caused, ..Material::default() }, 0);

        let commands: Vec<_> = told.caused.iter().map(|one| one.command.as_deref()).collect();
        assert_eq!(commands, [Some("postroom dlq show postroom.webhooks/blog.webhooks/1/9"), None]);
    }

    #[test]
    fn a_story_survives_json() {
        let material = Material { place: Some(place()), marks: vec![mark(Some(1))], ..Material::default() };
        let told = tell(material, 0);

        let read: Story =
            serde_json::from_value(serde_json::to_value(&told).unwrap_or_default()).unwrap_or_default();

        assert_eq!(read, told);
        assert_eq!(read.groups[0].handler, "mail");
    }
}
