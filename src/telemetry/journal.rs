//! The journal: what this process's groups did with the latest events, one by one, bounded in memory.
//!
//! At a blog's normal pace it has everything. While groups catch up it notes a part only and counts what it passed
//! over, so that the path of records does not pay for it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// The latest events and what became of them.
pub struct Journal {
    origin: Instant,
    /// The window of time in the upper half, what was granted in it in the lower half.
    work: AtomicU64,
    /// The same for failures, which have an allowance of their own.
    failures: AtomicU64,
    passed_over: AtomicU64,
    ring: Mutex<Ring>,
}

/// Where a record stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordPlace {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl RecordPlace {
    /// Reads `topic/partition/offset`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '/');
        let offset = parts.next()?.parse().ok().filter(|offset| *offset >= 0)?;
        let partition = parts.next()?.parse().ok().filter(|partition| *partition >= 0)?;
        let topic = parts.next().filter(|topic| !topic.is_empty() && !topic.contains('/'))?;
        Some(Self { topic: topic.to_owned(), partition, offset })
    }
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// What is known of an event beside its place. Texts are cut to 255 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Its id, where the record could be read.
    pub id: Option<String>,
    /// Its kind, such as `post.published`; empty where nobody could tell.
    pub event_type: String,
    /// The record's key.
    pub key: Option<String>,
    /// A title or a first line, for people.
    pub subject: Option<String>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at: Option<i64>,
}

/// An event in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEvent {
    /// Where its record stands.
    pub place: RecordPlace,
    /// What is known of it.
    #[serde(flatten)]
    pub described: Described,
    /// What groups did with it, oldest first; of each group the latest 8.
    pub deeds: Vec<Deed>,
}

impl JournalEvent {
    /// Returns what a group did last.
    pub fn last_of(&self, group: &str) -> Option<&Deed> {
        self.deeds.iter().rfind(|deed| deed.group == group)
    }

    fn weight(&self) -> usize {
        let described = &self.described;
        let texts = [&described.id, &described.key, &described.subject];
        let texts: usize = texts.iter().filter_map(|text| text.as_ref()).map(String::len).sum();
        let deeds: usize = self.deeds.iter().map(Deed::weight).sum();
        size_of::<Self>() + texts + described.event_type.len() + self.place.topic.len() * 2 + deeds
    }
}

/// What one group did with an event at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// The consumer group.
    pub group: String,
    /// How it went.
    pub end: DeedEnd,
    /// Which attempt it was, from 1; 0 where no handler saw the event.
    pub attempt: u32,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// What there is to say, cut to 300 bytes.
    pub message: Option<String>,
}

impl Deed {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.group.len() + self.message.as_ref().map_or(0, String::len)
    }
}

/// How a group's work on an event went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DeedEnd {
    /// Its effects are done.
    #[default]
    Ok,
    /// A rule passed over it.
    Skipped,
    /// Its effects were there already.
    Duplicate,
    /// It is stored durably for later.
    Deferred,
    /// It failed and is tried again.
    Retry {
        /// When, in milliseconds since the Unix epoch.
        next_at: i64,
    },
    /// A dependency is away: it is tried again when that is back.
    Waiting {
        /// Which.
        dependency: String,
    },
    /// It was set aside in the dead-letter topic.
    DeadLettered {
        /// Why: one of the reasons.
        reason: String,
    },
}

impl DeedEnd {
    /// Says whether more is to come of it in this group, before the group passes it.
    pub const fn is_unfinished(&self) -> bool {
        matches!(self, Self::Retry { .. } | Self::Waiting { .. })
    }

    /// Returns the word for it, as in the metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Duplicate => "duplicate",
            Self::Deferred => "deferred",
            Self::Retry { .. } => "retry",
            Self::Waiting { .. } => "waiting",
            Self::DeadLettered { .. } => "dead_lettered",
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            work: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            passed_over: AtomicU64::new(0),
            ring: Mutex::default(),
        }
    }
}

impl Journal {
    /// Says how many of `records` finished records may be noted at `now`: all at a normal pace, none at full speed.
    pub(crate) fn admits(&self, records: usize, now: Instant) -> usize {
        self.grant(&self.work, records, now)
    }

    /// Says whether a failure may be noted.
    pub(crate) fn admits_failure(&self) -> bool {
        self.grant(&self.failures, 1, Instant::now()) == 1
    }

