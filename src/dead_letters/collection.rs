//! What dead-letter topics hold, collapsed by id.

use std::collections::{BTreeMap, BTreeSet};

use crate::dead_letters::cause::{Cause, shortened};
use crate::dead_letters::entry::{self, Entry, Reading, State};
use crate::event::RawRecord;

/// Dead letters by id.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    entries: BTreeMap<String, Entry>,
    /// The replays that the newest marker of an id counts.
    marked: BTreeMap<String, u32>,
}

/// Which dead letters are meant. What is not set does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these ids.
    pub ids: BTreeSet<String>,
    /// Only of this consumer group.
    pub group: Option<String>,
    /// Only of this source topic.
    pub topic: Option<String>,
    /// Only of this reason.
    pub reason: Option<String>,
    /// Only of this cause: its whole id.
    pub cause: Option<String>,
    /// Those that were replayed or discarded too.
    pub done_too: bool,
}

/// Why the id of a cause names none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CauseError {
    /// No letter has a cause whose id begins so.
    #[error("there is no cause {0:?}")]
    Unknown(String),
    /// Several begin so.
    #[error("several causes begin with {0:?}: {list}", list = .1.join(", "))]
    Ambiguous(String, Vec<String>),
}

impl Collection {
    /// Adds a record. Records of one partition must come in order.
    pub(crate) fn add(&mut self, record: &RawRecord) {
        match entry::read(record) {
            Reading::Letter(mut letter) => {
                let marked = self.marked.get(&letter.id).copied();
                if let Some(earlier) = self.entries.get(&letter.id) {
                    letter.copies = earlier.copies.saturating_add(1);
                    // A copy of what was replayed already does not open it again.
                    if marked.is_some_and(|marked| letter.replays < marked) {
                        letter.state = earlier.state.clone();
                    }
                }
                self.entries.insert(letter.id.clone(), *letter);
            }
            Reading::Marker { id, state, replays } => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.state = state;
                    entry.replays = entry.replays.max(replays);
                    self.marked.insert(id, replays);
                }
            }
        }
    }

    /// Returns how many ids it knows.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the dead letter of an id.
    pub fn find(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Returns an open dead letter of an event, by the id in its headers.
    pub fn of_event(&self, id: &str) -> Option<&Entry> {
        let open = self.entries.values().filter(|entry| entry.state == State::Open);
        open.rev().find(|entry| entry.event_id.as_deref() == Some(id))
    }

    /// Returns the selected dead letters, newest first.
    pub fn select(&self, selection: &Selection) -> Vec<&Entry> {
        let mut entries: Vec<_> = self.entries.values().filter(|entry| selection.takes(entry)).collect();
        entries.sort_by(|one, other| {
            other.failed_at.cmp(&one.failed_at).then_with(|| other.place.offset.cmp(&one.place.offset))
        });
        entries
    }

    /// Groups the selected dead letters by cause, the most frequent first.
    pub fn causes(&self, selection: &Selection) -> Vec<Cause> {
        let mut causes: BTreeMap<String, Cause> = BTreeMap::new();
        for entry in self.select(selection) {
            let add = |cause: &mut Cause| cause.add(entry);
            causes.entry(entry.cause.clone()).and_modify(add).or_insert_with(|| Cause::of(entry));
        }
        let all = self.cause_ids();
        let mut causes: Vec<_> = causes.into_values().collect();
        for cause in &mut causes {
            cause.id = shortened(&cause.id, &all);
        }
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
        causes
    }

    /// Finds the cause whose id begins with `start`, also where all its letters are done; returns its whole id.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn cause(&self, start: &str) -> Result<String, CauseError> {
        let wanted = start.to_ascii_lowercase();
        let all = self.cause_ids();
        let mut found = all.iter().filter(|id| !wanted.is_empty() && id.starts_with(&wanted));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id.clone()),
            (None, _) => Err(CauseError::Unknown(start.to_owned())),
            (Some(_), Some(_)) => {
                let known = all.iter().filter(|id| id.starts_with(&wanted));
                Err(CauseError::Ambiguous(start.to_owned(), known.map(|id| shortened(id, &all)).collect()))
            }
        }
    }

    /// Returns the reasons of its letters.
    pub fn reasons(&self) -> BTreeSet<&str> {
        self.entries.values().map(|entry| entry.reason.as_str()).collect()
    }

    /// Returns the topics that its letters came from.
    pub fn sources(&self) -> BTreeSet<&str> {
        self.entries.values().map(|entry| entry.origin.topic.as_str()).collect()
    }

    /// Returns the consumer groups that gave letters up.
    pub fn groups(&self) -> BTreeSet<&str> {
        self.entries.values().map(|entry| entry.group.as_str()).filter(|group| !group.is_empty()).collect()
    }

    fn cause_ids(&self) -> BTreeSet<String> {
        self.entries.values().map(|entry| entry.cause.clone()).collect()
    }
}

