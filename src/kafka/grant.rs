//! Rights at the broker: what is needed, and the line that grants it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::kafka::config::Connection;
use crate::kafka::direct::Security;

/// Something that one does with a resource, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Read records, or be a member of a group.
    Read,
    /// Write records.
    Write,
    /// Make topics.
    Create,
    /// Add partitions.
    Alter,
    /// See that it is there.
    Describe,
    /// See settings.
    DescribeConfigs,
    /// Change settings.
    AlterConfigs,
}

impl Operation {
    /// Returns Kafka's number of it.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Read => 3,
            Self::Write => 4,
            Self::Create => 5,
            Self::Alter => 7,
            Self::Describe => 8,
            Self::DescribeConfigs => 10,
            Self::AlterConfigs => 11,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Kafka's names are ours.
        fmt::Debug::fmt(self, f)
    }
}

/// What a right is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A topic.
    Topic(String),
    /// A consumer group.
    Group(String),
    /// The cluster.
    Cluster,
}

impl Resource {
    /// As `kafka-acls` takes it.
    fn option(&self) -> String {
        match self {
            Self::Topic(name) => format!("--topic {}", word(name)),
            Self::Group(name) => format!("--group {}", word(name)),
            Self::Cluster => "--cluster".to_owned(),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Cluster => f.write_str("the cluster"),
        }
    }
}

/// A right that is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// What it is about.
    pub resource: Resource,
    /// What one must be allowed to do with it.
    pub operation: Operation,
}

impl Need {
    /// Makes a need of a topic.
    pub fn topic(operation: Operation, topic: impl Into<String>) -> Self {
        Self { resource: Resource::Topic(topic.into()), operation }
    }

    /// Makes a need of a consumer group.
    pub fn group(operation: Operation, group: impl Into<String>) -> Self {
        Self { resource: Resource::Group(group.into()), operation }
    }

    /// Makes a need of the cluster.
    pub fn cluster(operation: Operation) -> Self {
        Self { resource: Resource::Cluster, operation }
    }

    /// Returns the line that grants it to whoever connects so.
    pub fn grant(&self, connection: &Connection) -> String {
        grant(self.operation, &self.resource.option(), connection)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.operation, self.resource)
    }
}

/// Says which rights are missing, with the lines that grant them: one for each operation on topics, groups or the cluster.
pub fn lacking(needs: &[Need], connection: &Connection) -> String {
    let principal = Security::of(connection).principal();
    let mut text = format!("{principal} lacks");
    for (needs, line) in grants(needs, connection) {
        let resources: Vec<_> = needs.iter().map(|need| need.resource.to_string()).collect();
        let operation = needs.first().map(|need| need.operation.to_string()).unwrap_or_default();
        text.push_str(&format!("\n  {operation} on {}:\n    {line}", resources.join(", ")));
    }
    text
}

/// Returns the lines that grant these rights, each with what it grants.
pub fn grants(needs: &[Need], connection: &Connection) -> Vec<(Vec<Need>, String)> {
    let mut alike: BTreeMap<(Operation, u8), BTreeSet<Need>> = BTreeMap::new();
    for need in needs {
        let kind = match need.resource {
            Resource::Topic(_) => 0,
            Resource::Group(_) => 1,
            Resource::Cluster => 2,
        };
        alike.entry((need.operation, kind)).or_default().insert(need.clone());
    }
    let lines = alike.into_iter().map(|((operation, _), needs)| {
        let resources: Vec<_> = needs.iter().map(|need| need.resource.option()).collect();
        let line = grant(operation, &resources.join(" "), connection);
        (needs.into_iter().collect(), line)
    });
    lines.collect()
}

/// Writes the line for an administrator, whose own credentials are in `admin.properties`.
fn grant(operation: Operation, resources: &str, connection: &Connection) -> String {
    let security = Security::of(connection);
    let admin = if security.protocol() == "plaintext" { "" } else { " --command-config admin.properties" };
    format!(
        "kafka-acls --bootstrap-server {}{admin} --add --allow-principal {} --operation {operation} {resources}",
        connection.brokers,
        word(&security.principal()),
    )
}

/// Quotes what a shell would not take as one word.
fn word(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "._-:=@/+,".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(properties: &[(&str, &str)]) -> Connection {
        let mut connection = Connection::to("kafka-1:9093");
        connection.properties =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        connection
    }

    #[test]
    fn the_line_that_grants_a_right_names_user_operation_and_resource() {
        let sasl = connection(&[("security.protocol", "sasl_ssl"), ("sasl.username", "post room's")]);

        assert_eq!(
            Need::topic(Operation::Read, "blog.posts").grant(&sasl),
            "kafka-acls --bootstrap-server kafka-1:9093 --command-config admin.properties --add \
             --allow-principal 'User:post room'\\''s' --operation Read --topic blog.posts"
        );
        assert_eq!(
            Need::cluster(Operation::Create).grant(&connection(&[])),
            "kafka-acls --bootstrap-server kafka-1:9093 --add --allow-principal User:ANONYMOUS --operation Create --cluster"
        );
    }

    #[test]
    fn every_missing_right_is_told_and_one_line_grants_those_that_are_alike() {
        let needs = [
            Need::group(Operation::Read, "postroom.notify"),
            Need::topic(Operation::Write, "dlq.b"),
            Need::topic(Operation::Write, "dlq.a"),
            Need::topic(Operation::Write, "dlq.a"),
        ];

        let text = lacking(&needs, &connection(&[]));

        assert!(
            text.starts_with("User:ANONYMOUS lacks\n  Read on group postroom.notify:\n    kafka-acls "),
            "{text}"
        );
        assert!(text.contains("\n  Write on topic dlq.a, topic dlq.b:\n    kafka-acls "), "{text}");
        assert!(text.ends_with(" --operation Write --topic dlq.a --topic dlq.b"), "{text}");
    }
}