    /// Counts records that were finished without being noted.
    pub(crate) fn pass_over(&self, records: usize) {
        if records > 0 {
            self.passed_over.fetch_add(u64::try_from(records).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Returns how many finished records were not noted, over all groups, since the start: 0 means that the journal
    /// is complete as far back as it reaches.
    pub fn passed_over(&self) -> u64 {
        self.passed_over.load(Ordering::Relaxed)
    }

    /// Notes what a group did. `describe` is asked where the event is new here, outside of any lock.
    pub(crate) fn note(
        &self,
        place: RecordPlace,
        describe: impl FnOnce() -> Option<Described>,
        deed: Option<Deed>,
    ) {
        let described = if self.lock().knows(&place) { None } else { describe() };
        self.lock().note(place, described, deed);
    }

    /// Returns up to `count` events of `wanted` topics, those that came last first.
    pub fn latest(&self, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<JournalEvent> {
        let ring = self.lock();
        ring.events.iter().rev().filter(|event| wanted(&event.place.topic)).take(count).cloned().collect()
    }

    /// Returns the events of an id, those that came last first: an event that was published or replayed twice has two.
    pub fn of_id(&self, id: &str) -> Vec<JournalEvent> {
        let ring = self.lock();
        ring.events.iter().rev().filter(|event| event.described.id.as_deref() == Some(id)).cloned().collect()
    }

    /// Returns the event of a record.
    pub fn at(&self, place: &RecordPlace) -> Option<JournalEvent> {
        let ring = self.lock();
        ring.find(place).and_then(|at| ring.events.get(at)).cloned()
    }

    fn grant(&self, bucket: &AtomicU64, wanted: usize, now: Instant) -> usize {
        let since = now.saturating_duration_since(self.origin).as_millis() / WINDOW_MILLIS;
        let window = u64::try_from(since).unwrap_or(u64::MAX) << 32;
        let used_in = |state: u64| if state & !LOWER == window { state & LOWER } else { 0 };
        // At full speed it ends here: one load.
        if used_in(bucket.load(Ordering::Relaxed)) >= GRANTS_A_WINDOW {
            return 0;
        }
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).min(GRANTS_A_WINDOW);
        let mut granted = 0;
        let taken = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            let used = used_in(state);
            granted = wanted.min(GRANTS_A_WINDOW.saturating_sub(used));
            Some(window | (used + granted))
        });
        taken.ok().and_then(|_before| usize::try_from(granted).ok()).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Ring {
    events: VecDeque<JournalEvent>,
    /// Numbers of the events, counted over those that are gone.
    numbers: HashMap<RecordPlace, u64>,
    gone: u64,
    bytes: usize,
}

impl Ring {
    fn find(&self, place: &RecordPlace) -> Option<usize> {
        usize::try_from(self.numbers.get(place)?.checked_sub(self.gone)?).ok()
    }

    fn knows(&self, place: &RecordPlace) -> bool {
        let event = self.find(place).and_then(|at| self.events.get(at));
        event.is_some_and(|event| !event.described.event_type.is_empty())
    }

    fn note(&mut self, place: RecordPlace, described: Option<Described>, deed: Option<Deed>) {
        let at = self.find(&place).unwrap_or_else(|| self.begin(place));
        let Some(event) = self.events.get_mut(at) else { return };
        let before = event.weight();
        if let Some(described) = described {
            event.described = described.cut();
        }
        if let Some(deed) = deed {
            event.take(deed);
        }
        self.bytes = (self.bytes + event.weight()).saturating_sub(before);
        while self.events.len() > MOST_EVENTS || self.bytes > MOST_BYTES && self.events.len() > 1 {
            self.drop_oldest();
        }
    }

    fn begin(&mut self, place: RecordPlace) -> usize {
        let at = self.events.len();
        let number = self.gone.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
        let event = JournalEvent { place: place.clone(), ..JournalEvent::default() };
        self.bytes += event.weight();
        self.events.push_back(event);
        self.numbers.insert(place, number);
        at
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes = self.bytes.saturating_sub(event.weight());
            self.numbers.remove(&event.place);
            self.gone += 1;
        }
    }
}

impl JournalEvent {
    fn take(&mut self, mut deed: Deed) {
        deed.message = deed.message.map(|text| cut(text, LONGEST_MESSAGE));
        // Looking again whether a dependency is back is no deed of its own.
        if let Some(last) = self.deeds.iter_mut().rfind(|one| one.group == deed.group)
            && matches!(last.end, DeedEnd::Waiting { .. })
            && matches!(deed.end, DeedEnd::Waiting { .. })
        {
            *last = deed;
            return;
        }
        let of_group = self.deeds.iter().filter(|one| one.group == deed.group).count();
        if of_group >= DEEDS_OF_GROUP
            && let Some(oldest) = self.deeds.iter().position(|one| one.group == deed.group)
        {
            self.deeds.remove(oldest);
        }
        self.deeds.push(deed);
    }
}

impl Described {
    fn cut(self) -> Self {
        let short = |text: Option<String>| text.map(|text| cut(text, LONGEST_NAME));
        Self {
            // Ids are compared whole: the codec refuses longer ones.
            id: self.id.filter(|id| id.len() <= LONGEST_NAME),
            event_type: cut(self.event_type, LONGEST_NAME),
            key: short(self.key),
            subject: short(self.subject),
            occurred_at: self.occurred_at,
        }
    }
}

/// Cuts a text to so many bytes, at a character's end, and says so.
fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        let end = text.floor_char_boundary(longest.saturating_sub('…'.len_utf8()));
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The longest id, key or subject, in bytes.
const LONGEST_NAME: usize = 255;
/// The longest message, in bytes.
const LONGEST_MESSAGE: usize = 300;
/// How many deeds of one group on one event are kept.
const DEEDS_OF_GROUP: usize = 8;
/// How many events are kept.
const MOST_EVENTS: usize = 2_000;
/// How many bytes they may weigh together.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// How many records, each counted once a group, are noted in one window: 4,000 a second.
const GRANTS_A_WINDOW: u64 = 400;
const WINDOW_MILLIS: u128 = 100;
const LOWER: u64 = 0xffff_ffff;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;

    fn place(offset: i64) -> RecordPlace {
        RecordPlace { topic: "blog.posts".to_owned(), partition: 1, offset }
    }

    fn described(id: &str) -> Option<Described> {
        Some(Described {
            id: Some(id.to_owned()),
            event_type: "post.published".to_owned(),
            ..Described::default()
        })
    }

    fn deed(group: &str, attempt: u32) -> Option<Deed> {
        Some(Deed { group: group.to_owned(), attempt, ..Deed::default() })
    }

    #[test]
    fn an_event_is_described_once_and_has_a_deed_of_each_group() {
        let journal = Journal::default();
        journal.note(place(1), || described("e1"), deed("a", 1));
        journal.note(place(1), || unreachable!("it is known"), deed("b", 1));

        let event = journal.at(&place(1)).unwrap();
        assert_eq!(event.described.id.as_deref(), Some("e1"));
        assert_eq!(event.deeds.iter().map(|deed| deed.group.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(journal.of_id("e1"), [event]);
    }

    #[test]
    fn a_failure_without_a_name_is_named_when_the_record_comes_again() {
        let journal = Journal::default();
        journal.note(place(1), || None, deed("a", 1));
        journal.note(place(1), || described("e1"), deed("a", 2));

        assert_eq!(journal.of_id("e1").first().map(|event| event.deeds.len()), Some(2));
    }

    #[test]
    fn the_ring_keeps_the_latest_within_its_bounds() {
        let journal = Journal::default();
        for offset in 0..5_000 {
            journal.note(place(offset), || described(&offset.to_string()), deed("a", 1));
        }

        let latest = journal.latest(usize::MAX, |_| true);
        assert_eq!(latest.len(), MOST_EVENTS);
        assert_eq!(latest.first().map(|event| event.place.offset), Some(4_999));
        assert_eq!(journal.at(&place(2_999)), None);
        assert_eq!(journal.at(&place(3_000)).unwrap().described.id.as_deref(), Some("3000"));
    }

    #[test]
    fn large_texts_drop_older_events_instead_of_growing() {
        let journal = Journal::default();
        for offset in 0..1_000 {
            for group in 0..40 {
                let message = Some("x".repeat(10_000));
                let deed = Deed { group: group.to_string(), message, ..Deed::default() };
                journal.note(place(offset), || described("e"), Some(deed));
            }
        }

        let ring = journal.lock();
        assert!(ring.bytes <= MOST_BYTES);
        assert_eq!(ring.bytes, ring.events.iter().map(JournalEvent::weight).sum::<usize>());
        assert!(ring.events.len() > 100 && ring.numbers.len() == ring.events.len());
    }

    #[test]
    fn of_one_group_the_latest_deeds_stay() {
        let journal = Journal::default();
        for attempt in 1..=20 {
            journal.note(place(1), || described("e"), deed("a", attempt));
        }

        let attempts: Vec<_> = journal.at(&place(1)).unwrap().deeds.iter().map(|deed| deed.attempt).collect();
        assert_eq!(attempts, [13, 14, 15, 16, 17, 18, 19, 20]);
    }

    #[test]
    fn a_normal_pace_is_admitted_whole_and_full_speed_in_part() {
        let journal = Journal::default();
        let now = journal.origin + Duration::from_secs(5);

        assert_eq!(journal.admits(60, now), 60);
        assert_eq!(journal.admits(500, now), 340);
        assert_eq!(journal.admits(1, now), 0);
        assert_eq!(journal.admits(1, now + Duration::from_millis(100)), 1);
    }

    #[test]
    fn a_long_text_is_cut_at_a_characters_end() {
        let text = cut("é".repeat(400), LONGEST_MESSAGE);

        assert!(text.len() <= LONGEST_MESSAGE && text.ends_with("é…"));
    }

    #[test]
    fn places_are_read_back() {
        assert_eq!(RecordPlace::parse(&place(7).to_string()), Some(place(7)));
        for odd in ["", "a/b", "a/1/-1", "/1/2", "a/b/1/2", "a/1/x"] {
            assert_eq!(RecordPlace::parse(odd), None, "{odd}");
        }
    }
}
