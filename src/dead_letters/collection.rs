//! What dead-letter topics hold, collapsed by id.

use std::collections::BTreeMap;

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
    pub ids: Vec<String>,
    /// Only of this consumer group.
    pub group: Option<String>,
    /// Only of this source topic.
    pub topic: Option<String>,
    /// Only of this reason.
    pub reason: Option<String>,
    /// Those that were replayed or discarded too.
    pub done_too: bool,
}

/// Dead letters of one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The consumer group.
    pub group: String,
    /// The source topic.
    pub topic: String,
    /// The reason.
    pub reason: String,
    /// The detail beneath it; empty where there is none.
    pub detail: String,
    /// How many.
    pub count: usize,
    /// The id of the newest.
    pub newest: String,
    /// When it failed, as RFC 3339.
    pub last_failed_at: Option<String>,
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
        let mut causes: BTreeMap<(&str, &str, &str, &str), Cause> = BTreeMap::new();
        for entry in self.select(selection) {
            let detail = entry.detail.as_deref().unwrap_or_default();
            let key = (entry.group.as_str(), entry.origin.topic.as_str(), entry.reason.as_str(), detail);
            let cause = causes.entry(key).or_insert_with(|| Cause {
                group: entry.group.clone(),
                topic: entry.origin.topic.clone(),
                reason: entry.reason.clone(),
                detail: detail.to_owned(),
                count: 0,
                newest: entry.id.clone(),
                last_failed_at: entry.failed_at.clone(),
            });
            cause.count += 1;
        }
        let mut causes: Vec<_> = causes.into_values().collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
        causes
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
        assert_eq!(by(Selection { ids: vec!["b".to_owned()], ..Selection::default() }), 1);
        assert_eq!(by(Selection { group: Some("other".to_owned()), ..Selection::default() }), 0);
        assert_eq!(by(Selection { topic: Some("posts".to_owned()), ..Selection::default() }), 2);
    }
}
