//! Plays histories of events to the effects and their store, without Kafka.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::process::Command;

use postroom::core::{Offset, Partition, Topic, TopicPartition};
use postroom::effects::{Changes, StoreEffect, collect};
use postroom::event::{BlogEvent, Envelope, EventId, RawBatchBuilder, RawParts};
use postroom::ports::{Applied, Claim, FanOut, Guard, Rest, Store, Unit};

/// The logs of all partitions: a history as Kafka would keep it.
pub(crate) type Logs = BTreeMap<TopicPartition, Vec<Envelope<BlogEvent>>>;

/// Partitions events by their keys, four to a topic, in their order.
pub(crate) fn logs(events: &[BlogEvent]) -> Logs {
    let mut logs = Logs::new();
    for event in events {
        let place = place(event);
        let log = logs.entry(place.clone()).or_default();
        log.push(envelope(&place, log.len(), event));
    }
    logs
}

/// Returns the partition of an event.
pub(crate) fn place(event: &BlogEvent) -> TopicPartition {
    let number = i32::try_from(crc32fast::hash(event.key().as_bytes()) % 4).unwrap();
    TopicPartition::new(Topic::new(event.event_type().topic), Partition(number))
}

/// Wraps an event as a record of a partition.
pub(crate) fn envelope(place: &TopicPartition, offset: usize, event: &BlogEvent) -> Envelope<BlogEvent> {
    let mut batch = RawBatchBuilder::new(place.clone());
    let offset = Offset(i64::try_from(offset).unwrap());
    let parts = RawParts { offset, timestamp: None, key: Some(event.key().as_bytes()), value: None };
    batch.push(parts, std::iter::empty());
    Envelope {
        id: EventId::parse(event.event_id()).unwrap(),
        event_type: event.event_type().name,
        time: event.occurred_at(),
        event: event.clone(),
        record: batch.finish().pop().unwrap(),
    }
}

/// An effect that reads logs in batches, under claims, as its group would.
pub(crate) struct Reader<E> {
    effect: E,
    claims: BTreeMap<TopicPartition, Claim>,
}

impl<E: StoreEffect<Event = BlogEvent>> Reader<E> {
    /// Claims every partition of the logs.
    pub(crate) async fn new(effect: E, store: &(impl Store + FanOut), logs: &Logs) -> Self {
        let mut claims = BTreeMap::new();
        for place in logs.keys() {
            claims.insert(place.clone(), store.claim(effect.name(), place).await.unwrap());
        }
        Self { effect, claims }
    }

    /// Returns the partitions that are not read to their ends.
    pub(crate) fn open(&self, logs: &Logs) -> Vec<TopicPartition> {
        let open = |place: &&TopicPartition| self.at(place) < logs.get(place).map_or(0, Vec::len);
        logs.keys().filter(open).cloned().collect()
    }

    fn at(&self, place: &TopicPartition) -> usize {
        self.claims.get(place).and_then(|claim| claim.next).map_or(0, |next| usize::try_from(next.0).unwrap())
    }

    /// Applies up to `most` events of a partition and returns what the store said.
    pub(crate) async fn read(
        &mut self,
        store: &impl Store,
        logs: &Logs,
        place: &TopicPartition,
        most: usize,
    ) -> Applied {
        let from = self.at(place);
        let batch: Vec<_> = logs.get(place).unwrap().iter().skip(from).take(most).cloned().collect();
        let next = Offset(i64::try_from(from + batch.len()).unwrap());
        let wanted: Vec<_> = batch
            .into_iter()
            .filter(|event| self.effect.types().contains(&event.event.event_type()))
            .collect();
        let mut changes = Changes::default();
        collect(&self.effect, &wanted, &mut changes).unwrap();
        let unit = Unit { guard: Guard::Position { next }, changes: changes.into_inner() };
        let claim = self.claims.get_mut(place).unwrap();
        store.apply(claim, unit).await.unwrap()
    }
}

/// Plays the logs to both effects: `choose(n)` picks what comes next, below `n`.
pub(crate) async fn play(
    store: &(impl Store + FanOut),
    logs: &Logs,
    mut choose: impl FnMut(usize) -> usize,
    largest: usize,
) {
    let mut project = Reader::new(postroom::effects::Project, store, logs).await;
    let mut notify = Reader::new(postroom::effects::Notify::default(), store, logs).await;
    loop {
        let (to_project, to_notify) = (project.open(logs), notify.open(logs));
        let open = to_project.len() + to_notify.len();
        if open == 0 {
            break;
        }
        let (choice, most) = (choose(open), choose(largest) + 1);
        let applied = match (to_project.get(choice), to_notify.get(choice.saturating_sub(to_project.len()))) {
            (Some(place), _) => project.read(store, logs, place, most).await,
            (None, Some(place)) => notify.read(store, logs, place, most).await,
            (None, None) => continue,
        };
        assert_eq!(applied, Applied::Committed);
        if choose(4) == 0 {
            store.expand_fan_out(u32::try_from(largest).unwrap()).await.unwrap();
        }
    }
    while store.expand_fan_out(10_000).await.unwrap().rest == Rest::More {}
}

/// Runs the independent count over files of events, and reads its answers.
pub(crate) fn serial_count(arguments: &[&str]) -> Vec<serde_json::Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/serial_count.py");
    let output = Command::new("python3").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Says where two documents differ first, so that a failure can be read.
pub(crate) fn difference(path: &str, ours: &serde_json::Value, theirs: &serde_json::Value) -> Option<String> {
    use serde_json::Value::Object;
    if let (Object(a), Object(b)) = (ours, theirs) {
        let null = serde_json::Value::Null;
        return a.keys().chain(b.keys()).find_map(|key| {
            let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
            difference(&format!("{path}/{key}"), a, b)
        });
    }
    (ours != theirs).then(|| format!("{path}: ours {ours}, counted {theirs}"))
}
