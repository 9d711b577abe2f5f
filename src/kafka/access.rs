//! What the broker allows us, by its own word: the library asks for it, but does not hand it on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::kafka::config::Connection;
use crate::kafka::direct::{Api, Direct, Reader, Trouble, Writer};
use crate::kafka::grant::{Need, Resource, lacking};
use crate::ports::EdgeError;

/// Finds out which of these rights the broker does not grant. What it does not tell counts as granted: a topic that is not
/// there has no rights. Blocks.
///
/// # Errors
/// Says why it could not be found out.
pub fn missing(connection: &Connection, needs: &[Need], patience: Duration) -> Result<Vec<Need>, EdgeError> {
    let allowed = Allowed::ask(connection, needs, Instant::now() + patience);
    let allowed = allowed.map_err(|(broker, trouble)| trouble.obstacle(&broker, connection).error())?;
    Ok(needs.iter().filter(|need| !allowed.grants(need)).cloned().collect())
}

/// Says that rights are missing, with the lines that grant them; `None` where none is, or where that cannot be found out.
/// Blocks.
pub(crate) fn complaint(connection: &Connection, needs: &[Need]) -> Option<EdgeError> {
    match missing(connection, needs, PATIENCE) {
        Ok(needs) if needs.is_empty() => None,
        Ok(needs) => Some(EdgeError::NotAuthorised(lacking(&needs, connection))),
        Err(error) => {
            tracing::debug!(%error, "the rights at the broker are not known");
            None
        }
    }
}

/// Which operations are allowed, as bits by Kafka's numbers.
#[derive(Debug, Default)]
struct Allowed {
    topics: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
    cluster: Option<u32>,
}

type Failed = (String, Trouble);

impl Allowed {
    fn ask(connection: &Connection, needs: &[Need], deadline: Instant) -> Result<Self, Failed> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut allowed = Self::default();
        let mut direct = Direct::to_any(connection, left())?;
        let named = |of: fn(&Resource) -> Option<&str>| -> BTreeSet<&str> {
            needs.iter().filter_map(|need| of(&need.resource)).collect()
        };
        let topics = named(|resource| match resource {
            Resource::Topic(name) => Some(name),
            Resource::Group(_) | Resource::Cluster => None,
        });
        let groups = named(|resource| match resource {
            Resource::Group(name) => Some(name),
            Resource::Topic(_) | Resource::Cluster => None,
        });
        allowed.ask_of_topics(&mut direct, &topics)?;
        for group in groups {
            allowed.ask_of_group(&mut direct, connection, group, deadline)?;
        }
        Ok(allowed)
    }

    fn grants(&self, need: &Need) -> bool {
        let bits = match &need.resource {
            Resource::Topic(name) => self.topics.get(name).copied(),
            Resource::Group(name) => self.groups.get(name).copied(),
            Resource::Cluster => self.cluster,
        };
        bits.is_none_or(|bits| bits >> need.operation.code() & 1 == 1)
    }

    fn ask_of_topics(&mut self, direct: &mut Direct, topics: &BTreeSet<&str>) -> Result<(), Failed> {
        let body = Writer::default().texts(topics.iter().copied()).flag(false).flag(true).flag(true);
        let answer = ask(direct, Api::Metadata, body)?;
        let mut reader = Reader::new(&answer);
        let mut parsed = || {
            reader.i32()?;
            reader.list(|broker| Ok((broker.i32()?, broker.text()?, broker.i32()?, broker.maybe_text()?)))?;
            reader.maybe_text()?;
            reader.i32()?;
            let topics = reader.list(|topic| {
                let (code, name) = (topic.i16()?, topic.text()?.to_owned());
                topic.flag()?;
                topic.list(|partition| {
                    partition.i16()?;
                    for _ in 0..3 {
                        partition.i32()?;
                    }
                    for _ in 0..3 {
                        partition.list(Reader::i32)?;
                    }
                    Ok(())
                })?;
                Ok((code, name, topic.i32()?))
            })?;
            Ok((topics, reader.i32()?))
        };
        let (topics, cluster) =
            parsed().map_err(|error: super::direct::Malformed| odd(direct, &error.to_string()))?;
        self.topics = topics
            .into_iter()
            .filter_map(|(code, name, bits)| match code {
                0 => Some((name, told(bits)?)),
                TOPIC_REFUSED => Some((name, 0)),
                _ => None,
            })
            .collect();
        self.cluster = told(cluster);
        Ok(())
    }

    fn ask_of_group(
        &mut self,
        direct: &mut Direct,
        connection: &Connection,
        group: &str,
        deadline: Instant,
    ) -> Result<(), Failed> {
        let answer = ask(direct, Api::FindCoordinator, Writer::default().text(group).i8(0))?;
        let mut reader = Reader::new(&answer);
        let mut parsed = || {
            reader.i32()?;
            let code = reader.i16()?;
            reader.maybe_text()?;
            reader.i32()?;
            Ok((code, format!("{}:{}", reader.text()?, reader.i32()?)))
        };
        let found = parsed().map_err(|error: super::direct::Malformed| odd(direct, &error.to_string()));
        let coordinator = match found? {
            (0, coordinator) => coordinator,
            (GROUP_REFUSED, _) => {
                self.groups.insert(group.to_owned(), 0);
                return Ok(());
            }
            // The group's log is being made, or moves.
            _ => return Ok(()),
        };
        let body = Writer::default().texts([group].into_iter()).flag(true);
        let answer = if coordinator == direct.broker {
            ask(direct, Api::DescribeGroups, body)?
        } else {
            let other = Direct::to(&coordinator, connection, deadline);
            ask(&mut other.map_err(|trouble| (coordinator, trouble))?, Api::DescribeGroups, body)?
        };
        let mut reader = Reader::new(&answer);
        let mut parsed = || {
            reader.i32()?;
            reader.list(|group| {
                let code = group.i16()?;
                for _ in 0..4 {
                    group.text()?;
                }
                group.list(|member| {
                    for _ in 0..3 {
                        member.text()?;
                    }
                    for _ in 0..2 {
                        member.bytes()?;
                    }
                    Ok(())
                })?;
                Ok((code, group.i32()?))
            })
        };
        let described =
            parsed().map_err(|error: super::direct::Malformed| odd(direct, &error.to_string()))?;
        let bits = match described.first() {
            Some((0, bits)) => told(*bits),
            Some((GROUP_REFUSED, _)) => Some(0),
            _ => None,
        };
        self.groups.extend(bits.map(|bits| (group.to_owned(), bits)));
        Ok(())
    }
}

fn ask(direct: &mut Direct, api: Api, body: Writer) -> Result<Vec<u8>, Failed> {
    direct.ask(api, body).map_err(|trouble| (direct.broker.clone(), trouble))
}

fn odd(direct: &Direct, why: &str) -> Failed {
    (direct.broker.clone(), Trouble::Unknown(why.to_owned()))
}

/// Reads the bits; the smallest number means that the broker does not tell.
fn told(bits: i32) -> Option<u32> {
    (bits != i32::MIN).then(|| bits.cast_unsigned())
}

const PATIENCE: Duration = Duration::from_secs(5);
const TOPIC_REFUSED: i16 = 29;
const GROUP_REFUSED: i16 = 30;
