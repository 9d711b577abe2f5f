//! `/api/scale`: how much each group has left to do, in the shape that an autoscaler asks for.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use crate::config::{Config, Start};
use crate::console::pages::Desk;
use crate::kafka::{Connection, GroupPosition, GroupPositions, retry_topic};
use crate::ports::EdgeError;
use crate::runtime::Group;

/// Unfinished records by group, in the whole cluster: whichever instance is asked, the answer is the same.
pub(crate) type Unfinished = BTreeMap<String, i64>;

/// Asks the cluster how far the groups' commits are behind their topics, and remembers the answer for a moment.
pub(crate) struct Scale {
    positions: GroupPositions,
    groups: OnceLock<Vec<Wanted>>,
    last: Mutex<Option<Told>>,
}

/// What was found out, and when.
struct Told {
    at: Instant,
    found: Result<Unfinished, String>,
}

impl Told {
    /// Returns what one who asked at `asked` is told `now` without a new question: what is fresh, or that nobody answered a
    /// question for whose end one has waited. Triggers of several groups ask at once, and each would wait for its own.
    fn answers(&self, asked: Instant, now: Instant) -> Option<Result<Unfinished, String>> {
        let holds = if self.found.is_ok() { now.duration_since(self.at) < FRESH } else { self.at > asked };
        holds.then(|| self.found.clone())
    }
}

/// A group of this process.
#[derive(Clone, Debug)]
struct Wanted {
    name: String,
    topics: Vec<String>,
    start: Start,
}

impl Scale {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { positions: GroupPositions::new(connection), groups: OnceLock::new(), last: Mutex::default() }
    }

    /// Says which groups there are. The first word counts.
    pub(crate) fn of(&self, config: &Config, groups: &[Group]) {
        let wanted = groups.iter().map(|group| {
            let name = group.full_name(&config.kafka.group_prefix);
            let mut topics: Vec<_> = group.topics().into_iter().map(str::to_owned).collect();
            topics.push(retry_topic(&name));
            Wanted { name, topics, start: config.effects.named(group.name()).start }
        });
        self.groups.get_or_init(|| wanted.collect());
    }

    /// Returns a number for each group, or why there is none.
    async fn unfinished(&self) -> Result<Unfinished, String> {
        let groups = self.groups.get().filter(|groups| !groups.is_empty());
        let groups = groups.ok_or_else(|| "no group has started yet".to_owned())?;
        // One question at a time: who asks meanwhile gets the same answer.
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(found) = last.as_ref().and_then(|told| told.answers(asked, Instant::now())) {
            return found;
        }
        let found = find(&self.positions, groups).await;
        *last = Some(Told { at: Instant::now(), found: found.clone() });
        found
    }
}

async fn find(positions: &GroupPositions, groups: &[Wanted]) -> Result<Unfinished, String> {
    let asked = try_join_all(groups.iter().map(|group| ask(positions, group)));
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(found) => Ok(found.map_err(|error| error.to_string())?.into_iter().collect()),
        Err(_late) => Err("the cluster does not answer in time".to_owned()),
    }
}

async fn ask(positions: &GroupPositions, group: &Wanted) -> Result<(String, i64), EdgeError> {
    let positions = positions.of(&group.name, &group.topics).await?;
    Ok((group.name.clone(), lag(&positions, group.start)))
}

/// Adds up what lies between the commits and the ends. A group that begins with the latest has nothing to do where it has
/// committed nothing.
fn lag(positions: &[GroupPosition], start: Start) -> i64 {
    let counts = |position: &&GroupPosition| start == Start::Earliest || position.committed.is_some();
    positions.iter().filter(counts).map(GroupPosition::lag).fold(0, i64::saturating_add)
}

/// `/api/scale`.
pub(crate) async fn scale(State(desk): State<Desk>) -> Response {
    match desk.parts.scale.unfinished().await {
        Ok(unfinished) => Json(unfinished).into_response(),
        // An error, not a zero: who cannot know must not shrink the group.
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// For how long an answer holds.
const FRESH: Duration = Duration::from_secs(2);
/// KEDA's own patience is 3 s.
const PATIENCE: Duration = Duration::from_millis(2_500);

#[cfg(test)]
mod tests {
    use postroom_core::{Offset, Partition, Topic, TopicPartition};

    use super::*;
    use crate::ports::{CommittedPosition, LogRange};

    fn position(committed: Option<i64>, end: i64) -> GroupPosition {
        GroupPosition {
            partition: TopicPartition::new(Topic::new("blog.posts"), Partition(0)),
            committed: committed.map(|next| CommittedPosition {
                next: Offset(next),
                finished: Vec::new(),
                store: None,
            }),
            log: LogRange { start: Offset(0), end: Offset(end) },
        }
    }

    #[test]
    fn what_was_never_committed_counts_where_the_group_begins_with_the_earliest() {
        let positions = [position(Some(4), 10), position(None, 5)];

        assert_eq!(lag(&positions, Start::Earliest), 11);
        assert_eq!(lag(&positions, Start::Latest), 6);
    }

    #[test]
    fn an_answer_holds_for_a_moment_and_a_failure_for_those_who_waited_for_it() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let found = Told { at: after(10), found: Ok(Unfinished::new()) };
        let failed = Told { at: after(10), found: Err("nobody".to_owned()) };

        assert_eq!(found.answers(after(11), after(11)), Some(Ok(Unfinished::new())));
        assert_eq!(found.answers(after(12), after(12)), None);
        assert_eq!(failed.answers(after(9), after(20)), Some(Err("nobody".to_owned())), "it waited");
        assert_eq!(failed.answers(after(11), after(11)), None, "it came later");
    }

    #[test]
    fn a_group_that_has_caught_up_is_zero() {
        assert_eq!(lag(&[position(Some(10), 10)], Start::Earliest), 0);
        assert_eq!(lag(&[], Start::Earliest), 0);
    }
}