impl Selection {
    /// Says whether it names one dead letter or several by id: an id chooses what is done too.
    fn takes(&self, entry: &Entry) -> bool {
        let open = entry.state == State::Open || self.done_too;
        let matches =
            |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        open && (self.ids.is_empty() || self.ids.contains(&entry.id))
            && matches(&self.group, &entry.group)
            && matches(&self.topic, &entry.origin.topic)
            && matches(&self.reason, &entry.reason)
            && matches(&self.cause, &entry.cause)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::dead_letters::entry::tests::record;

    fn letter(collection: &mut Collection, id: &str, reason: &str, replays: &str, offset: i64) {
        let headers = [
            ("postroom-dlq-id", id),
            ("postroom-dlq-group", "g"),
            ("postroom-dlq-topic", "posts"),
            ("postroom-dlq-partition", "1"),
            ("postroom-dlq-offset", "9"),
            ("postroom-dlq-reason", reason),
            ("postroom-dlq-replays", replays),
        ];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        collection.add(&record(&headers, offset));
    }

    fn marker(collection: &mut Collection, id: &str, replays: &str, offset: i64) {
        let headers = [
            ("postroom-dlq-id", id),
            ("postroom-dlq-state", "replayed"),
            ("postroom-dlq-state-by", "ops"),
            ("postroom-dlq-replays", replays),
        ];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        collection.add(&record(&headers, offset));
    }

    #[test]
    fn letters_are_grouped_by_what_was_said_and_a_cause_is_found_by_the_start_of_its_id() {
        let mut collection = Collection::default();
        for (offset, id, said) in [
            (1, "a", "row 1 of \"x\""),
            (2, "b", "row 22 of \"y z\""),
            (3, "c", "no row"),
            (4, "d", "row 3 of \"\""),
        ] {
            let headers = [
                ("ce_type", "post.published"),
                ("postroom-dlq-id", id),
                ("postroom-dlq-group", "g"),
                ("postroom-dlq-topic", "posts"),
                ("postroom-dlq-partition", "1"),
                ("postroom-dlq-offset", "9"),
                ("postroom-dlq-reason", "rejected"),
                ("postroom-dlq-message", said),
                ("postroom-dlq-failed-at", &format!("2026-01-0{offset}T00:00:00Z")),
            ];
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
            collection.add(&record(&headers, offset));
        }

        let causes = collection.causes(&Selection::default());

        let [rows, none] = causes.as_slice() else { unreachable!("{causes:#?}") };
        assert_eq!((rows.count, rows.message.as_str(), rows.newest.as_str()), (3, "row # of \"…\"", "d"));
        assert_eq!(rows.first_failed_at.as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(rows.last_failed_at.as_deref(), Some("2026-01-04T00:00:00Z"));
        assert!(rows.event_types.contains("post.published") && rows.topics.contains("posts"));
        assert_eq!((none.count, rows.id.len(), none.id.len()), (1, 4, 4));
        let cause = collection.cause(&rows.id.to_uppercase()).unwrap();
        let of = Selection { cause: Some(cause), ..Selection::default() };
        assert_eq!(collection.select(&of).len(), 3);
        assert_eq!(collection.cause("xyz"), Err(CauseError::Unknown("xyz".to_owned())));
        assert_eq!(collection.cause(""), Err(CauseError::Unknown(String::new())));
    }

    #[test]
    fn copies_of_an_id_collapse() {
        let mut collection = Collection::default();
        letter(&mut collection, "a", "invalid", "0", 1);
        letter(&mut collection, "a", "invalid", "0", 2);
        letter(&mut collection, "b", "undecodable", "0", 3);

        assert_eq!(collection.select(&Selection::default()).len(), 2);
        assert_eq!(collection.find("a").unwrap().copies, 2);
        let causes = collection.causes(&Selection::default());
        assert_eq!(causes.iter().map(|cause| cause.count).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn what_was_replayed_is_done_until_it_fails_again() {
        let mut collection = Collection::default();
        letter(&mut collection, "a", "invalid", "0", 1);
        marker(&mut collection, "a", "1", 2);
        assert!(collection.select(&Selection::default()).is_empty());
        assert!(matches!(collection.find("a").unwrap().state, State::Replayed { .. }));

        letter(&mut collection, "a", "exhausted", "1", 3);

        let open = collection.select(&Selection::default());
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].reason.as_str(), open[0].replays), ("exhausted", 1));
    }

    #[test]
    fn a_late_copy_does_not_open_what_was_replayed() {
        let mut collection = Collection::default();
        letter(&mut collection, "a", "invalid", "0", 1);
        marker(&mut collection, "a", "1", 2);
        letter(&mut collection, "a", "invalid", "0", 3);

        assert!(collection.select(&Selection::default()).is_empty());
        assert_eq!(collection.select(&Selection { done_too: true, ..Selection::default() }).len(), 1);
    }

    #[test]
    fn a_selection_restricts_by_all_that_it_names() {
        let mut collection = Collection::default();
        letter(&mut collection, "a", "invalid", "0", 1);
        letter(&mut collection, "b", "undecodable", "0", 2);
        let by = |selection: Selection| collection.select(&selection).len();

        assert_eq!(by(Selection { reason: Some("invalid".to_owned()), ..Selection::default() }), 1);
        assert_eq!(by(Selection { ids: ["b".to_owned()].into(), ..Selection::default() }), 1);
        assert_eq!(by(Selection { group: Some("other".to_owned()), ..Selection::default() }), 0);
        assert_eq!(by(Selection { topic: Some("posts".to_owned()), ..Selection::default() }), 2);
    }
}
